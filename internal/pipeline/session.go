package pipeline

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sessionState is what outlives a connection: the ledger of one session key, and
// what is on its way to the disk. It is kept while a source has the session open
// or a batch holds something of it.
type sessionState struct {
	key    string
	id     telemetry.SessionID
	lane   *lane
	ledger ledger      // guarded by lane.mu
	held   int         // batches that hold something of it; guarded by lane.mu
	open   atomic.Bool // written under Pipeline.sessionsMu
}

// session is a sessionState in the hands of a source.
type session struct {
	p      *Pipeline
	lane   *lane
	state  *sessionState
	counts *sourceCounters

	cursor    cursor // into the topic cache: topics
	tagCursor cursor // and keys of tags
	burst     bool
	sum       sums // of the burst

	token    uint64 // the highest of the burst
	hasToken bool
	fresh    uint64     // token of the first message that was new on this connection
	row      schema.Row // scratch of AddRow
	rows     [1]schema.Row
	batch    uint64 // seq of the batch that the session stands in
	index    int    // its place there

	ackMu  sync.Mutex
	acker  telemetry.Acker
	closed bool
}

var _ telemetry.Session = (*session)(nil)

// OpenSession implements telemetry.Sink.
func (p *Pipeline) OpenSession(ctx context.Context, source, key string, acker telemetry.Acker) (telemetry.Session, error) {
	st, err := p.claim(key)
	if err != nil {
		return nil, err
	}
	if st.lane == nil {
		id, entries, err := p.store.OpenSession(ctx, key)
		if err != nil {
			p.disown(st)
			return nil, err
		}
		l := p.lanes[int(p.nextLane.Add(1)-1)%len(p.lanes)]
		l.mu.Lock()
		st.id, st.lane = id, l
		st.ledger.load(entries)
		l.mu.Unlock()
	}
	l := st.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	st.ledger.carry()
	counts := l.sources[source]
	if counts == nil {
		counts = &sourceCounters{name: source}
		l.sources[source] = counts
	}
	p.openSessions.Add(1)
	return &session{
		p: p, lane: l, state: st, counts: counts, acker: acker,
		cursor: newCursor(), tagCursor: newCursor(),
	}, nil
}

// claim marks the session of a key as open.
func (p *Pipeline) claim(key string) (*sessionState, error) {
	p.sessionsMu.Lock()
	defer p.sessionsMu.Unlock()
	if p.stopping.Load() {
		return nil, errStopped
	}
	st := p.sessions[key]
	switch {
	case st == nil:
		st = &sessionState{key: key}
		p.sessions[key] = st
	case st.open.Load():
		return nil, telemetry.Errorf(telemetry.CodeConflict, "open session", "session %q is open already", key)
	}
	st.open.Store(true)
	return st, nil
}

// disown ends a claim, and forgets the state if nothing of it is on its way.
func (p *Pipeline) disown(st *sessionState) {
	p.sessionsMu.Lock()
	defer p.sessionsMu.Unlock()
	st.open.Store(false)
	p.forget(st)
}

// forget removes a state that nobody needs. sessionsMu is held.
func (p *Pipeline) forget(st *sessionState) {
	if st.open.Load() || p.sessions[st.key] != st {
		return
	}
	if st.lane != nil {
		st.lane.mu.Lock()
		defer st.lane.mu.Unlock()
		if st.held > 0 {
			return
		}
	}
	delete(p.sessions, st.key)
}

// Begin implements telemetry.Session.
func (s *session) Begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.p.budget.take(ctx, s.p.quantum); err != nil {
		return err
	}
	l := s.lane
	l.mu.Lock()
	state := s.p.schemas.Load()
	if s.p.stopping.Load() || state == nil {
		l.mu.Unlock()
		s.p.budget.give(s.p.quantum)
		if state == nil {
			return errNoSchemas
		}
		return errStopped
	}
	l.room = s.p.quantum
	l.topics.tidy()
	l.adopt(state)
	l.ages = s.p.ages(state)
	s.burst = true
	return nil
}

// End implements telemetry.Session.
func (s *session) End() {
	if !s.burst {
		return
	}
	s.burst = false
	s.enter()
	l := s.lane
	if s.hasToken {
		in := s.join()
		in.token, in.has = s.token, true
		s.hasToken = false
	}
	if l.room > 0 {
		l.p.budget.give(l.room)
	}
	l.room = 0
	l.tell()
	l.mu.Unlock()
}

