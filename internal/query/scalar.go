package query

import (
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// evalExpr computes a bound expression of which slot gives the values of
// columns and slots. It is the definition that the vectorised nodes follow.
func evalExpr(e *expr, slot func(*expr) Value) (Value, error) {
	switch e.op {
	case opConst:
		return e.val, nil
	case opColumn, opSlot:
		return slot(e), nil
	case opAnd, opOr:
		return evalLogic(e, slot)
	case opCase:
		return evalCase(e, slot)
	case opFunc:
		switch e.name {
		case "coalesce", "ifnull":
			for _, a := range e.args {
				v, err := evalExpr(a, slot)
				if err != nil || !v.IsNull() {
					return v, err
				}
			}
			return Value{}, nil
		}
	}
	var buf [4]Value
	args := buf[:0]
	for _, a := range e.args {
		v, err := evalExpr(a, slot)
		if err != nil {
			return Value{}, err
		}
		args = append(args, v)
	}
	return apply(e, args)
}

func evalLogic(e *expr, slot func(*expr) Value) (Value, error) {
	a, err := evalExpr(e.args[0], slot)
	if err != nil {
		return Value{}, err
	}
	at, an := a.truth()
	if !an && at == (e.op == opOr) {
		return boolValue(at), nil
	}
	b, err := evalExpr(e.args[1], slot)
	if err != nil {
		return Value{}, err
	}
	bt, bn := b.truth()
	if !bn && bt == (e.op == opOr) {
		return boolValue(bt), nil
	}
	if an || bn {
		return Value{}, nil
	}
	return boolValue(e.op == opAnd), nil
}

func evalCase(e *expr, slot func(*expr) Value) (Value, error) {
	args := e.args
	var operand Value
	if e.hasOperand {
		var err error
		if operand, err = evalExpr(args[0], slot); err != nil {
			return Value{}, err
		}
		args = args[1:]
	}
	for len(args) >= 2 {
		when, err := evalExpr(args[0], slot)
		if err != nil {
			return Value{}, err
		}
		var hit bool
		if e.hasOperand {
			c, null := compareOperands(operand, when, exprAffinity(e.args[0]), exprAffinity(args[0]))
			hit = !null && c == 0
		} else {
			hit, _ = when.truth()
		}
		if hit {
			return evalExpr(args[1], slot)
		}
		args = args[2:]
	}
	if len(args) == 1 {
		return evalExpr(args[0], slot)
	}
	return Value{}, nil
}

// exprAffinity returns the affinity that an expression brings to a comparison.
func exprAffinity(e *expr) affinity {
	switch e.op {
	case opColumn, opSlot:
		return e.aff
	case opCastInt, opCastFloat:
		return affNumeric
	}
	return affNone
}

// compareOperands compares as the comparison operators do.
func compareOperands(a, b Value, fa, fb affinity) (c int, null bool) {
	if a.IsNull() || b.IsNull() {
		return 0, true
	}
	if f := comparisonAffinity(fa, fb); f != affNone {
		a, b = applyAffinity(a, f), applyAffinity(b, f)
	}
	return compareValues(a, b), false
}

// holds reports whether a comparison's result c satisfies the operator.
func holds(op opcode, c int) bool {
	switch op {
	case opEq, opIs:
		return c == 0
	case opNe, opIsNot:
		return c != 0
	case opLt:
		return c < 0
	case opLe:
		return c <= 0
	case opGt:
		return c > 0
	}
	return c >= 0
}

// apply computes an operator or function whose arguments are all known.
func apply(e *expr, a []Value) (Value, error) {
	switch e.op {
	case opNeg, opPos, opNot, opBitNot, opCastInt, opCastFloat:
		return applyUnary(e.op, a[0]), nil
	case opAdd, opSub, opMul, opDiv, opMod, opBitAnd, opBitOr, opShl, opShr:
		return arithmetic(e.op, a[0], a[1]), nil
	case opEq, opNe, opLt, opLe, opGt, opGe:
		c, null := compareOperands(a[0], a[1], exprAffinity(e.args[0]), exprAffinity(e.args[1]))
		if null {
			return Value{}, nil
		}
		return boolValue(holds(e.op, c)), nil
	case opIs, opIsNot:
		if a[0].IsNull() || a[1].IsNull() {
			return boolValue((a[0].IsNull() && a[1].IsNull()) == (e.op == opIs)), nil
		}
		c, _ := compareOperands(a[0], a[1], exprAffinity(e.args[0]), exprAffinity(e.args[1]))
		return boolValue(holds(e.op, c)), nil
	case opBetween, opNotBetween:
		return applyBetween(e, a), nil
	case opIn, opNotIn:
		return applyIn(e, a), nil
	case opLike, opNotLike, opGlob, opNotGlob:
		return applyLike(e.op, a[0], a[1]), nil
	case opFunc:
		return callScalar(e.name, a)
	}
	return Value{}, telemetry.Errorf(telemetry.CodeInternal, "run query", "operator %d has no meaning", e.op)
}

func applyUnary(op opcode, v Value) Value {
	if v.IsNull() {
		return Value{}
	}
	switch op {
	case opPos:
		return v
	case opNot:
		t, _ := v.truth()
		return boolValue(!t)
	case opBitNot:
		return IntValue(^v.asInt())
	case opCastInt:
		if v.Kind == Text {
			// CAST reads the longest integer prefix, also of "1e3".
			n, _ := numericPrefix(v.text)
			if n.Kind == Float {
				s := strings.TrimLeft(v.text, " \t\n\v\f\r")
				end := 0
				if end < len(s) && (s[end] == '-' || s[end] == '+') {
					end++
				}
				for end < len(s) && isDigit(s[end]) {
					end++
				}
				i, err := strconv.ParseInt(s[:end], 10, 64)
				if err != nil && end > 1 && i == 0 {
					return IntValue(0)
				}
				return IntValue(i)
			}
		}
		return IntValue(v.asInt())
	case opCastFloat:
		return FloatValue(v.asFloat())
	}
	n := v.numeric()
	if n.Kind == Int {
		if n.Int() == math.MinInt64 {
			return FloatValue(9223372036854775808.0)
		}
		return IntValue(-n.Int())
	}
	return FloatValue(-n.Float())
}

// arithmetic computes + - * / % & | << >> with SQLite's rules: integers stay
// integers until they overflow, division by zero is NULL.
func arithmetic(op opcode, a, b Value) Value {
	if a.IsNull() || b.IsNull() {
		return Value{}
	}
	switch op {
	case opBitAnd:
		return IntValue(a.asInt() & b.asInt())
	case opBitOr:
		return IntValue(a.asInt() | b.asInt())
	case opShl:
		return IntValue(shift(a.asInt(), b.asInt()))
	case opShr:
		n := b.asInt()
		if n == math.MinInt64 {
			n++
		}
		return IntValue(shift(a.asInt(), -n))
	}
	a, b = a.numeric(), b.numeric()
	if op == opMod {
		x, y := a.asInt(), b.asInt()
		if y == 0 {
			return Value{}
		}
		if y == -1 {
			x = 0
			y = 1
		}
		if a.Kind == Int && b.Kind == Int {
			return IntValue(x % y)
		}
		return FloatValue(float64(x % y))
	}
	if a.Kind == Int && b.Kind == Int {
		if v, ok := intArithmetic(op, a.Int(), b.Int()); ok {
			return v
		}
	}
	x, y := a.asFloat(), b.asFloat()
	switch op {
	case opAdd:
		return FloatValue(x + y)
	case opSub:
		return FloatValue(x - y)
	case opMul:
		return FloatValue(x * y)
	}
	if y == 0 {
		return Value{}
	}
	return FloatValue(x / y)
}

// intArithmetic reports false where the result leaves int64.
func intArithmetic(op opcode, x, y int64) (Value, bool) {
	switch op {
	case opAdd:
		s := x + y
		return IntValue(s), (s > x) == (y > 0)
	case opSub:
		d := x - y
		return IntValue(d), (d < x) == (y > 0)
	case opMul:
		p, ok := mulInt(x, y)
		return IntValue(p), ok
	}
	if y == 0 {
		return Value{}, true
	}
	if x == math.MinInt64 && y == -1 {
		return Value{}, false
	}
	return IntValue(x / y), true
}

func mulInt(x, y int64) (int64, bool) {
	ux, uy := uint64(x), uint64(y)
	if x < 0 {
		ux = -ux
	}
	if y < 0 {
		uy = -uy
	}
	hi, lo := bits.Mul64(ux, uy)
	neg := (x < 0) != (y < 0)
	if hi != 0 || lo > 1<<63 || lo == 1<<63 && !neg {
		return 0, false
	}
	if neg {
		return int64(-lo), true
	}
	return int64(lo), true
}

// shift moves left by n, or right where n is negative.
func shift(x, n int64) int64 {
	switch {
	case n >= 64:
		return 0
	case n >= 0:
		return x << uint(n)
	case n <= -64:
		return x >> 63
	}
	return x >> uint(-n)
}

func applyBetween(e *expr, a []Value) Value {
	f := exprAffinity(e.args[0])
	lo, loNull := compareOperands(a[0], a[1], f, exprAffinity(e.args[1]))
	hi, hiNull := compareOperands(a[0], a[2], f, exprAffinity(e.args[2]))
	switch {
	case !loNull && lo < 0, !hiNull && hi > 0:
		return boolValue(e.op == opNotBetween)
	case loNull || hiNull:
		return Value{}
	}
	return boolValue(e.op == opBetween)
}

// applyIn compares with the affinity of the left side only.
func applyIn(e *expr, a []Value) Value {
	if len(a) == 1 {
		return boolValue(e.op == opNotIn)
	}
	if a[0].IsNull() {
		return Value{}
	}
	f := exprAffinity(e.args[0])
	null := false
	for _, v := range a[1:] {
		c, n := compareOperands(a[0], v, f, affNone)
		if !n && c == 0 {
			return boolValue(e.op == opIn)
		}
		null = null || n
	}
	if null {
		return Value{}
	}
	return boolValue(e.op == opNotIn)
}

func applyLike(op opcode, v, pattern Value) Value {
	if v.IsNull() || pattern.IsNull() {
		return Value{}
	}
	s, p := string(v.AppendText(nil)), string(pattern.AppendText(nil))
	switch op {
	case opLike:
		return boolValue(like(s, p))
	case opNotLike:
		return boolValue(!like(s, p))
	case opGlob:
		return boolValue(glob(s, p))
	}
	return boolValue(!glob(s, p))
}
