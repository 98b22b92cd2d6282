package query

import "math"

// compareNode compares two operands. Numbers against a constant, texts against
// a constant and times against a constant have loops of their own; the rest is
// compared value by value.
type compareNode struct {
	e    *expr
	a, b node
	v    vec
	memo dictMemo
	// For a time column against a constant text.
	bound boundary
	exact bool
	timed bool
}

func (n *compareNode) eval(c *chunk) (*vec, error) {
	a, err := n.a.eval(c)
	if err != nil {
		return nil, err
	}
	b, err := n.b.eval(c)
	if err != nil {
		return nil, err
	}
	numeric := func(v *vec) bool { return v.kind == vecInt || v.kind == vecFloat }
	switch {
	case a.con && b.con:
	case numeric(a) && b.con && numeric(b) && !b.null(0) && !(a.kind == vecInt && b.kind == vecInt):
		n.floats(a, b.value(0), c.n)
		return &n.v, nil
	case a.kind == vecInt && b.kind == vecInt && b.con && !b.null(0):
		n.ints(a, int64(b.bits[0]), c.n)
		return &n.v, nil
	case a.kind == vecTime && n.timed:
		n.times(a, c.n)
		return &n.v, nil
	case a.kind == vecText && b.kind == vecText && b.con && a.dict != nil:
		return n.memo.eval(c, &n.v, a, func(s string) Value {
			return boolValue(holds(n.e.op, compareValues(TextValue(s), b.value(0))))
		}, n.e.op)
	}
	return n.generic(a, b, c.n)
}

func (n *compareNode) floats(a *vec, k Value, rows int) {
	n.v.reserve(vecInt, rows)
	op := n.e.op
	if a.kind == vecFloat {
		f := k.asFloat()
		if k.Kind == Int && compareIntFloat(k.Int(), f) != 0 {
			for i := range rows {
				n.v.bits[i] = truthBit(op, compareValues(FloatValue(math.Float64frombits(a.bits[i])), k))
			}
		} else {
			compareFloatLoop(n.v.bits, a.bits[:rows], f, op)
		}
		n.copyNulls(a, rows)
		return
	}
	for i, x := range a.bits[:rows] {
		n.v.bits[i] = truthBit(op, compareIntFloat(int64(x), k.asFloat()))
	}
	n.copyNulls(a, rows)
}

// compareFloatLoop writes 0 or 1 for each comparison, without branches.
func compareFloatLoop(dst, src []uint64, k float64, op opcode) {
	dst = dst[:len(src)]
	switch op {
	case opLt:
		for i, x := range src {
			dst[i] = bit(math.Float64frombits(x) < k)
		}
	case opLe:
		for i, x := range src {
			dst[i] = bit(math.Float64frombits(x) <= k)
		}
	case opGt:
		for i, x := range src {
			dst[i] = bit(math.Float64frombits(x) > k)
		}
	case opGe:
		for i, x := range src {
			dst[i] = bit(math.Float64frombits(x) >= k)
		}
	case opEq, opIs:
		for i, x := range src {
			dst[i] = bit(math.Float64frombits(x) == k)
		}
	default:
		for i, x := range src {
			dst[i] = bit(math.Float64frombits(x) != k)
		}
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (n *compareNode) ints(a *vec, k int64, rows int) {
	n.v.reserve(vecInt, rows)
	op := n.e.op
	for i, x := range a.bits[:rows] {
		n.v.bits[i] = truthBit(op, compareInts(int64(x), k))
	}
	n.copyNulls(a, rows)
}

// times compares with the boundary that the constant stands for.
func (n *compareNode) times(a *vec, rows int) {
	n.v.reserve(vecInt, rows)
	for i, x := range a.bits[:rows] {
		c := compareInts(int64(x), n.bound.t)
		switch {
		case n.bound.above:
			c = -1
		case c == 0 && !n.exact:
			c = 1
		}
		n.v.bits[i] = truthBit(n.e.op, c)
	}
}

func truthBit(op opcode, c int) uint64 { return bit(holds(op, c)) }

// copyNulls makes null what is null in a. IS and IS NOT know no null.
func (n *compareNode) copyNulls(a *vec, rows int) {
	if a.noNulls(rows) {
		return
	}
	for i := range rows {
		if !a.null(i) {
			continue
		}
		switch n.e.op {
		case opIs:
			n.v.bits[i] = 0
		case opIsNot:
			n.v.bits[i] = 1
		default:
			n.v.nulls = n.v.nulls.Set(i)
		}
	}
}

func (n *compareNode) generic(a, b *vec, rows int) (*vec, error) {
	return applyRows(&n.v, n.e, rows, a, b)
}

// dictMemo keeps the result of a function of one text for each entry of the
// dictionary that it was computed for.
type dictMemo struct {
	of    *string // the dictionary's first entry
	unit  int     // a store may reuse a dictionary's memory for the next unit
	known []uint8 // 0: not computed, 1: false, 2: true, 3: null
}

func (m *dictMemo) eval(c *chunk, dst *vec, a *vec, f func(string) Value, op opcode) (*vec, error) {
	rows := c.n
	if len(a.dict) == 0 {
		dst.kind, dst.con = vecNull, true
		return dst, nil
	}
	if m.of != &a.dict[0] || m.unit != c.unit {
		m.of, m.unit, m.known = &a.dict[0], c.unit, m.known[:0]
	}
	for len(m.known) < len(a.dict) {
		m.known = append(m.known, 0)
	}
	dst.reserve(vecInt, rows)
	for i := range rows {
		if a.nulls.Get(a.row(i)) {
			switch op {
			case opIs:
				dst.bits[i] = 0
			case opIsNot:
				dst.bits[i] = 1
			default:
				dst.nulls = dst.nulls.Set(i)
				dst.bits[i] = 0
			}
			continue
		}
		id := a.bits[a.row(i)]
		k := m.known[id]
		if k == 0 {
			t, null := f(a.dict[id]).truth()
			switch {
			case null:
				k = 3
			case t:
				k = 2
			default:
				k = 1
			}
			m.known[id] = k
		}
		dst.bits[i] = 0
		switch k {
		case 2:
			dst.bits[i] = 1
		case 3:
			dst.nulls = dst.nulls.Set(i)
		}
	}
	return dst, nil
}
