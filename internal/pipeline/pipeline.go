package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Pipeline takes messages from sources to a store.
type Pipeline struct {
	cfg   Config
	store store.Store
	log   *slog.Logger

	schemas atomic.Pointer[schemas]
	lanes   []*lane
	cache   cacheBudget
	budget  budget
	quantum int64 // what a burst takes from the budget at a time

	nextLane     atomic.Uint32
	sessionsMu   sync.Mutex
	sessions     map[string]*sessionState
	openSessions atomic.Int64

	work      chan struct{} // capacity 1: a lane has something
	urgent    chan struct{} // capacity 1: a lane has much
	jobs      chan *replayJob
	loads     chan *loadJob
	replaying chan struct{} // capacity 1: one replay at a time

	running  atomic.Bool
	hard     context.Context // ends when what is not durable is abandoned
	kill     context.CancelFunc
	stopping atomic.Bool   // the intake is closed
	stop     chan struct{} // closed when stopping
	stopped  chan struct{} // closed when Run returns

	commits commitStats
	trouble atomic.Pointer[trouble]
	silence silence
}

var _ telemetry.Sink = (*Pipeline)(nil)

var (
	errStopped = telemetry.Errorf(telemetry.CodeUnavailable, "take messages", "the pipeline has stopped")

	errNoSchemas = telemetry.Errorf(telemetry.CodeUnavailable, "take messages", "no schemas are set")
)

// New returns a pipeline into a store. Nothing runs before Run, and nothing is
// taken before SetSchemas. A nil logger is silent.
func New(cfg Config, st store.Store, logger *slog.Logger) *Pipeline {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{
		cfg:       cfg.withDefaults(),
		store:     st,
		log:       logger,
		sessions:  map[string]*sessionState{},
		work:      make(chan struct{}, 1),
		urgent:    make(chan struct{}, 1),
		jobs:      make(chan *replayJob),
		loads:     make(chan *loadJob),
		replaying: make(chan struct{}, 1),
		stop:      make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	p.hard, p.kill = context.WithCancel(context.Background())
	p.commits.init()
	p.budget.limit = int64(p.cfg.BufferBytes)
	p.quantum = max(1, min(64<<10, int64(p.cfg.BufferBytes/(4*p.cfg.Lanes))))
	p.cache.limit = int64(p.cfg.TopicCacheBytes)
	p.cache.share = p.cache.limit / int64(p.cfg.Lanes)
	for range p.cfg.Lanes {
		p.lanes = append(p.lanes, newLane(p))
	}
	p.cache.lanes = p.lanes
	return p
}

// SetSchemas makes a set the one that messages are checked by from the next burst
// on. Batches on their way keep the tables that they were filled under.
func (p *Pipeline) SetSchemas(set *schema.Set) {
	if old := p.schemas.Load(); old != nil && old.set == set {
		return // what is cached stays right
	}
	p.schemas.Store(newSchemas(set))
}

// ages returns the time from which ages count, or 0 where no schema asks for a
// retention or the store does not know the time.
func (p *Pipeline) ages(state *schemas) int64 {
	if !state.ages {
		return 0
	}
	if k, ok := p.store.(store.Keeper); ok {
		return k.RetentionTime()
	}
	return 0
}

// Clock is what sources stamp Message.Received with.
func (p *Pipeline) Clock() *Clock { return p.cfg.Clock }

func (p *Pipeline) now() time.Time { return time.Now() }

// signal leaves a note in a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close ends the pipeline softly: the intake is closed, and everything that was
// taken is made durable and acknowledged. When ctx ends first, what is not durable
// stays unacknowledged, and ctx's error is returned with how much that was. Close waits for Run.
func (p *Pipeline) Close(ctx context.Context) error {
	p.closeIntake()
	if !p.running.Load() && p.untouched() {
		return nil // and if Run is called after all, it ends at once
	}
	select {
	case <-p.stopped:
	case <-ctx.Done():
		p.kill()
		if p.running.Load() {
			<-p.stopped
		}
	}
	if n := p.waiting(); n > 0 {
		err := telemetry.Errorf(telemetry.CodeUnavailable, "drain the pipeline", "%d messages stay unacknowledged", n)
		err.Err = context.Cause(ctx)
		return err.WithHint("their senders deliver them again")
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// closeIntake refuses new bursts and waits for those under way.
func (p *Pipeline) closeIntake() {
	if p.stopping.Swap(true) {
		return
	}
	p.budget.close(errStopped)
	for _, l := range p.lanes {
		l.mu.Lock()
		//lint:ignore SA2001 once the lock was had, a burst that saw stopping false is over
		l.mu.Unlock()
	}
	close(p.stop)
}

// untouched reports whether no lane holds anything.
func (p *Pipeline) untouched() bool {
	for _, l := range p.lanes {
		l.mu.Lock()
		empty := l.current.empty()
		l.mu.Unlock()
		if !empty {
			return false
		}
	}
	return true
}

// waiting counts the messages that are in flight.
func (p *Pipeline) waiting() uint64 {
	var n uint64
	for _, l := range p.lanes {
		l.mu.Lock()
		for _, c := range l.sources {
			n += c.inFlight
		}
		l.mu.Unlock()
	}
	return n
}

// trouble is why commits do not succeed at present.
type trouble struct {
	err   error
	since time.Time
}

// Health returns nil when messages are taken and made durable, else why not.
func (p *Pipeline) Health() error {
	if t := p.trouble.Load(); t != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "commit",
			"nothing was made durable since %s: %w", t.since.UTC().Format(time.RFC3339), t.err).
			WithHint("messages wait unacknowledged; commits are tried again until they succeed")
	}
	if p.stopping.Load() {
		return errStopped
	}
	if p.schemas.Load() == nil {
		return errNoSchemas
	}
	return p.store.Health()
}

// failing notes and logs, once, that the store does not take commits.
func (p *Pipeline) failing(op string, err error) {
	old := p.trouble.Load()
	if old == nil {
		p.trouble.Store(&trouble{err: err, since: p.now()})
		p.log.Error("the store takes no commits; messages wait unacknowledged", "op", op, "error", err)
		return
	}
	p.trouble.Store(&trouble{err: err, since: old.since})
}

// recovered notes and logs the end of trouble.
func (p *Pipeline) recovered() {
	if t := p.trouble.Load(); t != nil {
		p.trouble.Store(nil)
		p.log.Info("the store takes commits again", "after", p.now().Sub(t.since).Round(time.Millisecond))
	}
}

// Between two tries of a commit that failed.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// persist calls f until it succeeds. Only a refusal, which is for ever, and the
// end of ctx are returned.
func (p *Pipeline) persist(ctx context.Context, op string, f func() error) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := f()
		if err == nil {
			p.recovered()
			return nil
		}
		if telemetry.CodeOf(err) == telemetry.CodeRefused {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		p.failing(op, err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}
