package query

import (
	"math"
	"strings"
)

// held is a value kept across chunks, in the form in which it came.
type held struct {
	kind vecKind // vecNull: none yet
	bits uint64
	val  Value // of vecText and vecAny
}

func (h *held) value() Value {
	v := vec{kind: h.kind, bits: []uint64{h.bits}, vals: []Value{h.val}}
	if h.kind == vecText {
		return h.val
	}
	return v.value(0)
}

// compare orders a row of v, which is not null, against what is held.
func (h *held) compare(v *vec, i int) int {
	if h.kind == v.kind {
		switch i = v.row(i); v.kind {
		case vecFloat:
			return compareFloats(math.Float64frombits(v.bits[i]), math.Float64frombits(h.bits))
		case vecInt, vecTime, vecBucket:
			return compareInts(int64(v.bits[i]), int64(h.bits))
		case vecText:
			return strings.Compare(v.textAt(i), h.val.text)
		}
	}
	return compareValues(v.value(i), h.value())
}

func (h *held) set(v *vec, i int) {
	h.kind = v.kind
	switch v.kind {
	case vecText:
		h.val = TextValue(strings.Clone(v.textAt(i)))
	case vecAny:
		h.val = v.value(i)
		h.val.text = strings.Clone(h.val.text)
	default:
		h.bits = v.bits[v.row(i)]
	}
}

type extremeAcc struct {
	max bool
	h   []held
}

func (a *extremeAcc) grow(n int) { a.h = growTo(a.h, n) }

func (a *extremeAcc) span(_ *chunk, v *vec, lo, hi int, g int32) {
	if v.kind == vecFloat && !v.con && v.noNullsIn(lo, hi) {
		best := math.Float64frombits(v.bits[lo])
		if a.max {
			for _, x := range v.bits[lo:hi] {
				if f := math.Float64frombits(x); f > best {
					best = f
				}
			}
		} else {
			for _, x := range v.bits[lo:hi] {
				if f := math.Float64frombits(x); f < best {
					best = f
				}
			}
		}
		one := vec{kind: vecFloat, bits: []uint64{math.Float64bits(best)}}
		a.row(&a.h[g], &one, 0)
		return
	}
	for i := lo; i < hi; i++ {
		if !v.null(i) {
			a.row(&a.h[g], v, i)
		}
	}
}

// row offers a value that is not null.
func (a *extremeAcc) row(h *held, v *vec, i int) {
	if h.kind == vecNull {
		h.set(v, i)
		return
	}
	if c := h.compare(v, i); c > 0 == a.max && c != 0 {
		h.set(v, i)
	}
}

func (a *extremeAcc) rows(_ *chunk, v *vec, sel, groups []int32) {
	if v.kind == vecFloat && !v.con && v.noNullBits(0, len(v.bits)) {
		for i, r := range sel {
			h, x := &a.h[groups[i]], math.Float64frombits(v.bits[r])
			if h.kind == vecFloat {
				best := math.Float64frombits(h.bits)
				if x > best == a.max && x != best && x == x {
					h.bits = v.bits[r]
				}
			} else if x == x {
				a.row(h, v, int(r))
			}
		}
		return
	}
	for i, r := range sel {
		if !v.null(int(r)) {
			a.row(&a.h[groups[i]], v, int(r))
		}
	}
}

func (a *extremeAcc) merge(o accumulator, to []int32) {
	from := o.(*extremeAcc)
	for g := range from.h {
		if h := &from.h[g]; h.kind != vecNull {
			v := h.vec()
			a.row(&a.h[to[g]], &v, 0)
		}
	}
}

// vec returns what is held as a vector of one row.
func (h *held) vec() vec {
	v := vec{kind: h.kind, bits: []uint64{h.bits}, vals: []Value{h.val}}
	if h.kind == vecText {
		v.dict, v.bits[0] = []string{h.val.text}, 0
	}
	return v
}

func (a *extremeAcc) result(g int32) (Value, error) { return a.h[g].value(), nil }
func (a *extremeAcc) size() int                     { return 56 * len(a.h) }

// offer takes one value from statistics.
func (a *extremeAcc) offer(g int32, kind vecKind, bits uint64) {
	v := vec{kind: kind, bits: []uint64{bits}}
	a.row(&a.h[g], &v, 0)
}

// edgeAcc is first and last: the value that is not null at the earliest or
// latest time; of several at one time the smallest or greatest.
type edgeAcc struct {
	last bool
	t    []int64
	h    []held
}

func (a *edgeAcc) grow(n int) { a.t, a.h = growTo(a.t, n), growTo(a.h, n) }

func (a *edgeAcc) row(g int32, t int64, v *vec, i int) {
	h := &a.h[g]
	if h.kind != vecNull {
		switch {
		case t < a.t[g] && a.last, t > a.t[g] && !a.last:
			return
		case t == a.t[g]:
			if c := h.compare(v, i); c == 0 || c > 0 != a.last {
				return
			}
		}
	}
	a.t[g] = t
	h.set(v, i)
}

func (a *edgeAcc) span(c *chunk, v *vec, lo, hi int, g int32) {
	times := c.times()
	if a.last {
		for i := hi - 1; i >= lo; i-- {
			if !v.null(i) {
				a.row(g, times[i], v, i)
				if i > lo && times[i-1] < times[i] {
					return
				}
			}
		}
		return
	}
	for i := lo; i < hi; i++ {
		if !v.null(i) {
			a.row(g, times[i], v, i)
			if i+1 < hi && times[i+1] > times[i] {
				return
			}
		}
	}
}

func (a *edgeAcc) rows(c *chunk, v *vec, sel, groups []int32) {
	times := c.times()
	for i, r := range sel {
		if !v.null(int(r)) {
			a.row(groups[i], times[r], v, int(r))
		}
	}
}

func (a *edgeAcc) merge(o accumulator, to []int32) {
	from := o.(*edgeAcc)
	for g := range from.h {
		if from.h[g].kind != vecNull {
			v := from.h[g].vec()
			a.row(to[g], from.t[g], &v, 0)
		}
	}
}

func (a *edgeAcc) result(g int32) (Value, error) { return a.h[g].value(), nil }
func (a *edgeAcc) size() int                     { return 64 * len(a.h) }
