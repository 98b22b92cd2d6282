package pipeline

import (
	"slices"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Marks are ledger entries whose packet ids and hashes are the source's own words:
// they become durable in the transaction that stores the rows before them.

var _ telemetry.MarkSession = (*session)(nil)

// Marks implements telemetry.MarkSession.
func (s *session) Marks() []telemetry.Mark {
	var out []telemetry.Mark
	s.outside(func() {
		for i := range s.state.ledger.slots {
			if e := &s.state.ledger.slots[i]; e.qos != 0 {
				out = append(out, telemetry.Mark{ID: e.id, Value: e.hash})
			}
		}
	})
	return out
}

// Mark implements telemetry.MarkSession.
func (s *session) Mark(id uint16, value uint64) {
	s.outside(func() {
		s.state.ledger.put(ledgerEntry{hash: value, token: carried, id: id, qos: 1})
		s.mark(telemetry.LedgerOp{PacketID: id, QoS: 1, Kind: telemetry.LedgerPut, Hash: value})
	})
}

// Unmark implements telemetry.MarkSession.
func (s *session) Unmark(id uint16) {
	s.outside(func() {
		if s.state.ledger.drop(id) {
			s.mark(telemetry.LedgerOp{PacketID: id, QoS: 1, Kind: telemetry.LedgerDrop})
		}
	})
}

// mark notes a change that must not be durable apart from the rows that the source
// has in the batch.
func (s *session) mark(op telemetry.LedgerOp) {
	b := s.lane.current
	if !slices.Contains(b.markers, s.counts) {
		b.markers = append(b.markers, s.counts)
	}
	b.marks = append(b.marks, int32(len(b.ledger)))
	s.note(op)
}

// Token implements telemetry.MarkSession.
func (s *session) Token(token uint64) {
	if s.burst {
		s.token, s.hasToken = token, true
		return
	}
	s.outside(func() {
		in := s.join()
		in.token, in.has = token, true
	})
}

// Refuse implements telemetry.MarkSession.
func (s *session) Refuse(m *telemetry.Message, reason telemetry.Reason, detail string) bool {
	s.lane.added++
	s.sum.received++
	s.quarantine(m, nil, rejection{reason: reason, detail: detail, offset: -1})
	return s.lane.room > 0
}

// AddRow implements telemetry.MarkSession.
func (s *session) AddRow(r *telemetry.Row) (taken, more bool) {
	l := s.lane
	p := l.state.version(r.Schema, r.Version)
	if p == nil || len(r.Values) != len(p.table.Columns) || len(r.Tags) != p.tags {
		return false, l.room > 0
	}
	l.added++
	s.sum.received++
	s.row.Values, s.row.Tags = r.Values, s.row.Tags[:0]
	for i := range r.Tags {
		s.row.Tags = append(s.row.Tags, schema.TagValue{Text: r.Tags[i].Text, Null: r.Tags[i].Null})
	}
	s.row.Time, s.row.HasTime = r.Time, true
	m := telemetry.Message{Topic: r.Topic, Received: r.Received}
	ref, err := l.issue(p, r.Topic, &s.row)
	if err != nil {
		s.noSeries(&m, p, err)
		return true, l.room > 0
	}
	l.refs = append(l.refs[:0], ref)
	s.rows[0] = s.row
	s.append(&m, p, s.rows[:])
	return true, l.room > 0
}

// version is the plan of a schema's version, nil where it is not active.
func (s *schemas) version(name string, version int) *plan {
	for _, p := range s.plans {
		if p.Version() == version && p.Name() == name {
			return p
		}
	}
	return nil
}
