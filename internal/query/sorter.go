package query

import (
	"container/heap"
	"math"
	"slices"
	"strings"
)

// maxTopK bounds how many rows a heap keeps for ORDER BY with LIMIT.
const maxTopK = 100_000

// sortedRow is one result row with what it is ordered by.
type sortedRow struct {
	keys []Value
	outs []Value
	seq  int64 // ties keep the order of arrival within a worker
}

// sorter orders the rows of a select. With a limit it keeps only the first
// rows in a heap; else all of them, in bounded memory.
type sorter struct {
	plan  *plan
	keep  int // 0: all
	rows  []sortedRow
	seq   int64
	bytes int
}

func newSorter(p *plan) *sorter {
	s := &sorter{plan: p}
	if p.limit >= 0 && p.limit+p.offset <= maxTopK {
		s.keep = max(int(p.limit+p.offset), 1)
	}
	return s
}

// compare orders two rows by their keys.
func (p *plan) compareKeys(a, b []Value) int {
	for i, k := range p.order {
		x, y := a[i], b[i]
		if x.IsNull() || y.IsNull() {
			if x.IsNull() && y.IsNull() {
				continue
			}
			if x.IsNull() == k.nullsFirst {
				return -1
			}
			return 1
		}
		c := compareValues(x, y)
		if k.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func (s *sorter) before(a, b *sortedRow) int {
	if c := s.plan.compareKeys(a.keys, b.keys); c != 0 {
		return c
	}
	return compareInts(a.seq, b.seq)
}

// The heap has the row that sorts last on top.
func (s *sorter) Len() int           { return len(s.rows) }
func (s *sorter) Less(i, j int) bool { return s.before(&s.rows[i], &s.rows[j]) > 0 }
func (s *sorter) Swap(i, j int)      { s.rows[i], s.rows[j] = s.rows[j], s.rows[i] }
func (s *sorter) Push(x any)         { s.rows = append(s.rows, x.(sortedRow)) }
func (s *sorter) Pop() any {
	x := s.rows[len(s.rows)-1]
	s.rows = s.rows[:len(s.rows)-1]
	return x
}

// full reports whether rows that sort after the last kept one are of no use.
func (s *sorter) full() bool { return s.keep > 0 && len(s.rows) >= s.keep }

// add takes a row; keys and outs are cloned if it is kept.
func (s *sorter) add(keys, outs []Value) {
	s.seq++
	r := sortedRow{keys: keys, outs: outs, seq: s.seq}
	if s.full() {
		if s.before(&r, &s.rows[0]) >= 0 {
			return
		}
		s.bytes -= s.rows[0].size()
		s.rows[0] = r.clone()
		s.bytes += s.rows[0].size()
		heap.Fix(s, 0)
		return
	}
	r = r.clone()
	s.bytes += r.size()
	if s.keep > 0 {
		heap.Push(s, r)
		return
	}
	s.rows = append(s.rows, r)
}

func (r *sortedRow) size() int {
	n := 80 + 48*(len(r.keys)+len(r.outs))
	for _, v := range r.outs {
		n += len(v.text)
	}
	return n
}

func (r sortedRow) clone() sortedRow {
	vals := make([]Value, 0, len(r.keys)+len(r.outs))
	for _, list := range [][]Value{r.keys, r.outs} {
		for _, v := range list {
			v.text = strings.Clone(v.text)
			vals = append(vals, v)
		}
	}
	r.keys, r.outs = vals[:len(r.keys):len(r.keys)], vals[len(r.keys):]
	return r
}

// merge takes the rows of another sorter.
func (s *sorter) merge(o *sorter) {
	for i := range o.rows {
		o.rows[i].seq += s.seq
	}
	s.rows = append(s.rows, o.rows...)
	s.seq += o.seq
	s.bytes += o.bytes
}

// sorted returns all rows in order.
func (s *sorter) sorted() []sortedRow {
	slices.SortFunc(s.rows, func(a, b sortedRow) int { return s.before(&a, &b) })
	return s.rows
}

// sortRows offers the selected rows of a chunk to the worker's sorter.
func (w *worker) sortRows(c *chunk) error {
	outs, keys := make([]*vec, len(w.outs)), make([]*vec, len(w.order))
	eval := func(i int) (err error) {
		if o := w.plan.order[i].out; o >= 0 {
			outs[o], err = w.outs[o].eval(c)
			keys[i] = outs[o]
		} else {
			keys[i], err = w.order[i].eval(c)
		}
		return err
	}
	if err := eval(0); err != nil {
		return err
	}
	if w.sorter.full() {
		if w.dropUseless(keys[0]); len(w.sel) == 0 {
			return nil
		}
	}
	for i := range keys[1:] {
		if err := eval(i + 1); err != nil {
			return err
		}
	}
	for i, n := range w.outs {
		if outs[i] == nil {
			var err error
			if outs[i], err = n.eval(c); err != nil {
				return err
			}
		}
	}
	kv, ov := make([]Value, len(keys)), make([]Value, len(outs))
	for _, r := range w.sel {
		if w.sorter.full() && w.useless(keys[0], int(r)) {
			continue
		}
		for i, v := range keys {
			kv[i] = v.value(int(r))
		}
		for i, v := range outs {
			ov[i] = v.value(int(r))
		}
		w.sorter.add(kv, ov)
	}
	return w.charge()
}

// dropUseless leaves out the rows that sort after every kept one by their first
// key alone.
func (w *worker) dropUseless(v *vec) {
	if top := w.sorter.rows[0].keys[0]; v.kind == vecFloat && top.Kind == Float && !v.con && len(v.nulls) == 0 {
		k, desc := top.Float(), w.plan.order[0].desc
		out := w.sel[:0]
		for _, r := range w.sel {
			if x := math.Float64frombits(v.bits[r]); x != x || desc && x >= k || !desc && x <= k {
				out = append(out, r)
			}
		}
		w.sel = out
		return
	}
	out := w.sel[:0]
	for _, r := range w.sel {
		if !w.useless(v, int(r)) {
			out = append(out, r)
		}
	}
	w.sel = out
}

// useless reports, without boxing, that a row sorts after every kept one by its
// first key.
func (w *worker) useless(v *vec, row int) bool {
	top := w.sorter.rows[0].keys[0]
	if top.IsNull() || v.null(row) {
		return false
	}
	var c int
	switch {
	case v.kind == vecFloat && top.Kind == Float:
		c = compareFloats(v.number(row), top.Float())
	case v.kind == vecInt && top.Kind == Int:
		c = compareInts(int64(v.bits[v.row(row)]), top.Int())
	case v.kind == vecTime && top.Kind == Text && len(top.text) == timeLen:
		var buf [timeLen]byte
		c = strings.Compare(string(appendTime(buf[:0], int64(v.bits[v.row(row)]))), top.text)
	default:
		return false
	}
	if w.plan.order[0].desc {
		c = -c
	}
	return c > 0
}
