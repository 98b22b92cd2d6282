package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/pipeline"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/source/broker"
	"github.com/weir-telemetry/weir/internal/source/mqtt"
	"github.com/weir-telemetry/weir/internal/source/uplink"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Options are what a node needs besides its configuration.
type Options struct {
	Logger  *slog.Logger // nil: silent
	Version string
	Now     func() time.Time // nil: time.Now; for ages and creation times
	// Clock is what the clock of receipt follows: the wall clock, and one that
	// only goes on. nil: the machine's.
	Clock func() (wall int64, mono time.Duration)
	// Existing refuses a data directory that holds no store yet, as commands do
	// that only look at one.
	Existing bool
}

// Node is an assembled node. Open makes one that stores and answers; Start adds
// the ways in from outside; Stop ends it.
type Node struct {
	cfg   *config.Loaded
	opts  Options
	log   *slog.Logger
	now   func() time.Time
	began time.Time
	card  bool

	store    *embedded.Store
	gate     *gate
	registry *schema.Registry
	pipeline *pipeline.Pipeline
	queries  *querier
	metrics  *prometheus.Registry

	// following guards how sources and pipeline follow the registry.
	following sync.Mutex
	policies  map[string]store.Policy // by table; guarded by following

	importing sync.Mutex // held while a part of an import is stored

	// The ways in are all made before the first of them serves, and read only
	// after that.
	broker  *broker.Broker
	sources []*mqtt.Source  // changed under following
	gateway *uplink.Gateway // of devices and of their cards
	uplink  *uplink.Gateway // gateway, where devices may send; nil: off
	web     *server
	socket  *server
	backups *backups // nil: none are scheduled
	path    string   // of the control socket

	// intake ends the sources, which then drain; work ends what is left at the
	// hard deadline.
	intake, work             context.Context
	endIntake, endWork       context.CancelFunc
	sourceTasks, commitTasks sync.WaitGroup

	devicePlans atomic.Pointer[devicePlans]
	down        atomic.Pointer[broker.Broker] // by which the uplink answers
	endGateway  context.CancelFunc            // nil: it was not started
	gatewayTask sync.WaitGroup

	stopping atomic.Bool
	failed   chan error
}

// Open opens the data directory and makes everything run that does not talk to
// the outside: store, schemas, pipeline and queries. The node must be stopped.
func Open(ctx context.Context, cfg *config.Loaded, opts Options) (*Node, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	n := &Node{cfg: cfg, opts: opts, log: part(opts.Logger, "node"), now: opts.Now, began: opts.Now(), failed: make(chan error, 8)}
	n.work, n.endWork = context.WithCancel(context.Background())
	n.intake, n.endIntake = context.WithCancel(n.work)
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Stop(ctx))
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) error {
	if err := restored(n.cfg.DataDir); err != nil {
		return err
	}
	if n.opts.Existing {
		if err := exists(n.cfg.DataDir); err != nil {
			return err
		}
	}
	if n.cfg.Encryption.Enabled {
		n.opts.Logger = discreet(n.opts.Logger)
		n.log = part(n.opts.Logger, "node")
	}
	// Keys first: where they do not fit nothing is written.
	options, err := storeOptions(ctx, n.cfg.Config, part(n.opts.Logger, "store"), n.now, false)
	if err == nil {
		err = embedded.CheckSealing(options)
	}
	if err != nil {
		return err
	}
	had := embedded.Exists(n.cfg.DataDir)
	sizes := chooseSizes(n.cfg.Config, machineMemory())
	if err := durable.MakeDir(n.cfg.DataDir, 0o700); err != nil {
		return DataDirError(n.cfg.DataDir, err)
	}
	n.card = onCard(n.cfg.DataDir)
	if n.store, err = n.openStore(ctx, options); err != nil {
		return err
	}
	// The identity is read under the store's lock: two nodes that start on one
	// directory must not both draw it.
	id, err := loadIdentity(n.cfg.DataDir)
	if err == nil {
		if had && id.changed {
			n.log.Warn("the store has no ledger key any more, and a new one is drawn: what brokers deliver again now may be stored twice", "file", id.path)
		}
		err = id.save()
	}
	if err != nil {
		return err
	}
	key, err := id.ledgerKey()
	if err != nil {
		return err
	}
	n.pipeline = pipeline.New(pipeline.Config{
		CommitInterval:  n.commitInterval(),
		BufferBytes:     int(sizes.buffer),
		TopicCacheBytes: int(n.cfg.Pipeline.TopicCache.Bytes),
		HashKey:         key,
		Clock:           pipeline.NewClock(part(n.opts.Logger, "clock"), n.opts.Clock),
	}, n.store, part(n.opts.Logger, "pipeline"))
	n.commitTasks.Go(func() {
		if err := n.pipeline.Run(n.work); err != nil && n.work.Err() == nil {
			n.fail(fmt.Errorf("the pipeline ended: %w", err))
		}
	})
	if err := n.openSchemas(); err != nil {
		return err
	}
	n.startGateway()
	n.queries = newQuerier(n.store, n.cfg.Config, sizes, n.now)
	n.metrics = newRegistry(n)
	return nil
}

