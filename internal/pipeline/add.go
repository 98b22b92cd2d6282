package pipeline

import (
	"bytes"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Add implements telemetry.Session. It is the path of every message: no
// allocation, no lock, no clock.
func (s *session) Add(m *telemetry.Message) bool {
	l := s.lane
	l.added++
	s.sum.received++
	s.sum.bytes += uint64(len(m.Payload))
	if m.QoS == 0 {
		s.process(m)
		return l.room > 0
	}

	s.token, s.hasToken = m.Token, true
	ended := false
	if s.state.ledger.n != 0 {
		var again bool
		if again, ended = s.redelivered(m); again {
			s.counts.duplicate++
			return l.room > 0
		}
	}
	if s.fresh == 0 && !m.Dup {
		s.fresh = m.Token
	}
	what, needed := s.process(m)
	switch {
	case what.waits() && (needed || m.QoS == 2):
		s.put(m, what)
	case ended:
		s.note(telemetry.LedgerOp{PacketID: m.PacketID, QoS: m.QoS, Kind: telemetry.LedgerDrop})
	}
	return l.room > 0
}

// waiting says what of a message waits in the batch: rows of a builder, a
// quarantine record, or nothing.
type waiting struct {
	builder    *builder
	first      int
	quarantine bool
}

func (w waiting) waits() bool { return w.builder != nil || w.quarantine }

// put enters a message that waits in the batch into the ledger.
func (s *session) put(m *telemetry.Message, w waiting) {
	b := s.lane.current
	hash := s.hash(m)
	s.state.ledger.put(ledgerEntry{hash: hash, token: m.Token, id: m.PacketID, qos: m.QoS})
	b.puts = append(b.puts, putOf{op: int32(len(b.ledger)), builder: w.builder, first: int32(w.first), quarantine: w.quarantine})
	s.note(telemetry.LedgerOp{PacketID: m.PacketID, QoS: m.QoS, Kind: telemetry.LedgerPut, Hash: hash})
}

// process decides what becomes of a message. needed says that only the ledger can
// tell a redelivery of it.
func (s *session) process(m *telemetry.Message) (w waiting, needed bool) {
	l := s.lane
	at, e, ok := l.topics.find(&s.cursor, m.Topic, 0)
	if !ok {
		at, e = l.resolve(&s.cursor, m.Topic)
	}
	n := e.route()
	if n < firstRoute {
		if n == routeUnmatched {
			s.counts.unmatched++
			l.unmatched.add(m.Topic, m.Received)
			return waiting{}, false
		}
		return s.quarantine(m, nil, rejection{
			reason: telemetry.ReasonBadTopic, offset: -1,
			detail: "the standard forbids this topic name",
		}), true
	}
	r := l.routes[n-firstRoute]
	if m.Retained && r.never {
		s.counts.dropped.add(DroppedRetained, 1)
		return waiting{}, false
	}
	if m.Size > len(m.Payload) {
		return s.reject(m, r.plans[0], rejection{
			reason: telemetry.ReasonTooLarge, offset: -1,
			detail: "the payload is larger than the source accepts",
		})
	}
	sp, rows, fail := l.checker.Check(r.Route, m.Payload)
	if fail != nil {
		return s.failed(m, r, fail)
	}
	p := r.plan(sp)
	if m.Retained && p.retained == schema.RetainedNever {
		s.counts.dropped.add(DroppedRetained, 1)
		return waiting{}, false
	}
	if len(rows) == 0 {
		s.counts.dropped.add(DroppedEmpty, 1)
		return waiting{}, false
	}
	if at, late := p.tooLate(rows, l.ages); late {
		return s.reject(m, p, p.lateRejection(at, l.ages))
	}
	// All series first: a message is stored as a whole or not at all.
	l.refs = l.refs[:0]
	for i := range rows {
		ref, err := l.series(s, r, p, at, e.series(), m.Topic, &rows[i])
		if err != nil {
			return s.noSeries(m, p, err)
		}
		l.refs = append(l.refs, ref)
	}
	return s.append(m, p, rows), p.ledger
}

// append adds the rows of a message, whose series stand in lane.refs.
func (s *session) append(m *telemetry.Message, p *plan, rows []schema.Row) waiting {
	l, c := s.lane, s.counts
	b := l.current
	bu := b.builder(p)
	first := bu.n
	if len(bu.runs) == 0 || bu.runs[len(bu.runs)-1].source != c {
		bu.runs = append(bu.runs, run{c, int32(first)})
	}
	if len(rows) > 1 {
		bu.spans = append(bu.spans, span{int32(first), int32(len(rows))})
	}
	latest := m.Retained && p.retained == schema.RetainedLatest
	cost := len(rows) * p.rowBytes
	for i := range rows {
		row := &rows[i]
		time := row.Time
		if !row.HasTime {
			time = m.Received
		}
		if latest {
			bu.section.OnlyIfChanged = append(bu.section.OnlyIfChanged, int32(first+i))
		}
		cost += bu.add(l.refs[i], time, m.Received, row.Values)
	}
	s.sum.messages++
	s.sum.readings += uint64(len(rows))
	l.spend(int64(cost))
	return waiting{builder: bu, first: first}
}

// sums counts what a burst added; End enters it.
type sums struct{ received, bytes, messages, readings uint64 }

// enter ends the counting of a burst: what waits in the batch is in flight, and is
// counted there by source.
func (s *session) enter() {
	n, c := &s.sum, s.counts
	c.received += n.received
	c.receivedBytes += n.bytes
	if n.messages > 0 {
		c.readings += n.readings
		c.inFlight += n.messages
		c.inFlightReadings += n.readings
		s.lane.current.count(c, n.messages, n.readings)
	}
	*n = sums{}
}

// count enters messages of a source.
func (b *batch) count(c *sourceCounters, messages, readings uint64) {
	if k := len(b.tallies); k > 0 && b.tallies[k-1].source == c {
		b.tallies[k-1].messages += messages
		b.tallies[k-1].readings += readings
		return
	}
	b.tallies = append(b.tallies, tally{c, messages, readings})
}

// spend counts bytes of the current batch. When the room of the burst is used it
// takes more, and if there is none the burst ends with this message.
func (l *lane) spend(n int64) {
	l.current.bytes += n
	l.room -= n
	if l.room <= 0 {
		if l.room < 0 {
			l.p.budget.force(-l.room)
			l.room = 0
		}
		if l.p.budget.try(l.p.quantum) {
			l.room = l.p.quantum
		}
	}
}

// rejection is why a message becomes no reading.
type rejection struct {
	reason          telemetry.Reason
	detail, pointer string
	offset          int
}

// failed turns a verdict of the checker into a quarantine record.
func (s *session) failed(m *telemetry.Message, r *route, f *schema.Failure) (waiting, bool) {
	p := r.plans[0]
	if f.Plan != nil {
		if own := r.plan(f.Plan); own != nil {
			p = own
		}
	}
	if p.drop {
		return s.reject(m, p, rejection{reason: f.Reason})
	}
	return s.reject(m, p, rejection{f.Reason, f.Detail(), f.Pointer(), f.Offset})
}

// noSeries quarantines a message whose series the store does not issue. What the
// reason is not the cardinality may pass; the record can be replayed then.
func (s *session) noSeries(m *telemetry.Message, p *plan, err error) (waiting, bool) {
	reason := telemetry.ReasonRefused
	if telemetry.CodeOf(err) == telemetry.CodeCardinality {
		reason = telemetry.ReasonCardinality
	}
	return s.quarantine(m, p, rejection{reason: reason, detail: err.Error(), offset: -1}), true
}

// reject quarantines a message, or drops it where its schema says so.
func (s *session) reject(m *telemetry.Message, p *plan, why rejection) (waiting, bool) {
	if p.drop {
		s.counts.dropped.add(why.reason, 1)
		return waiting{}, false
	}
	return s.quarantine(m, p, why), true
}

// quarantine appends a record of the message to the batch.
func (s *session) quarantine(m *telemetry.Message, p *plan, why rejection) waiting {
	l := s.lane
	b := l.current
	keep := min(len(m.Payload), l.p.cfg.QuarantinePayloadBytes)
	q := telemetry.Quarantined{
		Received: m.Received,
		Source:   s.counts.name,
		Topic:    string(bytes.ToValidUTF8(m.Topic, []byte("\uFFFD"))),
		Payload:  bytes.Clone(m.Payload[:keep]),
		Size:     max(m.Size, len(m.Payload)),
		Reason:   why.reason,
		Detail:   why.detail,
		Pointer:  why.pointer,
		Offset:   why.offset,
	}
	if p != nil {
		q.Schema, q.Version = p.Name(), p.Version()
	}
	index := len(b.quarantine)
	b.quarantine = append(b.quarantine, q)
	s.counts.inFlight++
	s.join()
	l.spend(int64(quarantineBytes + len(q.Payload) + len(q.Topic) + len(q.Detail)))
	return waiting{quarantine: true, first: index}
}
