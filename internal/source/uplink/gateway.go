package uplink

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/weir-telemetry/weir/internal/device/record"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The topics of the uplink.
const (
	upPrefix   = "weir/up/"
	downPrefix = "weir/down/"
	// Filter is what a source subscribes to for the uplink.
	Filter = "weir/up/+"

	// SessionPrefix begins the keys of the sessions that hold what is known of devices.
	SessionPrefix = "uplink:"

	sourceName = "uplink"
	maxName    = 64
	maxMessage = 64 << 10
	maxQueue   = 256
	maxDevices = 100000
)

// Config is what a gateway needs.
type Config struct {
	Sink telemetry.Sink
	// Plan finds the plan of an id; nil where no schema of this node makes it.
	Plan func(id [8]byte) *record.Plan
	// Publish sends a message at QoS 0 through a source, by its name, as far as
	// it is connected. It must not block for long.
	Publish func(source, topic string, payload []byte)
	Now     func() int64 // ns UTC
	Logger  *slog.Logger
}

// Gateway keeps the messages of weir/up/ and passes on everything else. Run must
// run while its sessions are used.
type Gateway struct {
	cfg   Config
	log   *slog.Logger
	now   func() int64
	queue chan heard
	cards chan *cardRequest
	ready chan struct{} // something became durable
	done  chan struct{} // Run has ended

	// The worker's.
	devices map[string]*device
	waiting []*device // of these, those with answers that are not durable
	warned  map[string]bool
	row     telemetry.Row // scratch
	reading record.Reading

	mu    sync.Mutex // held for short: the worker waits for the store, Status does not
	shown map[string]DeviceStats
}

// heard is one message on its way to the worker.
type heard struct {
	device, source string
	message        []byte
	received       int64
}

// New makes a gateway.
func New(cfg Config) *Gateway {
	return &Gateway{
		cfg: cfg, log: cfg.Logger, now: cfg.Now,
		queue: make(chan heard, maxQueue), cards: make(chan *cardRequest), ready: make(chan struct{}, 1), done: make(chan struct{}),
		devices: map[string]*device{}, warned: map[string]bool{}, shown: map[string]DeviceStats{},
	}
}