// commitInterval is 2 ms, or 1 s on a card: a commit of one reading writes 13 KB,
// and a card has a life.
func (n *Node) commitInterval() time.Duration {
	c := n.cfg.Store.CommitInterval
	switch {
	case !c.Auto && c.D == 0:
		return -1 // what the pipeline calls no pause
	case !c.Auto:
		return c.D
	case n.card:
		n.log.Info("data_dir lies on an SD card or eMMC: commits start 1s apart to spare it; store.commit_interval changes that")
		return time.Second
	}
	return 2 * time.Millisecond
}

func (n *Node) openSchemas() error {
	log := part(n.opts.Logger, "schema")
	n.gate = &gate{store: n.store, tenant: telemetry.DefaultTenant}
	last := loadLastGood(n.cfg.DataDir, n.cfg.Schemas, n.gate, n.store.Ring().Box(seal.NodeOwner), log)
	if n.opts.Existing {
		last.path = "" // a command does not decide what the node goes on with
	} else if _, err := os.Stat(n.cfg.Schemas); errors.Is(err, fs.ErrNotExist) && len(last.known) > 0 {
		// Not a decision to go without them: the messages that come would be lost.
		return telemetry.Errorf(telemetry.CodeNotFound, "open schemas", "the directory %s is not there, and held %d documents when the node ran last", n.cfg.Schemas, len(last.known)).
			WithHint("mount or restore it, or correct schemas in the configuration; an empty directory lets the node start without")
	}
	if err := durable.MakeDir(n.cfg.Schemas, 0o755); err != nil {
		if info, stat := os.Stat(n.cfg.Schemas); stat == nil && !info.IsDir() {
			return telemetry.Errorf(telemetry.CodeInvalid, "open schemas", "%s is a file, not a directory", n.cfg.Schemas).
				WithHint("name the directory that holds it, with --schemas or the key schemas")
		}
		return telemetry.Errorf(telemetry.CodeUnavailable, "make the directory of schemas", "%w", err)
	}
	var err error
	registry, err := schema.Open(n.cfg.Schemas, schema.Options{
		Logger:    log,
		TableName: n.gate.tableName,
		Approve:   n.gate.approve,
		Last:      last.plan,
		Active:    last.active,
		OnChange:  func(*schema.Set) { n.schemasChanged() },
	})
	if err != nil {
		return fmt.Errorf("open schemas: %w", err)
	}
	n.following.Lock()
	n.registry = registry
	n.following.Unlock()
	n.schemasChanged()
	return nil
}

// schemasChanged brings the pipeline and the subscriptions in line with what the
// registry has by now: a change that comes while another is dealt with is never
// undone by it.
func (n *Node) schemasChanged() {
	n.following.Lock()
	defer n.following.Unlock()
	if n.registry == nil {
		return // it calls before Open returns; openSchemas calls again
	}
	set, problems := n.registry.Current(), n.registry.Problems()
	n.pipeline.SetSchemas(set)
	n.setPolicies(set)
	n.adoptDevicePlans(set)
	for i, s := range n.sources {
		if len(n.cfg.Sources[i].MQTT.Topics) > 0 {
			continue
		}
		// What a document with a problem is about may be known too little to give
		// its messages up: what a session holds stays subscribed.
		if err := s.SetTopics(n.uplinkTopics(i, set.Filters()), len(problems) > 0); err != nil {
			n.log.Error("the topics of a source do not follow the schemas", "source", s.Name(), "error", err)
		}
	}
}

