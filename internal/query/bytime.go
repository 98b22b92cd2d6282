package query

import (
	"cmp"
	"context"
	"slices"

	"github.com/weir-telemetry/weir/internal/store"
)

// timeSorter orders rows by one time, which most statements that return
// readings do. Rows stay in columns: no value is boxed, and where the batches
// follow each other in time, as those of one series do, nothing is sorted.
type timeSorter struct {
	desc    bool
	keep    int // rows that LIMIT and OFFSET can want; 0: all
	key     node
	parts   []timedBatch
	rows    int
	bytes   int
	bound   int64 // with bounded: rows that do not sort before it are of no use
	bounded bool
}

// timedBatch is a batch with the times that it is ordered by.
type timedBatch struct {
	*Batch
	times []int64
}

// timeOrder returns the time column that alone orders the rows, or nil.
func (p *plan) timeOrder() *expr {
	if p.grouped || len(p.order) != 1 {
		return nil
	}
	if e := p.order[0].expr; e.op == opColumn && p.rel.columns[e.index].isTime() {
		return e
	}
	return nil
}

func newTimeSorter(p *plan, key node) *timeSorter {
	s := &timeSorter{desc: p.order[0].desc, key: key}
	if p.limit >= 0 && p.limit+p.offset <= maxTopK {
		s.keep = max(int(p.limit+p.offset), 1)
	}
	return s
}

// before reports whether a time stands before another in the order asked for.
func (s *timeSorter) before(a, b int64) bool { return a < b && !s.desc || a > b && s.desc }

// timedRows takes the selected rows of a chunk.
func (w *worker) timedRows(c *chunk) error {
	s := w.timed
	v, err := s.key.eval(c)
	if err != nil {
		return err
	}
	if s.bounded {
		kept := w.sel[:0]
		for _, r := range w.sel {
			if s.before(int64(v.bits[r]), s.bound) {
				kept = append(kept, r)
			}
		}
		if w.sel = kept; len(kept) == 0 {
			return nil
		}
	}
	if s.keep > 0 && len(w.sel) > s.keep {
		s.cut(&w.sel, v.bits)
	}
	b := timedBatch{Batch: &Batch{n: len(w.sel), cols: make([]outColumn, len(w.outs))}, times: make([]int64, len(w.sel))}
	for i, r := range w.sel {
		b.times[i] = int64(v.bits[r])
	}
	for i, n := range w.outs {
		v, err := n.eval(c)
		if err != nil {
			return err
		}
		b.cols[i].gather(v, w.sel)
	}
	s.take(b)
	if s.keep > 0 && s.rows > 2*s.keep+keptRows {
		s.prune()
	}
	return w.charge()
}

// keptRows is how many rows more than twice those wanted wait to be pruned.
const keptRows = 512

// cut keeps, of the selected rows of a chunk, those that may be among the wanted.
func (s *timeSorter) cut(sel *[]int32, times []uint64) {
	order := func(a, b int32) int {
		c := cmp.Compare(int64(times[a]), int64(times[b]))
		if s.desc {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a, b))
	}
	rows := *sel
	if !slices.IsSortedFunc(rows, order) {
		slices.SortFunc(rows, order)
	}
	*sel = rows[:s.keep]
}

func (s *timeSorter) take(b timedBatch) {
	s.parts = append(s.parts, b)
	s.rows += b.n
	s.bytes += 24*b.n + b.size()
}

// size returns about how many bytes the batch holds.
func (b *Batch) size() int {
	n := 0
	for i := range b.cols {
		c := &b.cols[i]
		n += 8*cap(c.bits) + 4*cap(c.ends) + cap(c.data) + 40*cap(c.vals) + 8*cap(c.nulls)
		for j := range c.vals {
			n += len(c.vals[j].text)
		}
	}
	return n
}

// timedRow says where a row of a time stands.
type timedRow struct {
	time int64
	part int32
	row  int32
}