// Run takes messages until ctx ends.
func (g *Gateway) Run(ctx context.Context) {
	defer g.close()
	for {
		select {
		case h := <-g.queue:
			g.hear(ctx, h)
			g.settle()
		case r := <-g.cards:
			g.importCard(ctx, r)
			g.settle()
		case <-g.ready:
			g.settle()
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gateway) close() {
	close(g.done)
	for _, d := range g.devices {
		d.session.Close()
	}
	clear(g.devices)
	g.mu.Lock()
	clear(g.shown)
	g.mu.Unlock()
}

// wake is called from the commit loop.
func (g *Gateway) wake() {
	select {
	case g.ready <- struct{}{}:
	default:
	}
}

// settle sends what became durable.
func (g *Gateway) settle() {
	g.waiting = slices.DeleteFunc(g.waiting, func(d *device) bool {
		d.settle()
		return len(d.pending) == 0
	})
}

func (g *Gateway) publish(d *device, message []byte) {
	g.cfg.Publish(d.source, downPrefix+d.name, message)
}

func (g *Gateway) hear(ctx context.Context, h heard) {
	d, err := g.device(ctx, h.device)
	if err != nil {
		if ctx.Err() == nil {
			g.log.Error("a device is not heard", "device", h.device, "error", err)
		}
		return
	}
	d.source = h.source
	if err := d.hear(ctx, h.message, h.received); err != nil && ctx.Err() == nil {
		g.log.Error("a message of a device was not taken; it comes again", "device", h.device, "error", err)
	}
	d.stats.LastHeard = h.received
	g.show(d)
}

func (g *Gateway) device(ctx context.Context, name string) (*device, error) {
	if d := g.devices[name]; d != nil {
		return d, nil
	}
	if len(g.devices) >= maxDevices {
		return nil, telemetry.Errorf(telemetry.CodeCardinality, "hear device", "more than %d devices", maxDevices)
	}
	d := &device{g: g, name: name}
	s, err := g.cfg.Sink.OpenSession(ctx, sourceName, SessionPrefix+name, d)
	if err != nil {
		return nil, err
	}
	marks, ok := s.(telemetry.MarkSession)
	if !ok {
		s.Close()
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "hear device", "the sink keeps no marks")
	}
	d.session, d.memory = marks, newMemory(marks.Marks())
	g.devices[name] = d
	return d, nil
}

// OpenSession implements telemetry.Sink for the sources.
func (g *Gateway) OpenSession(ctx context.Context, source, key string, acker telemetry.Acker) (telemetry.Session, error) {
	s, err := g.cfg.Sink.OpenSession(ctx, source, key, acker)
	if err != nil {
		return nil, err
	}
	marks, ok := s.(telemetry.MarkSession)
	if !ok {
		return s, nil
	}
	return &tap{MarkSession: marks, g: g, source: source}, nil
}

// tap is a source's session without the messages of the uplink.
type tap struct {
	telemetry.MarkSession
	g      *Gateway
	source string
	burst  []heard
}

// Add implements telemetry.Session. A message of the uplink is acknowledged to the
// broker with what came before it: only the cursor tells a device what is stored.
func (t *tap) Add(m *telemetry.Message) bool {
	name, ok := deviceName(m.Topic)
	if !ok {
		return t.MarkSession.Add(m)
	}
	if m.QoS > 0 {
		t.Token(m.Token)
	}
	if !m.Retained && m.Size <= maxMessage && len(m.Payload) >= m.Size {
		t.burst = append(t.burst, heard{device: name, source: t.source, message: bytes.Clone(m.Payload), received: m.Received})
	}
	return len(t.burst) < maxQueue/4
}

// End implements telemetry.Session. The worker works in sessions of its own, so it
// is told only after the burst.
func (t *tap) End() {
	t.MarkSession.End()
	for i := range t.burst {
		select {
		case t.g.queue <- t.burst[i]:
		case <-t.g.done:
		}
		t.burst[i] = heard{}
	}
	t.burst = t.burst[:0]
}

// Close implements telemetry.Session.
func (t *tap) Close() {
	t.End()
	t.MarkSession.Close()
}

// deviceName is the device of a topic of the uplink.
func deviceName(topic []byte) (string, bool) {
	name, ok := bytes.CutPrefix(topic, []byte(upPrefix))
	if !ok || len(name) == 0 || len(name) > maxName {
		return "", false
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", rune(c)) {
			return "", false
		}
	}
	return string(name), true
}

// DeviceSchema is a schema that runs on a device.
type DeviceSchema struct {
	Name    string
	Version int
}

// DeviceStats counts what was heard of a device since the node started.
type DeviceStats struct {
	Device                                                   string
	Hellos, Batches, Records, Duplicates, Refused, Malformed uint64
	Waiting                                                  uint64 // records whose schema is not there
	Gaps                                                     uint64 // ranges that were asked for because later ones came
	Lost                                                     uint64 // records that the device declared lost
	SchemasRefused                                           uint64
	Lag                                                      uint64 // sequences of the current epoch that are known and not stored
	TimeSource                                               byte   // of the newest time record: 1 gateway, 2 SNTP, 3 GPS, 4 clock chip
	TimeError                                                uint32 // µs, as that record says
	Cause, Part                                              byte   // of the last start
	LastHeard                                                int64
	Schemas                                                  []DeviceSchema
	Counters                                                 map[byte]uint64 // docs/format/uplink.md, status
}

// show lets Status know what became of a device.
func (g *Gateway) show(d *device) {
	s := d.stats
	s.Device = d.name
	if d.epoch != 0 {
		known := max(d.last, d.newest)
		s.Lag = known - min(known, d.memory.epoch(d.epoch).taken().count())
	}
	s.Schemas = slices.Clone(s.Schemas)
	g.mu.Lock()
	g.shown[d.name] = s
	g.mu.Unlock()
}

// Status describes every device that was heard, by name. It never waits for the store.
func (g *Gateway) Status() []DeviceStats {
	g.mu.Lock()
	out := slices.Collect(maps.Values(g.shown))
	g.mu.Unlock()
	slices.SortFunc(out, func(a, b DeviceStats) int { return strings.Compare(a.Device, b.Device) })
	return out
}
