package pipeline

import (
	"slices"
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
	puts       []putOf           // what the puts in ledger stand for, ascending in op
	marks      []int32           // operations in ledger that go with the rows of their sources, ascending
	markers    []*sourceCounters // the sources of marks
	sessions   []inBatch
	resolved   []resolvedBy // of a replay
	lost       []lostRecord // quarantine records that the store refused

	bytes int64     // taken from the budget
	since time.Time // begin of the first burst
	used  int       // rounds
	peaks [6]int    // the most that the lists held, lately
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
//
// While it fills, the slices of the section are longer than its rows, so that a row
// is stores and no appends; seal cuts them.
type builder struct {
	section telemetry.Section
	n       int // rows
	room    int // rows that the slices have place for
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
		bu.n, bu.room = 0, 0
		bu.section.Reset(p.table)
		b.active = append(b.active, bu)
	}
	return bu
}

// add appends a row and returns the bytes of its text.
func (bu *builder) add(ref telemetry.SeriesRef, time, received int64, values []telemetry.Value) int {
	row := bu.n
	if row == bu.room {
		bu.grow()
	}
	s := &bu.section
	s.Series[row], s.Time[row], s.Received[row] = ref, time, received
	for _, i := range bu.plan.numeric {
		c, v := &s.Columns[i], &values[i]
		c.Bits[row] = v.Bits
		if v.Null {
			c.Nulls[row>>6] |= 1 << (uint(row) & 63)
		}
	}
	text := 0
	for _, i := range bu.plan.textual {
		c, v := &s.Columns[i], &values[i]
		if v.Null {
			c.Nulls[row>>6] |= 1 << (uint(row) & 63)
		} else {
			c.Bytes = append(c.Bytes, v.Text...)
			text += len(v.Text)
		}
		c.Ends[row] = uint32(len(c.Bytes))
	}
	bu.n++
	return text
}

// grow makes place for as many rows again.
func (bu *builder) grow() {
	bu.room = max(16, 2*bu.room)
	s := &bu.section
	s.Series = extend(s.Series, bu.room)
	s.Time = extend(s.Time, bu.room)
	s.Received = extend(s.Received, bu.room)
	for i := range s.Columns {
		c := &s.Columns[i]
		if c.Type.Textual() {
			c.Ends = extend(c.Ends, bu.room)
		} else {
			c.Bits = extend(c.Bits, bu.room)
		}
		had := len(c.Nulls)
		c.Nulls = extend(c.Nulls, (bu.room+63)/64)
		clear(c.Nulls[had:])
	}
}

func extend[S ~[]T, T any](s S, n int) S { return slices.Grow(s, n-len(s))[:n] }

// seal cuts the section to its rows.
func (bu *builder) seal() {
	s := &bu.section
	s.Series, s.Time, s.Received = s.Series[:bu.n], s.Time[:bu.n], s.Received[:bu.n]
	for i := range s.Columns {
		c := &s.Columns[i]
		if c.Type.Textual() {
			c.Ends = c.Ends[:bu.n]
		} else {
			c.Bits = c.Bits[:bu.n]
		}
		c.Nulls = c.Nulls[:(bu.n+63)/64]
		if !slices.ContainsFunc(c.Nulls, func(w uint64) bool { return w != 0 }) {
			c.Nulls = c.Nulls[:0] // no row is null
		}
	}
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
	end := b.used%rounds == 0
	if end {
		for i, bu := range b.byTable {
			if bu == nil {
				continue
			}
			if b.used-bu.round > rounds || cap(bu.section.Series) > 4*bu.peak+256 {
				b.byTable[i] = nil // it grows again to what is needed
			}
			bu.peak = 0
		}
	}
	b.active = empty(b.active, &b.peaks[0], end)
	b.tallies = empty(b.tallies, &b.peaks[1], end)
	b.quarantine = empty(b.quarantine, &b.peaks[2], end)
	b.ledger = empty(b.ledger, &b.peaks[3], end)
	b.puts = empty(b.puts, &b.peaks[4], end)
	b.sessions = empty(b.sessions, &b.peaks[5], end)
	b.marks, b.markers = b.marks[:0], b.markers[:0]
	b.lost = nil
	b.bytes = 0
}

// empty cuts a list to nothing and forgets what its elements point to. At the end
// of a window it lets go of memory that the window did not use.
func empty[T any](s []T, peak *int, end bool) []T {
	*peak = max(*peak, len(s))
	clear(s)
	if end {
		if cap(s) > 4**peak+256 {
			s = nil
		}
		*peak = 0
	}
	return s[:0]
}

// strip gives all memory back.
func (b *batch) strip() {
	*b = batch{lane: b.lane, seq: b.seq, state: b.state, byTable: make([]*builder, len(b.byTable))}
}
