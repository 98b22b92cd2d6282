package query

import (
	"math"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// addCondition splits a condition into what the store can use and what is left
// for each row.
func (p *plan) addCondition(e *expr) {
	switch {
	case e.op == opAnd:
		p.addCondition(e.args[0])
		p.addCondition(e.args[1])
		return
	case e.op == opConst:
		if t, _ := e.val.truth(); !t {
			p.never = true
		}
		return
	case p.timeCondition(e):
		return
	}
	seriesOnly := e.walk(func(x *expr) bool {
		return x.op != opColumn || p.rel.columns[x.index].seriesOnly()
	})
	if seriesOnly {
		p.seriesIf = append(p.seriesIf, e)
		return
	}
	p.valueRange(e)
	p.rowIf = append(p.rowIf, e)
}

// timeCondition takes a condition on time alone into the range of the scan.
func (p *plan) timeCondition(e *expr) bool {
	isTime := func(x *expr) bool { return x.op == opColumn && p.rel.columns[x.index].source == fromTime }
	if e.op == opBetween && isTime(e.args[0]) && e.args[1].op == opConst && e.args[2].op == opConst {
		p.limitTime(opGe, e.args[1].val)
		p.limitTime(opLe, e.args[2].val)
		return true
	}
	if len(e.args) != 2 || e.op < opEq || e.op > opGe || e.op == opNe {
		return false
	}
	switch {
	case isTime(e.args[0]) && e.args[1].op == opConst:
		p.limitTime(e.op, e.args[1].val)
		return true
	case isTime(e.args[1]) && e.args[0].op == opConst:
		p.limitTime(mirror(e.op), e.args[0].val)
		return true
	}
	return false
}

// mirror returns the operator with its sides exchanged.
func mirror(op opcode) opcode {
	switch op {
	case opLt:
		return opGt
	case opLe:
		return opGe
	case opGt:
		return opLt
	case opGe:
		return opLe
	}
	return op
}

func (p *plan) limitTime(op opcode, v Value) {
	if v.IsNull() {
		p.never = true
		return
	}
	at, exact := timeBound(string(v.AppendText(nil)))
	if v.Kind == Blob {
		at, exact = boundary{above: true}, false
	}
	// at is the first time whose text is not less than the constant.
	next := at.t
	if exact && next < math.MaxInt64 {
		next++
	}
	switch op {
	case opEq:
		if !exact {
			p.never = true
			return
		}
		p.from, p.to = max(p.from, at.t), min(p.to, next)
	case opGe, opGt:
		if at.above {
			p.never = true
		}
		if op == opGe {
			next = at.t
		}
		p.from = max(p.from, next)
	case opLt, opLe:
		if at.above {
			return
		}
		if op == opLt {
			next = at.t
		}
		p.to = min(p.to, next)
	}
}

// boundary is a place in the order of times; above is beyond all of them.
type boundary struct {
	t     int64
	above bool
}

// timeBound returns the first time whose text is not less than s, and whether
// it is equal.
func timeBound(s string) (boundary, bool) {
	var buf [timeLen]byte
	text := func(t int64) string { return string(appendTime(buf[:0], t)) }
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	if text(hi) < s {
		return boundary{hi, true}, false
	}
	for lo < hi {
		mid := lo + int64((uint64(hi)-uint64(lo))/2)
		if text(mid) < s {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return boundary{t: lo}, text(lo) == s
}

// valueRange tells the store about a condition on one numeric column.
func (p *plan) valueRange(e *expr) {
	column := func(x *expr) string {
		if x.op != opColumn {
			return ""
		}
		c := &p.rel.columns[x.index]
		if c.source != fromField || c.field.Type != telemetry.Float && c.field.Type != telemetry.Int {
			return ""
		}
		return c.field.Name
	}
	number := func(x *expr) (float64, bool) {
		if x.op != opConst || x.val.Kind != Int && x.val.Kind != Float {
			return 0, false
		}
		f := x.val.asFloat()
		return f, math.Abs(f) < 1<<53
	}
	r := store.ValueRange{Min: math.Inf(-1), Max: math.Inf(1)}
	switch e.op {
	case opBetween:
		lo, ok1 := number(e.args[1])
		hi, ok2 := number(e.args[2])
		if r.Column = column(e.args[0]); r.Column != "" && ok1 && ok2 {
			r.Min, r.Max = lo, hi
			p.ranges, p.open = append(p.ranges, r), append(p.open, openEnds{})
		}
		return
	case opEq, opLt, opLe, opGt, opGe:
	default:
		return
	}
	op, x, c := e.op, e.args[0], e.args[1]
	if x.op == opConst {
		op, x, c = mirror(op), c, x
	}
	v, ok := number(c)
	if r.Column = column(x); r.Column == "" || !ok {
		return
	}
	switch op {
	case opEq:
		r.Min, r.Max = v, v
	case opLt, opLe:
		r.Max = v
	default:
		r.Min = v
	}
	p.ranges, p.open = append(p.ranges, r), append(p.open, openEnds{min: op == opGt, max: op == opLt})
}
