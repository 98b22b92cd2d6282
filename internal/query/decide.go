package query

import (
	"math"

	"github.com/weir-telemetry/weir/internal/store"
)

// openEnds says which ends of a range of values do not belong to it: the store
// need not know, statistics that shall decide must.
type openEnds struct{ min, max bool }

// verdict is what statistics know about a condition on rows.
type verdict uint8

const (
	someRows verdict = iota // it has to be looked at the rows
	noRows
	allRows
)

// decided reports whether the ranges are all conditions on rows, so that
// statistics may say that all rows of a run meet them.
func (p *plan) decided() bool { return len(p.ranges) == len(p.rowIf) }

// loadRanges fetches the statistics that conditions on values can be decided by.
func (w *worker) loadRanges(u store.Unit) {
	w.rangeStats = w.rangeStats[:0]
	for i := range w.plan.ranges {
		w.rangeStats = append(w.rangeStats, u.RunStats(w.plan.ranges[i].Column))
	}
}

// decide tells what statistics know about the rows of a run.
func (w *worker) decide(r *store.Run, run int) verdict {
	all := w.plan.decided()
	for i := range w.plan.ranges {
		v, open := &w.plan.ranges[i], w.plan.open[i]
		if w.rangeStats[i] == nil {
			all = false
			continue
		}
		s := &w.rangeStats[i][run]
		switch {
		case s.Count == 0, s.Max < v.Min, s.Min > v.Max, open.min && s.Max == v.Min, open.max && s.Min == v.Max:
			return noRows
		case s.Count < r.Rows, s.Min < v.Min, s.Max > v.Max, open.min && s.Min == v.Min, open.max && s.Max == v.Max:
			all = false
		}
	}
	if all {
		return allRows
	}
	return someRows
}

// ranger is a condition that picks its rows out of a chunk at once.
type ranger interface {
	// ranges returns what appends the rows [lo, hi) of the chunk for which the
	// condition is true, or nil where each row has to be evaluated.
	ranges(c *chunk) (func(sel []int32, lo, hi int) []int32, error)
}

// ranges implements ranger for reals against a constant or other reals, where
// none but NaN is null: NaN makes none of the comparisons true.
func (n *compareNode) ranges(c *chunk) (func(sel []int32, lo, hi int) []int32, error) {
	op := n.e.op
	if op == opNe || op == opIs || op == opIsNot {
		return nil, nil
	}
	a, err := n.a.eval(c)
	if err != nil || a.kind != vecFloat || a.con || len(a.nulls) > 0 {
		return nil, err
	}
	b, err := n.b.eval(c)
	if err != nil {
		return nil, err
	}
	switch {
	case b.kind == vecFloat && !b.con && len(b.nulls) == 0:
		return func(sel []int32, lo, hi int) []int32 { return pickPairs(sel, a.bits, b.bits, lo, hi, op) }, nil
	case (b.kind == vecInt || b.kind == vecFloat) && b.con && !b.null(0) && math.Abs(b.number(0)) < 1<<53:
		k := b.number(0)
		return func(sel []int32, lo, hi int) []int32 { return pickReals(sel, a.bits, lo, hi, k, op) }, nil
	}
	return nil, nil
}

// room extends sel by n rows, and returns them to be written.
func room(sel []int32, n int) (_, fresh []int32) {
	from := len(sel)
	if cap(sel) < from+n {
		sel = append(make([]int32, 0, from+n+chunkRows), sel...)
	}
	return sel, sel[from : from+n]
}

// pickReals has a loop for each operator, without branches.
func pickReals(sel []int32, bits []uint64, lo, hi int, k float64, op opcode) []int32 {
	sel, out := room(sel, hi-lo)
	n := 0
	bits = bits[lo:hi]
	switch op {
	case opLt:
		for i, x := range bits {
			out[n] = int32(lo + i)
			n += int(bit(math.Float64frombits(x) < k))
		}
	case opLe:
		for i, x := range bits {
			out[n] = int32(lo + i)
			n += int(bit(math.Float64frombits(x) <= k))
		}
	case opGt:
		for i, x := range bits {
			out[n] = int32(lo + i)
			n += int(bit(math.Float64frombits(x) > k))
		}
	case opGe:
		for i, x := range bits {
			out[n] = int32(lo + i)
			n += int(bit(math.Float64frombits(x) >= k))
		}
	default:
		for i, x := range bits {
			out[n] = int32(lo + i)
			n += int(bit(math.Float64frombits(x) == k))
		}
	}
	return sel[:len(sel)+n]
}

// pickPairs compares two columns; what is greater is less the other way round.
func pickPairs(sel []int32, a, b []uint64, lo, hi int, op opcode) []int32 {
	if op == opGt || op == opGe {
		a, b, op = b, a, mirror(op)
	}
	sel, out := room(sel, hi-lo)
	n := 0
	a, b = a[lo:hi], b[lo:hi]
	for i, x := range a {
		p, q := math.Float64frombits(x), math.Float64frombits(b[i])
		out[n] = int32(lo + i)
		switch op {
		case opLt:
			n += int(bit(p < q))
		case opLe:
			n += int(bit(p <= q))
		default:
			n += int(bit(p == q))
		}
	}
	return sel[:len(sel)+n]
}

// picker is an accumulator that adds picked rows to one group: the groups of
// rows that follow each other are mostly one.
type picker interface {
	picked(c *chunk, v *vec, sel []int32, group int32)
}

func (a *countAcc) picked(c *chunk, v *vec, sel []int32, g int32) {
	if a.all || v.noNullsIn(0, c.n) {
		a.n[g] += int64(len(sel))
		return
	}
	for _, r := range sel {
		if !v.null(int(r)) {
			a.n[g]++
		}
	}
}

func (a *sumAcc) picked(_ *chunk, v *vec, sel []int32, g int32) {
	s := &a.s[g]
	if v.kind == vecFloat && !v.con && len(v.nulls) == 0 {
		// Packed together, they are added as a span is.
		if cap(a.packed) < len(sel) {
			a.packed = make([]uint64, 0, chunkRows)
		}
		a.packed = a.packed[:len(sel)]
		for i, r := range sel {
			a.packed[i] = v.bits[r]
		}
		if s.addFloats(a.packed) {
			return
		}
	}
	for _, r := range sel {
		a.row(s, v, int(r))
	}
}

func (a *extremeAcc) picked(_ *chunk, v *vec, sel []int32, g int32) {
	h := &a.h[g]
	for _, r := range sel {
		if v.kind == vecFloat && h.kind == vecFloat && !v.con {
			if x := math.Float64frombits(v.bits[r]); !(x > math.Float64frombits(h.bits) && a.max || x < math.Float64frombits(h.bits) && !a.max) {
				continue
			}
		}
		if !v.null(int(r)) {
			a.row(h, v, int(r))
		}
	}
}
