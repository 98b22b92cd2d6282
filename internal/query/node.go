package query

import (
	"math"
)

// applyRows computes an operator value by value.
func applyRows(dst *vec, e *expr, rows int, args ...*vec) (*vec, error) {
	dst.reserveAny(rows)
	var buf [8]Value
	vals := buf[:0]
	for i := range rows {
		vals = vals[:0]
		for _, a := range args {
			vals = append(vals, a.value(i))
		}
		v, err := apply(e, vals)
		if err != nil {
			return nil, err
		}
		dst.vals[i] = v
	}
	return dst, nil
}

// arithNode computes + - * / of numbers in loops and everything else by value.
type arithNode struct {
	e    *expr
	a, b node
	v    vec
}

func (n *arithNode) eval(c *chunk) (*vec, error) {
	a, err := n.a.eval(c)
	if err != nil {
		return nil, err
	}
	b, err := n.b.eval(c)
	if err != nil {
		return nil, err
	}
	if a.con && b.con || n.e.op > opDiv {
		return applyRows(&n.v, n.e, c.n, a, b)
	}
	numeric := func(v *vec) bool { return v.kind == vecInt || v.kind == vecFloat }
	if !numeric(a) || !numeric(b) {
		return applyRows(&n.v, n.e, c.n, a, b)
	}
	if a.kind == vecInt && b.kind == vecInt {
		if n.intLoop(a, b, c.n) {
			return &n.v, nil
		}
		return applyRows(&n.v, n.e, c.n, a, b)
	}
	n.floatLoop(a, b, c.n)
	return &n.v, nil
}

// intLoop reports false where a result leaves int64.
func (n *arithNode) intLoop(a, b *vec, rows int) bool {
	n.v.reserve(vecInt, rows)
	for i := range rows {
		if a.null(i) || b.null(i) {
			n.v.nulls = n.v.nulls.Set(i)
			n.v.bits[i] = 0
			continue
		}
		r, ok := intArithmetic(n.e.op, int64(a.bits[a.row(i)]), int64(b.bits[b.row(i)]))
		if !ok {
			return false
		}
		if r.IsNull() {
			n.v.nulls = n.v.nulls.Set(i)
		}
		n.v.bits[i] = r.bits
	}
	return true
}

func (n *arithNode) floatLoop(a, b *vec, rows int) {
	n.v.reserve(vecFloat, rows)
	if n.e.op != opDiv && n.plainReals(a, b, rows) {
		return
	}
	clean := a.noNulls(rows) && b.noNulls(rows)
	for i := range rows {
		if !clean && (a.null(i) || b.null(i)) {
			n.v.nulls = n.v.nulls.Set(i)
			n.v.bits[i] = 0
			continue
		}
		x, y := a.number(i), b.number(i)
		var r float64
		switch n.e.op {
		case opAdd:
			r = x + y
		case opSub:
			r = x - y
		case opMul:
			r = x * y
		default:
			if y == 0 {
				n.v.nulls = n.v.nulls.Set(i)
				n.v.bits[i] = 0
				continue
			}
			r = x / y
		}
		n.v.bits[i] = math.Float64bits(r) // NaN reads as null
	}
}

// plainReals computes sums, differences and products of reals of which none but
// NaN is null: a NaN makes the result one, and NaN reads as null.
func (n *arithNode) plainReals(a, b *vec, rows int) bool {
	if a.con || len(a.nulls) > 0 || a.kind != vecFloat || b.null(0) || len(b.nulls) > 0 || !b.con && b.kind != vecFloat {
		return false
	}
	dst, x := n.v.bits[:rows], a.bits[:rows]
	if b.con {
		k := b.number(0)
		switch n.e.op {
		case opAdd:
			realLoop(dst, x, func(x float64) float64 { return x + k })
		case opSub:
			realLoop(dst, x, func(x float64) float64 { return x - k })
		default:
			realLoop(dst, x, func(x float64) float64 { return x * k })
		}
		return true
	}
	y := b.bits[:rows]
	for i := range dst {
		p, q := math.Float64frombits(x[i]), math.Float64frombits(y[i])
		switch n.e.op {
		case opAdd:
			p += q
		case opSub:
			p -= q
		default:
			p *= q
		}
		dst[i] = math.Float64bits(p)
	}
	return true
}