// join returns the session's place in the current batch.
func (s *session) join() *inBatch {
	b := s.lane.current
	if s.batch != b.seq {
		s.batch, s.index = b.seq, len(b.sessions)
		b.sessions = append(b.sessions, inBatch{session: s})
		s.state.held++
	}
	return &b.sessions[s.index]
}

// tell wakes the commit loop, once for each batch, and once more if it is large.
func (l *lane) tell() {
	b := l.current
	if !l.dirty && !b.empty() {
		l.dirty = true
		b.since = l.p.now()
		signal(l.p.work)
	}
	if !l.urged && b.bytes >= int64(l.p.cfg.BatchBytes) {
		l.urged = true
		signal(l.p.urgent)
	}
}

// outside runs f with the lane locked, in a burst or out of it.
func (s *session) outside(f func()) {
	if s.burst {
		f()
		return
	}
	s.lane.mu.Lock()
	defer s.lane.mu.Unlock()
	if s.p.stopping.Load() {
		return
	}
	f()
	s.lane.tell()
}

// Release implements telemetry.Session.
func (s *session) Release(packetID uint16, token uint64) {
	s.token, s.hasToken = token, true
	if e := s.state.ledger.find(packetID); e != nil && e.qos == 2 {
		s.state.ledger.drop(packetID)
		s.note(telemetry.LedgerOp{PacketID: packetID, QoS: 2, Kind: telemetry.LedgerDrop})
	}
}

// Confirm implements telemetry.Session.
func (s *session) Confirm(upTo uint64) {
	s.outside(func() {
		l := s.lane
		l.ids = s.state.ledger.confirmed(l.ids[:0], upTo, s.fresh)
		for _, id := range l.ids {
			s.state.ledger.drop(id)
			s.note(telemetry.LedgerOp{PacketID: id, QoS: 1, Kind: telemetry.LedgerDrop})
		}
	})
}

// Reset implements telemetry.Session.
func (s *session) Reset() {
	s.outside(func() {
		if s.state.ledger.reset() {
			s.note(telemetry.LedgerOp{Kind: telemetry.LedgerReset})
		}
	})
}

// Close implements telemetry.Session.
func (s *session) Close() {
	s.End()
	s.ackMu.Lock()
	closed := s.closed
	s.closed, s.acker = true, nil
	s.ackMu.Unlock()
	if !closed {
		s.p.openSessions.Add(-1)
		s.p.disown(s.state)
	}
}

// ack hands a token to the source, unless it has closed the session.
func (s *session) ack(upTo uint64) {
	s.ackMu.Lock()
	defer s.ackMu.Unlock()
	if !s.closed {
		s.acker.Ack(upTo)
	}
}

// note appends a change of the session's ledger to the current batch.
func (s *session) note(op telemetry.LedgerOp) {
	op.Session = s.state.id
	s.join()
	b := s.lane.current
	b.ledger = append(b.ledger, op)
	s.lane.spend(ledgerOpBytes)
}

// The memory that is counted for what is not a row.
const (
	ledgerOpBytes   = 64
	quarantineBytes = 256
)

// redelivered decides whether a message with an acknowledgement was here before.
// ended says that the ledger had an entry of an older message under its id, which
// is gone now.
func (s *session) redelivered(m *telemetry.Message) (again, ended bool) {
	led := &s.state.ledger
	e := led.find(m.PacketID)
	if e == nil {
		return false, false
	}
	switch {
	case e.qos == 2 && m.QoS == 2,
		e.qos == m.QoS && m.Dup && e.hash == s.hash(m):
		e.token = m.Token
		return true, false
	}
	led.drop(m.PacketID)
	return false, true
}

// hash is what the ledger keeps of a message's content. Session and packet id go
// into it, so that equal contents have different hashes.
func (s *session) hash(m *telemetry.Message) uint64 {
	return sipHash(&s.p.cfg.HashKey,
		[2]uint64{uint64(s.state.id)<<32 | uint64(m.PacketID), uint64(len(m.Topic))<<32 | uint64(uint32(len(m.Payload)))},
		m.Topic, m.Payload)
}
