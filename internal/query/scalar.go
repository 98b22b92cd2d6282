package query

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

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

// like matches % and _, taking ASCII letters of either case for the same.
func like(s, p string) bool {
	for p != "" {
		switch p[0] {
		case '%':
			for p != "" && (p[0] == '%' || p[0] == '_') {
				if p[0] == '_' {
					if s == "" {
						return false
					}
					_, n := utf8.DecodeRuneInString(s)
					s = s[n:]
				}
				p = p[1:]
			}
			if p == "" {
				return true
			}
			for i := 0; i < len(s); i++ {
				if utf8.RuneStart(s[i]) && lower(s[i]) == lower(p[0]) && like(s[i:], p) {
					return true
				}
			}
			return false
		case '_':
			if s == "" {
				return false
			}
			_, n := utf8.DecodeRuneInString(s)
			s, p = s[n:], p[1:]
		default:
			if s == "" || lower(s[0]) != lower(p[0]) {
				return false
			}
			s, p = s[1:], p[1:]
		}
	}
	return s == ""
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// glob matches *, ? and [sets], telling letters of either case apart.
func glob(s, p string) bool {
	for p != "" {
		switch p[0] {
		case '*':
			for p != "" && (p[0] == '*' || p[0] == '?') {
				if p[0] == '?' {
					if s == "" {
						return false
					}
					_, n := utf8.DecodeRuneInString(s)
					s = s[n:]
				}
				p = p[1:]
			}
			if p == "" {
				return true
			}
			for i := 0; i < len(s); i++ {
				if utf8.RuneStart(s[i]) && glob(s[i:], p) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
			_, n := utf8.DecodeRuneInString(s)
			s, p = s[n:], p[1:]
		case '[':
			if s == "" {
				return false
			}
			c, n := utf8.DecodeRuneInString(s)
			rest, ok := globSet(c, p[1:])
			if !ok {
				return false
			}
			s, p = s[n:], rest
		default:
			if s == "" || s[0] != p[0] {
				return false
			}
			s, p = s[1:], p[1:]
		}
	}
	return s == ""
}

// globSet matches c against the set that begins after its bracket and returns
// what follows it.
func globSet(c rune, p string) (string, bool) {
	invert := strings.HasPrefix(p, "^")
	if invert {
		p = p[1:]
	}
	seen := false
	var prior rune
	for first := true; p != ""; first = false {
		r, n := utf8.DecodeRuneInString(p)
		p = p[n:]
		switch {
		case r == ']' && !first:
			return p, seen != invert
		case r == '-' && prior != 0 && p != "" && p[0] != ']':
			hi, n := utf8.DecodeRuneInString(p)
			p = p[n:]
			seen = seen || c >= prior && c <= hi
			prior = 0
		default:
			seen = seen || c == r
			prior = r
		}
	}
	return "", false
}

// scalarFuncs are the functions that the executor computes, with the fewest
// and the most arguments. SQLite computes the others.
var scalarFuncs = map[string][2]int{
	"abs": {1, 1}, "round": {1, 2}, "coalesce": {2, 100}, "ifnull": {2, 2}, "nullif": {2, 2},
	"min": {2, 100}, "max": {2, 100}, "floor": {1, 1}, "ceil": {1, 1}, "ceiling": {1, 1}, "sqrt": {1, 1},
	"bucket": {2, 3},
}

func callScalar(name string, a []Value) (Value, error) {
	switch name {
	case "nullif":
		if c, null := compareOperands(a[0], a[1], affNone, affNone); !null && c == 0 {
			return Value{}, nil
		}
		return a[0], nil
	case "min", "max":
		best := a[0]
		for _, v := range a {
			if v.IsNull() {
				return Value{}, nil
			}
			// Of equal values min takes the last and max the first.
			if c := compareValues(v, best); name == "min" && c <= 0 || name == "max" && c > 0 {
				best = v
			}
		}
		return best, nil
	case "round":
		return roundValue(a)
	case "bucket":
		return bucketValue(a)
	}
	if a[0].IsNull() {
		return Value{}, nil
	}
	switch name {
	case "abs":
		if a[0].Kind == Int {
			if a[0].Int() == math.MinInt64 {
				return Value{}, telemetry.Errorf(telemetry.CodeInvalid, "run query", "integer overflow in abs()")
			}
			return IntValue(max(a[0].Int(), -a[0].Int())), nil
		}
		return FloatValue(math.Abs(a[0].asFloat())), nil
	case "floor", "ceil", "ceiling", "sqrt":
		return mathValue(name, a[0]), nil
	}
	return Value{}, telemetry.Errorf(telemetry.CodeInternal, "run query", "function %s has no meaning", name)
}

func mathValue(name string, v Value) Value {
	if v.Kind == Text || v.Kind == Blob {
		n, whole := numericPrefix(v.text)
		if !whole {
			return Value{}
		}
		v = n
	}
	if name == "sqrt" {
		return FloatValue(math.Sqrt(v.asFloat()))
	}
	if v.Kind == Int {
		return v
	}
	if name == "floor" {
		return FloatValue(math.Floor(v.Float()))
	}
	return FloatValue(math.Ceil(v.Float()))
}

// roundValue rounds half away from zero, by the decimal digits of the number.
func roundValue(a []Value) (Value, error) {
	digits := 0
	if len(a) == 2 {
		if a[1].IsNull() {
			return Value{}, nil
		}
		digits = int(min(max(a[1].asInt(), 0), 30))
	}
	if a[0].IsNull() {
		return Value{}, nil
	}
	f := a[0].asFloat()
	switch {
	case f < -4503599627370496.0 || f > 4503599627370496.0 || math.IsInf(f, 0):
		return FloatValue(f), nil
	case digits == 0:
		if f < 0 {
			return FloatValue(float64(int64(f - 0.5))), nil
		}
		return FloatValue(float64(int64(f + 0.5))), nil
	}
	return FloatValue(roundDecimal(f, digits)), nil
}

// roundDecimal rounds the 17 significant digits that name f half up at the
// given place.
func roundDecimal(f float64, places int) float64 {
	var buf [40]byte
	s := strconv.AppendFloat(buf[:0], math.Abs(f), 'e', 16, 64)
	exp, _ := strconv.Atoi(string(s[strings.IndexByte(string(s), 'e')+1:]))
	keep := exp + 1 + places // digits before the place that is dropped
	if keep >= 17 {
		return f
	}
	if keep < 0 {
		return 0
	}
	var digits [18]byte
	n := copy(digits[1:], s[:1])
	n += copy(digits[2:], s[2:18])
	digits[0] = '0'
	up := digits[1+keep] >= '5'
	out := digits[:1+keep]
	for i := len(out) - 1; up && i >= 0; i-- {
		if out[i] == '9' {
			out[i] = '0'
			continue
		}
		out[i]++
		up = false
	}
	_ = n
	r, _ := strconv.ParseFloat(string(out)+"e"+strconv.Itoa(-places), 64)
	if f < 0 {
		r = -r
	}
	return r
}