func realLoop(dst, src []uint64, f func(float64) float64) {
	for i, x := range src {
		dst[i] = math.Float64bits(f(math.Float64frombits(x)))
	}
}

// logicNode is AND and OR of three-valued conditions.
type logicNode struct {
	or   bool
	a, b node
	v    vec
}

func (n *logicNode) eval(c *chunk) (*vec, error) {
	a, err := n.a.eval(c)
	if err != nil {
		return nil, err
	}
	b, err := n.b.eval(c)
	if err != nil {
		return nil, err
	}
	n.v.reserve(vecInt, c.n)
	for i := range c.n {
		at, an := rowTruth(a, i)
		bt, bn := rowTruth(b, i)
		switch {
		case !an && at == n.or, !bn && bt == n.or:
			n.v.bits[i] = 0
			if n.or {
				n.v.bits[i] = 1
			}
		case an || bn:
			n.v.nulls = n.v.nulls.Set(i)
			n.v.bits[i] = 0
		default:
			n.v.bits[i] = 1
			if n.or {
				n.v.bits[i] = 0
			}
		}
	}
	return &n.v, nil
}

// rowTruth returns a row as a condition sees it.
func rowTruth(v *vec, i int) (isTrue, isNull bool) {
	if v.null(i) {
		return false, true
	}
	switch v.kind {
	case vecInt:
		return v.bits[v.row(i)] != 0, false
	case vecFloat:
		return v.number(i) != 0, false
	}
	return v.value(i).truth()
}

// textNode is LIKE, GLOB or IN of one text against constants.
type textNode struct {
	e    *expr
	a    node
	rest []*vec
	v    vec
	memo dictMemo
}

func (n *textNode) eval(c *chunk) (*vec, error) {
	a, err := n.a.eval(c)
	if err != nil {
		return nil, err
	}
	if a.kind != vecText || a.dict == nil || a.con {
		return applyRows(&n.v, n.e, c.n, append([]*vec{a}, n.rest...)...)
	}
	args := make([]Value, 1+len(n.rest))
	for i, r := range n.rest {
		args[i+1] = r.value(0)
	}
	return n.memo.eval(c, &n.v, a, func(s string) Value {
		args[0] = TextValue(s)
		v, _ := apply(n.e, args)
		return v
	}, n.e.op)
}

// bucketNode is bucket() of a time column.
type bucketNode struct {
	b      *bucketer
	a      node
	v      vec
	lo, hi int64
}

func (n *bucketNode) eval(c *chunk) (*vec, error) {
	a, err := n.a.eval(c)
	if err != nil {
		return nil, err
	}
	kind := vecTime
	if n.b.w.wholeSeconds() {
		kind = vecBucket
	}
	n.v.reserve(kind, c.n)
	for i, x := range a.bits[:c.n] {
		t := int64(x)
		if t < n.lo || t >= n.hi {
			n.lo, n.hi = n.b.bounds(t)
		}
		n.v.bits[i] = uint64(n.lo)
	}
	return &n.v, nil
}

// valueNode computes an expression value by value, for what has no loop.
type valueNode struct {
	e      *expr
	leaves map[*expr]node
	at     map[*expr]*vec
	v      vec
}

func (n *valueNode) eval(c *chunk) (*vec, error) {
	for e, leaf := range n.leaves {
		v, err := leaf.eval(c)
		if err != nil {
			return nil, err
		}
		n.at[e] = v
	}
	n.v.reserveAny(c.n)
	row := 0
	slot := func(e *expr) Value { return n.at[e].value(row) }
	for row = range c.n {
		v, err := evalExpr(n.e, slot)
		if err != nil {
			return nil, err
		}
		n.v.vals[row] = v
	}
	return &n.v, nil
}