// order lists all rows in their order; equal times keep the order of arrival.
func (s *timeSorter) order() []timedRow {
	index := make([]timedRow, 0, s.rows)
	for p, b := range s.parts {
		for r, t := range b.times {
			index = append(index, timedRow{t, int32(p), int32(r)})
		}
	}
	slices.SortFunc(index, func(a, b timedRow) int {
		c := cmp.Compare(a.time, b.time)
		if s.desc {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.part, b.part), cmp.Compare(a.row, b.row))
	})
	return index
}

// prune keeps the rows that LIMIT and OFFSET can want.
func (s *timeSorter) prune() {
	index := s.order()[:s.keep]
	b := timedBatch{Batch: s.pick(index), times: make([]int64, len(index))}
	for i, r := range index {
		b.times[i] = r.time
	}
	s.parts, s.rows, s.bytes = s.parts[:0], 0, 0
	s.take(b)
	s.bound, s.bounded = index[len(index)-1].time, true
}

// pick copies rows into a batch.
func (s *timeSorter) pick(index []timedRow) *Batch {
	b := &Batch{n: len(index), cols: make([]outColumn, len(s.parts[0].cols))}
	for c := range b.cols {
		b.cols[c].pick(s.parts, c, index)
	}
	return b
}

// pick copies one column of rows that stand in several batches.
func (o *outColumn) pick(parts []timedBatch, col int, index []timedRow) {
	kind := parts[index[0].part].cols[col].kind
	for _, r := range index {
		if v := &parts[r.part].cols[col]; v.kind != kind || v.con {
			kind = vecAny
			break
		}
	}
	switch kind {
	case vecAny, vecNull:
		o.reserveAny(len(index))
		for i, r := range index {
			o.vals[i] = parts[r.part].cols[col].value(int(r.row))
		}
	case vecText:
		o.reserve(vecText, 0)
		for i, r := range index {
			v := &parts[r.part].cols[col]
			if v.null(int(r.row)) {
				o.nulls = o.nulls.Set(i)
			} else {
				o.data = append(o.data, v.textAt(int(r.row))...)
			}
			o.ends = append(o.ends, uint32(len(o.data)))
		}
	default:
		o.reserve(kind, len(index))
		for i, r := range index {
			v := &parts[r.part].cols[col]
			o.bits[i] = v.bits[r.row]
			if v.nulls.Get(int(r.row)) {
				o.nulls = o.nulls.Set(i)
			}
		}
	}
}

// inOrder brings the batches in their order, and reports whether their rows then
// follow each other.
func (s *timeSorter) inOrder() bool {
	for _, b := range s.parts {
		for i := 1; i < len(b.times); i++ {
			if s.before(b.times[i], b.times[i-1]) {
				return false
			}
		}
	}
	slices.SortStableFunc(s.parts, func(a, b timedBatch) int {
		c := cmp.Compare(a.times[0], b.times[0])
		if s.desc {
			c = -c
		}
		return c
	})
	for i := 1; i < len(s.parts); i++ {
		if last := s.parts[i-1].times; s.before(s.parts[i].times[0], last[len(last)-1]) {
			return false
		}
	}
	return true
}

// timed runs a select that is ordered by a time.
func (x *execution) timed(ctx context.Context, scan store.Scan) (*Rows, error) {
	workers, err := x.each(ctx, scan)
	if err != nil {
		return nil, err
	}
	s := workers[0].timed
	for _, w := range workers[1:] {
		for _, b := range w.timed.parts {
			s.take(b)
		}
	}
	var index []timedRow
	if !s.inOrder() {
		index = s.order()
	}
	limits := cut{x.plan.limit, x.plan.offset}
	ended := limits.limit == 0
	at := 0
	next := func() (*Batch, error) {
		for !ended {
			var b *Batch
			switch {
			case index == nil && at < len(s.parts):
				b = s.parts[at].Batch
				at++
			case index != nil && at < len(index):
				n := min(batchRows, len(index)-at)
				b = s.pick(index[at : at+n])
				at += n
			default:
				return nil, nil
			}
			if ended = limits.apply(b); b.n > 0 {
				return b, nil
			}
		}
		return nil, nil
	}
	return &Rows{columns: x.plan.resultColumns(), next: next, stop: func() {}, stats: x.snapshot}, nil
}
