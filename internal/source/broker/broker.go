package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// SourceName names the broker in metrics and quarantine records.
const SourceName = "broker"

// Broker is the embedded broker. Make one with New.
type Broker struct {
	cfg   Config
	sink  telemetry.Sink
	log   *slog.Logger
	users *users
	stats counters

	server  *mqtt.Server
	fan     *fanout
	keep    *retained
	wills   *wills
	journal *journal // nil: nothing is kept

	// ctx ends with the broker; what connections wait for hangs on it.
	ctx    context.Context
	cancel context.CancelFunc
	// tasks are all goroutines: accept loops, connections and their writers.
	tasks sync.WaitGroup

	listeners []*listener
	https     []*http.Server
	stopping  atomic.Bool
	queued    atomic.Int64 // bytes in all outboxes
	slots     slots
	serials   atomic.Uint64

	mu       sync.Mutex
	conns    map[*conn]struct{}
	live     map[string]*conn    // the connection that owns a client id
	claims   map[string]*conn    // the connection that waits for a client id
	sessions map[string]*session // by client id
}

// New checks the configuration and returns a broker that is not yet started.
func New(cfg Config, sink telemetry.Sink, logger *slog.Logger) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	b := &Broker{
		cfg:      cfg,
		sink:     sink,
		log:      logger,
		conns:    map[*conn]struct{}{},
		live:     map[string]*conn{},
		claims:   map[string]*conn{},
		sessions: map[string]*session{},
	}
	b.fan = newFanout(b)
	b.keep = newRetained(b)
	b.wills = newWills(b)
	if cfg.PasswordFile != "" {
		u, err := loadUsers(cfg.PasswordFile)
		if err != nil {
			return nil, err
		}
		b.users = u
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// Start loads what was kept, opens the listeners and returns. The broker runs
// until Stop.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.listen(ctx); err != nil {
		b.closeListeners()
		b.cancel()
		return err
	}
	if err := b.start(); err != nil {
		b.closeListeners()
		b.cancel()
		return err
	}
	for _, l := range b.listeners {
		b.tasks.Add(1)
		go l.serve()
		b.log.Info("broker listens", "transport", l.transport, "address", l.Addr().String())
	}
	return nil
}

func (b *Broker) start() error {
	if err := b.restore(); err != nil {
		return err
	}
	server, err := b.newServer()
	if err != nil {
		return err
	}
	b.server = server
	for topic, m := range b.keep.messages {
		b.index(topic, m.payload)
	}
	if b.journal != nil {
		if err := b.journal.open(); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	return nil
}

// Addr is where a listener can be reached.
type Addr struct {
	Transport string // tcp, tls, ws or wss
	net.Addr
}

// Addrs returns the addresses that the broker listens on.
func (b *Broker) Addrs() []Addr {
	var all []Addr
	for _, l := range b.listeners {
		all = append(all, Addr{l.transport, l.Addr()})
	}
	return all
}

// Stop accepts no more, reads no more, waits until what was read is acknowledged
// or ctx ends, tells the clients that the server shuts down, and returns when
// nothing of the broker runs any more.
func (b *Broker) Stop(ctx context.Context) error {
	b.mu.Lock()
	again := b.stopping.Swap(true)
	b.mu.Unlock()
	if again {
		return nil
	}
	b.wills.end()
	b.closeListeners()
	conns := b.connections()
	for _, c := range conns {
		c.stopReading()
	}
	wake := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.wake()
		}
	})
	defer wake()
	var undone int
	for _, c := range conns {
		undone += c.awaitAcks(ctx)
		c.disconnect(wire.ServerShuttingDown)
	}
	b.cancel()
	b.tasks.Wait()
	b.wills.close()
	if b.server == nil {
		return nil
	}
	err := b.server.Close()
	if b.journal != nil {
		b.keepQueues()
		err = errors.Join(err, b.journal.close())
	}
	if undone > 0 {
		b.log.Warn("broker stopped before all messages were acknowledged; their clients will send them again", "messages", undone)
	}
	return err
}

// enter counts a goroutine that the broker did not start itself among its tasks,
// and returns false once Stop has begun: it may be waiting for them already.
func (b *Broker) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping.Load() {
		return false
	}
	b.tasks.Add(1)
	return true
}

func (b *Broker) connections() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		all = append(all, c)
	}
	return all
}

// adopt registers a connection that was accepted and runs it to its end.
func (b *Broker) adopt(nc net.Conn, transport string) {
	c := newConn(b, nc, transport)
	c.serial = b.serials.Add(1)
	b.mu.Lock()
	if b.stopping.Load() || len(b.conns) >= b.cfg.MaxClients+spareConns {
		b.mu.Unlock()
		b.stats.refused.Add(1)
		_ = nc.Close()
		return
	}
	b.conns[c] = struct{}{}
	b.mu.Unlock()
	c.run()
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
}
