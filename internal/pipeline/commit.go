package pipeline

import (
	"context"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// commit is one step of the commit loop: the batches of all lanes, a part of a
// replay, or a load.
type commit struct {
	batches []*batch
	replay  *replayJob
	load    *loadJob

	whole  telemetry.Commit
	tenant telemetry.Batch
	staged store.Staged // nil: there is nothing to store
	rows   int
	bytes  int64
	since  time.Time // when the oldest of it came
}

// result is how the durable half of a commit ended.
type result struct {
	c   *commit
	err error // nil, a refusal, or that of the context
}

// loop is the state of Run.
type loop struct {
	p        *Pipeline
	ctx      context.Context // ends hard
	durable  chan *commit    // to the goroutine that makes durable
	done     chan result     // and back
	inFlight bool            // durable has one that done has not reported
	last     time.Time       // start of the last commit
	timer    *time.Timer     // paces
	idle     *time.Timer     // gives memory back, once
	lean     bool            // memory was given back
	free     []*commit
}

// idleAfter is how long nothing happens before memory is given back.
const idleAfter = 5 * time.Second

// Run commits what the lanes gather until Close has drained them, or until ctx
// ends, which abandons what is not durable yet. It is called once.
func (p *Pipeline) Run(ctx context.Context) error {
	defer p.kill()
	defer context.AfterFunc(ctx, p.kill)()
	p.running.Store(true)
	defer close(p.stopped)

	l := &loop{
		p: p, ctx: p.hard,
		durable: make(chan *commit),
		done:    make(chan result, 1),
		timer:   stoppedTimer(),
		idle:    stoppedTimer(),
	}
	defer l.timer.Stop()
	defer l.idle.Stop()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for c := range l.durable {
			l.done <- result{c, p.makeDurable(p.hard, c)}
		}
	}()
	l.run()
	close(l.durable)
	<-finished
	p.closeIntake()
	return context.Cause(ctx)
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// run is the commit loop. While one commit is made durable the next is staged; it
// is handed on when that is done, so at most two are under way.
func (l *loop) run() {
	for {
		c := l.next()
		if c == nil {
			break
		}
		l.last = l.p.now()
		l.lean = false
		c.assemble(l.p.cfg.Tenant)
		err := l.stage(c)
		if before, failed := l.await(); failed {
			// The one before is not stored, and this one was staged as if it
			// were: this one begins again.
			before.abort()
			c.abort()
			if l.takeApart(before) != nil {
				before.abandon()
				c.abandon()
				break
			}
			err = l.stage(c)
		}
		if err != nil {
			err = l.p.persist(l.ctx, "stage", func() error { return l.stage(c) })
		}
		if err != nil {
			if l.ctx.Err() != nil || l.takeApart(c) != nil {
				c.abandon()
				break
			}
			continue
		}
		l.durable <- c
		l.inFlight = true
	}
	if before, failed := l.await(); failed {
		before.abort()
		if l.takeApart(before) != nil {
			before.abandon()
		}
	}
}

// next waits for something to commit. It returns nil at the end.
func (l *loop) next() *commit {
	p := l.p
	stopping := false
	for {
		var done chan result
		if l.inFlight {
			done = l.done
		} else if !l.lean {
			l.idle.Reset(idleAfter)
		}
		select {
		case <-p.work:
			l.idle.Stop()
		case job := <-p.jobs:
			return job.commit()
		case job := <-p.loads:
			return job.start(p)
		case r := <-done:
			if l.settled(r) != nil {
				return nil
			}
			continue
		case <-p.stop:
			stopping = true
		case <-l.idle.C:
			// Nothing is armed after this: the next to wake up is a message.
			l.lean, l.free = true, nil
			p.release()
			continue
		case <-l.ctx.Done():
			return nil
		}
		if !stopping && !l.pace() {
			return nil
		}
		if c := l.collect(); c != nil {
			return c
		}
		if stopping {
			return nil
		}
	}
}

// settled receives the end of the commit that was in flight.
func (l *loop) settled(r result) error {
	l.inFlight = false
	if r.err == nil {
		l.recycle(r.c)
		return nil
	}
	r.c.abort()
	err := l.takeApart(r.c)
	if err != nil {
		r.c.abandon()
	}
	return err
}

// await waits for the commit in flight, and returns it if it failed.
func (l *loop) await() (*commit, bool) {
	if !l.inFlight {
		return nil, false
	}
	r := <-l.done
	l.inFlight = false
	if r.err != nil {
		return r.c, true
	}
	l.recycle(r.c)
	return nil, false
}

// pace waits until the next commit may start. It returns false at a hard end.
func (l *loop) pace() bool {
	wait := l.p.cfg.CommitInterval - l.p.now().Sub(l.last)
	if wait <= 0 {
		return true
	}
	l.timer.Reset(wait)
	defer l.timer.Stop()
	select {
	case <-l.timer.C:
	case <-l.p.urgent:
	case <-l.p.stop:
	case <-l.ctx.Done():
		return false
	}
	return true
}

// collect swaps the batches of all lanes for empty ones.
func (l *loop) collect() *commit {
	p := l.p
	select {
	case <-p.urgent: // it was about what is taken now
	default:
	}
	var c *commit
	for _, ln := range p.lanes {
		ln.mu.Lock()
		if ln.dirty {
			if c == nil {
				c = l.newCommit()
			}
			c.batches = append(c.batches, ln.current)
			ln.current = ln.newBatch()
			ln.dirty, ln.urged = false, false
		}
		ln.mu.Unlock()
	}
	return c
}

func (l *loop) newCommit() *commit {
	if n := len(l.free); n > 0 {
		c := l.free[n-1]
		l.free = l.free[:n-1]
		return c
	}
	return &commit{}
}

// recycle keeps a finished commit for its memory.
func (l *loop) recycle(c *commit) {
	if c.replay != nil || c.load != nil {
		return
	}
	clear(c.batches)
	*c = commit{
		batches: c.batches[:0],
		tenant:  telemetry.Batch{Sections: c.tenant.Sections[:0]},
		whole:   telemetry.Commit{Batches: c.whole.Batches[:0]},
	}
	l.free = append(l.free, c)
}

// assemble makes one telemetry.Commit of the batches.
func (c *commit) assemble(tenant telemetry.Tenant) {
	c.tenant.Tenant = tenant
	for _, b := range c.batches {
		if c.since.IsZero() || b.since.Before(c.since) {
			c.since = b.since
		}
		c.bytes += b.bytes
		for _, bu := range b.active {
			bu.seal()
			c.tenant.Sections = append(c.tenant.Sections, &bu.section)
			c.rows += bu.section.Rows()
		}
		if len(c.batches) == 1 {
			c.tenant.Quarantine, c.whole.Ledger = b.quarantine, b.ledger
		} else {
			c.tenant.Quarantine = append(c.tenant.Quarantine, b.quarantine...)
			c.whole.Ledger = append(c.whole.Ledger, b.ledger...)
		}
		for i := range b.resolved {
			c.tenant.Resolved = append(c.tenant.Resolved, b.resolved[i].id)
		}
	}
	c.whole.Batches = append(c.whole.Batches[:0], &c.tenant)
}

// stores reports whether there is anything to store.
func (c *commit) stores() bool {
	return c.rows > 0 || len(c.tenant.Quarantine) > 0 || len(c.whole.Ledger) > 0 || len(c.tenant.Resolved) > 0
}

// stage makes the commit ready in the store.
func (l *loop) stage(c *commit) error {
	c.staged = nil
	if !c.stores() {
		return nil
	}
	for _, s := range c.tenant.Sections {
		s.Duplicates = s.Duplicates[:0]
	}
	start := l.p.now()
	staged, err := l.p.store.Stage(l.ctx, &c.whole)
	if err != nil {
		return err
	}
	if c.load != nil && c.load.trial {
		staged.Abort()
		return nil
	}
	c.staged = staged
	l.p.commits.staged(l.p.now().Sub(start))
	return nil
}

func (c *commit) abort() {
	if c.staged != nil {
		c.staged.Abort()
		c.staged = nil
	}
}

// abandon ends a commit at a hard stop: nobody hears of it.
func (c *commit) abandon() {
	c.abort()
	if c.replay != nil {
		c.replay.finish(errStopped)
	}
	if c.load != nil {
		c.load.finish(errStopped)
	}
}

// makeDurable is the second half of a commit. It returns a refusal, or the error
// of a hard end.
func (p *Pipeline) makeDurable(ctx context.Context, c *commit) error {
	if c.staged != nil {
		start := p.now()
		if err := p.persist(ctx, "commit", func() error { return c.staged.Commit(ctx) }); err != nil {
			return err
		}
		p.commits.committed(c.rows, c.bytes, p.now().Sub(start), p.now())
		c.staged = nil
	}
	p.finish(c)
	return nil
}

// finish acknowledges what is durable and settles the counters.
func (p *Pipeline) finish(c *commit) {
	if c.replay != nil {
		c.replay.finish(nil)
		return
	}
	if c.load != nil {
		c.load.finish(nil)
		return
	}
	for _, b := range c.batches {
		for i := range b.sessions {
			if in := &b.sessions[i]; in.has {
				in.session.ack(in.token)
			}
		}
	}
	now := p.now()
	p.commits.acknowledged(now.Sub(c.since))
	for _, b := range c.batches {
		p.silence.heard(b.active, now)
		l, bytes := b.lane, b.bytes
		var over []*sessionState
		l.mu.Lock()
		b.settle()
		for i := range b.sessions {
			st := b.sessions[i].session.state
			if st.held--; st.held == 0 && !st.open.Load() {
				over = append(over, st)
			}
		}
		b.recycle()
		l.spare = append(l.spare, b)
		l.mu.Unlock()
		p.budget.give(bytes)
		for _, st := range over {
			p.sessionsMu.Lock()
			p.forget(st)
			p.sessionsMu.Unlock()
		}
	}
}

// release gives back the memory of batches while nothing happens.
func (p *Pipeline) release() {
	for _, l := range p.lanes {
		l.mu.Lock()
		l.spare = nil
		if l.current.empty() {
			l.current.strip()
		}
		l.mu.Unlock()
	}
}
