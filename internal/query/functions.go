package query

import (
	"math"
	"strconv"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

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