func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default: // one reason to stop is enough
	}
}

// Failed tells of a part that ended although nobody stopped it. The node should
// then be stopped.
func (n *Node) Failed() <-chan error { return n.failed }

// Start opens the ways in: control socket, HTTP, broker and sources. What asks
// for the others' state is served last.
func (n *Node) Start(ctx context.Context) error {
	socket, err := control.Listen(n.cfg.DataDir)
	if err != nil {
		// The node is of use without it, and some file systems have no sockets.
		n.log.Warn("no control socket: commands cannot ask this node", "error", err)
	} else {
		n.path = socket.Path()
		n.socket = newServer(socket, n.controlHandler())
	}
	if n.cfg.HTTP.Listen != "" {
		if err := n.listenHTTP(); err != nil {
			return err
		}
	}
	if n.cfg.Uplink.Enabled {
		n.uplink = n.gateway
	}
	if n.cfg.Broker.Enabled {
		if err := n.startBroker(ctx); err != nil {
			return err
		}
	}
	if err := n.startSources(); err != nil {
		return err
	}
	if err := n.startBackups(); err != nil {
		return err
	}
	for _, s := range []*server{n.web, n.socket} {
		if s != nil {
			s.serve(n.fail)
		}
	}
	returnStartPages()
	return nil
}

func (n *Node) listenHTTP() error {
	users, err := webUsers(n.cfg.HTTP.PasswordFile)
	if err != nil {
		return err
	}
	l, err := listenHTTP(n.cfg.HTTP.Listen)
	if err != nil {
		return err
	}
	n.web = newServer(l, n.webHandler(users))
	return nil
}

func (n *Node) startBroker(ctx context.Context) error {
	c := brokerConfig(n.cfg.Config, n.store.Ring())
	c.Now = n.pipeline.Clock().Now
	b, err := broker.New(c, n.sink(), part(n.opts.Logger, "broker"))
	if err != nil {
		return err
	}
	n.down.Store(b)
	if err := b.Start(ctx); err != nil {
		return err
	}
	n.broker = b
	return nil
}

func (n *Node) startSources() error {
	if err := n.makeSources(); err != nil {
		return err
	}
	for _, s := range n.sources {
		n.sourceTasks.Go(func() {
			if err := s.Run(n.intake); err != nil {
				n.fail(err)
			}
		})
	}
	return nil
}

// makeSources makes the sources with the topics of now; later ones come by
// schemasChanged.
func (n *Node) makeSources() error {
	n.following.Lock()
	defer n.following.Unlock()
	for i := range n.cfg.Sources {
		c := sourceConfig(n.cfg.Config, i, n.store.Ring())
		c.Now = n.pipeline.Clock().Now
		if len(c.Topics) == 0 {
			c.Topics = n.registry.Current().Filters()
			c.KeepHeld = len(n.registry.Problems()) > 0
		}
		c.Topics = n.uplinkTopics(i, c.Topics)
		s, err := mqtt.New(c, n.sink(), part(n.opts.Logger, "source"))
		if err != nil {
			return err
		}
		n.sources = append(n.sources, s)
	}
	return nil
}

// Stop ends the node in the order of the stream: nothing new comes in, what is
// there becomes durable and is acknowledged, then the rest is closed. When ctx
// ends first, what is not durable stays unacknowledged, and will come again.
func (n *Node) Stop(ctx context.Context) error {
	n.stopping.Store(true)
	var errs []error
	keep := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", what, err))
		}
	}
	if n.registry != nil {
		keep("schemas", n.registry.Close())
	}
	n.endIntake()
	if n.broker != nil {
		keep("the broker", n.broker.Stop(ctx))
	}
	keep("the sources", waitFor(ctx, &n.sourceTasks))
	n.stopGateway()
	if n.pipeline != nil {
		keep("the pipeline", n.pipeline.Close(ctx))
	}
	n.endWork()
	n.sourceTasks.Wait()
	n.commitTasks.Wait()
	for what, s := range map[string]*server{"the HTTP server": n.web, "the control socket": n.socket} {
		if s != nil {
			keep(what, s.stop(ctx))
		}
	}
	if n.store != nil {
		keep("the store", n.store.Close())
	}
	return errors.Join(errs...)
}

// waitFor waits for the group until ctx ends.
func waitFor(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
