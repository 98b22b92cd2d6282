package pipeline

import (
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// batch is what one lane gathered between two commits. A lane has up to three: one
// that fills, one that is staged, one that is made durable. Their memory is used
// again.
type batch struct {
	lane *lane
	seq  uint64 // of the lane; tells sessions whether they stand in it

	state   *schemas   // whose tables byTable counts
	byTable []*builder // by plan.index; kept from round to round
	active  []*builder // those with rows, in the order of their first
	tallies []tally    // rows by source

	quarantine []telemetry.Quarantined
	ledger     []telemetry.LedgerOp
	puts       []putOf // what the puts in ledger stand for, ascending in op
	sessions   []inBatch
	resolved   []resolvedBy // of a replay
	lost       []lostRecord // quarantine records that the store refused

	bytes int64     // taken from the budget
	since time.Time // begin of the first burst
	used  int       // rounds
}

// inBatch is a session that the batch holds something of, with the highest token.
type inBatch struct {
	session *session
	token   uint64
	has     bool
}

// tally counts the messages and readings of one source that wait in the batch.
type tally struct {
	source             *sourceCounters
	messages, readings uint64
}

// putOf names the rows or the quarantine record that a LedgerPut goes with: they
// must not be made durable apart.
type putOf struct {
	op         int32
	builder    *builder // nil: a quarantine record
	first      int32    // row, or index in quarantine
	quarantine bool
}

// lostRecord is a message that could not even be quarantined.
type lostRecord struct {
	source *sourceCounters
	reason telemetry.Reason
}

// resolvedBy is a quarantine record that rows of a replay take the place of.
type resolvedBy struct {
	id      int64
	builder *builder
	first   int32
}

// builder gathers the rows of one table version.
type builder struct {
	section telemetry.Section
	plan    *plan
	inUse   bool

	runs  []run  // who the rows came from
	spans []span // messages of more than one row

	// refused lists, ascending, the rows that the store refused.
	refused []int32

	peak  int // most rows of a round, lately
	round int
}

// run begins the rows of another source.
type run struct {
	source *sourceCounters
	first  int32
}

// span is the rows of one message.
type span struct{ first, n int32 }

// builder returns the builder of a plan's table.
func (b *batch) builder(p *plan) *builder {
	bu := b.byTable[p.index]
	if bu == nil {
		bu = &builder{}
		b.byTable[p.index] = bu
	}
	if !bu.inUse {
		bu.inUse = true
		bu.plan = p
		bu.section.Reset(p.table)
		b.active = append(b.active, bu)
	}
	return bu
}

// adopt prepares the batch for the tables of another schema set. What it holds
// stays under the old ones.
func (b *batch) adopt(s *schemas) {
	if b.state == s {
		return
	}
	b.state = s
	b.byTable = make([]*builder, len(s.plans))
}

// empty reports whether nobody waits for this batch.
func (b *batch) empty() bool {
	return len(b.active) == 0 && len(b.quarantine) == 0 && len(b.ledger) == 0 && len(b.sessions) == 0
}

// rounds is over how many uses of a batch the need for memory is observed.
const rounds = 64

// recycle empties the batch and keeps the memory that recent rounds used.
func (b *batch) recycle() {
	for _, bu := range b.active {
		bu.peak = max(bu.peak, bu.section.Rows())
		bu.inUse = false
		bu.runs, bu.spans, bu.refused = bu.runs[:0], bu.spans[:0], bu.refused[:0]
		bu.round = b.used
	}
	b.used++
	if b.used%rounds == 0 {
		for i, bu := range b.byTable {
			if bu == nil {
				continue
			}
			if b.used-bu.round > rounds || cap(bu.section.Series) > 4*bu.peak+64 {
				b.byTable[i] = nil // it grows again to what is needed
			}
			bu.peak = 0
		}
	}
	b.active = shorten(b.active)
	b.tallies = shorten(b.tallies)
	b.quarantine = shorten(b.quarantine)
	b.ledger = shorten(b.ledger)
	b.puts = shorten(b.puts)
	b.sessions = shorten(b.sessions)
	b.lost = nil
	b.bytes = 0
}

// shorten empties a slice, forgets what its elements point to, and lets go of
// memory that was needed for a burst only.
func shorten[T any](s []T) []T {
	if cap(s) > 1024 && len(s)*16 < cap(s) {
		return nil
	}
	clear(s)
	return s[:0]
}

// strip gives all memory back.
func (b *batch) strip() {
	*b = batch{lane: b.lane, seq: b.seq, state: b.state, byTable: make([]*builder, len(b.byTable))}
}
