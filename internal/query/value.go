package query

import (
	"math"
	"strconv"
	"strings"
)

// Kind is the storage class of a Value, in the order in which SQLite sorts
// values of different classes.
type Kind uint8

// The storage classes. Null sorts first, then numbers, then text, then blobs.
const (
	Null Kind = iota
	Int
	Float
	Text
	Blob
)

// Value is one SQL value. The zero Value is NULL.
type Value struct {
	Kind Kind
	bits uint64
	text string
}

// IntValue returns an integer value.
func IntValue(i int64) Value { return Value{Kind: Int, bits: uint64(i)} }

// FloatValue returns a real value; NaN is NULL, as in SQLite.
func FloatValue(f float64) Value {
	if f != f {
		return Value{}
	}
	return Value{Kind: Float, bits: math.Float64bits(f)}
}

// TextValue returns a text value.
func TextValue(s string) Value { return Value{Kind: Text, text: s} }

// BlobValue returns a blob value.
func BlobValue(s string) Value { return Value{Kind: Blob, text: s} }

func boolValue(b bool) Value {
	if b {
		return IntValue(1)
	}
	return IntValue(0)
}

// Int returns the integer of an Int value.
func (v Value) Int() int64 { return int64(v.bits) }

// Float returns the real of a Float value.
func (v Value) Float() float64 { return math.Float64frombits(v.bits) }

// Text returns the bytes of a Text or Blob value.
func (v Value) Text() string { return v.text }

// IsNull reports whether the value is NULL.
func (v Value) IsNull() bool { return v.Kind == Null }

// AppendText appends the value as SQLite casts it to text; NULL appends nothing.
func (v Value) AppendText(dst []byte) []byte {
	switch v.Kind {
	case Int:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Float:
		return appendFloat(dst, v.Float())
	case Text, Blob:
		return append(dst, v.text...)
	}
	return dst
}

func (v Value) String() string {
	if v.Kind == Null {
		return "NULL"
	}
	return string(v.AppendText(nil))
}

// appendFloat appends the shortest text that reads back as f, and always one
// that reads back as a real and not as an integer.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-Inf"...)
	}
	if f == 0 {
		return append(dst, "0.0"...)
	}
	if dst, ok := appendDecimal(dst, f); ok {
		return dst
	}
	a := math.Abs(f)
	if a >= 1e15 || a < 1e-4 {
		n := len(dst)
		dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
		// SQLite writes a mantissa with a decimal point.
		e := n + strings.IndexByte(string(dst[n:]), 'e')
		if !strings.Contains(string(dst[n:e]), ".") {
			tail := string(dst[e:])
			dst = append(append(dst[:e], ".0"...), tail...)
		}
		return dst
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	for _, c := range dst[n:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// appendDecimal appends f where it is a decimal of at most 15 digits, six of them
// after the point, as nearly all that devices measure is. A quotient of integers
// below 2^53 is rounded once, so a decimal that gives f bit for bit is one that
// reads back as f; and since no two decimals of up to 15 digits read as the same
// real, it is also the shortest.
func appendDecimal(dst []byte, f float64) ([]byte, bool) {
	a := math.Abs(f)
	if !(a < 1e9) || a < 1e-4 {
		return dst, false
	}
	n, scale, places := int64(a*1e2+0.5), int64(1e2), 2
	if float64(n)/1e2 != a {
		if n, scale, places = int64(a*1e6+0.5), 1e6, 6; float64(n)/1e6 != a {
			return dst, false
		}
	}
	if f < 0 {
		dst = append(dst, '-')
	}
	whole, part := n/scale, n%scale
	dst = strconv.AppendInt(dst, whole, 10)
	var digits [7]byte
	digits[0] = '.'
	for i := places; i > 0; i-- {
		digits[i] = byte('0' + part%10)
		part /= 10
	}
	end := places + 1
	for end > 2 && digits[end-1] == '0' {
		end--
	}
	return append(dst, digits[:end]...), true
}

// numericPrefix reads the longest numeric prefix of a text, as SQLite does
// where text meets arithmetic. whole reports whether nothing but space follows.
func numericPrefix(s string) (v Value, whole bool) {
	i := 0
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	start := i
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	digits := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	intDigits := i - digits
	real := false
	fracDigits := 0
	if i < len(s) && s[i] == '.' {
		j := i + 1
		for j < len(s) && isDigit(s[j]) {
			j++
		}
		fracDigits = j - i - 1
		if intDigits+fracDigits > 0 {
			real = true
			i = j
		}
	}
	if intDigits+fracDigits == 0 {
		return IntValue(0), false
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if j < len(s) && isDigit(s[j]) {
			for j < len(s) && isDigit(s[j]) {
				j++
			}
			real = true
			i = j
		}
	}
	num := s[start:i]
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	whole = i == len(s)
	if !real {
		if n, err := strconv.ParseInt(num, 10, 64); err == nil {
			return IntValue(n), whole
		}
	}
	f, _ := strconv.ParseFloat(num, 64)
	return FloatValue(f), whole
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r'
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// numeric returns the value as arithmetic sees it.
func (v Value) numeric() Value {
	if v.Kind == Text || v.Kind == Blob {
		n, _ := numericPrefix(v.text)
		return n
	}
	return v
}

// asFloat returns a numeric value as float64.
func (v Value) asFloat() float64 {
	switch v.Kind {
	case Int:
		return float64(v.Int())
	case Float:
		return v.Float()
	case Text, Blob:
		return v.numeric().asFloat()
	}
	return 0
}

// asInt returns the value as CAST AS INTEGER does.
func (v Value) asInt() int64 {
	switch v.Kind {
	case Int:
		return v.Int()
	case Float:
		return floatToInt(v.Float())
	case Text, Blob:
		return v.numeric().asInt()
	}
	return 0
}

// floatToInt truncates toward zero and clamps at the ends of int64.
func floatToInt(f float64) int64 {
	switch {
	case f != f:
		return 0
	case f <= -9223372036854775808.0:
		return math.MinInt64
	case f >= 9223372036854775807.0:
		return math.MaxInt64
	}
	return int64(f)
}

// truth returns the value as a condition sees it.
func (v Value) truth() (isTrue, isNull bool) {
	switch v.Kind {
	case Null:
		return false, true
	case Int:
		return v.bits != 0, false
	case Float:
		return v.Float() != 0, false
	}
	return v.numeric().asFloat() != 0, false
}

// compareValues orders two values as ORDER BY does, NULL first.
func compareValues(a, b Value) int {
	ra, rb := a.Kind.rank(), b.Kind.rank()
	if ra != rb {
		if ra < rb {
			return -1
		}
		return 1
	}
	switch ra {
	case 0:
		return 0
	case 1:
		return compareNumbers(a, b)
	}
	return strings.Compare(a.text, b.text)
}

func (k Kind) rank() int {
	switch k {
	case Null:
		return 0
	case Int, Float:
		return 1
	case Text:
		return 2
	}
	return 3
}

func compareNumbers(a, b Value) int {
	switch {
	case a.Kind == Int && b.Kind == Int:
		return compareInts(a.Int(), b.Int())
	case a.Kind == Float && b.Kind == Float:
		return compareFloats(a.Float(), b.Float())
	case a.Kind == Int:
		return compareIntFloat(a.Int(), b.Float())
	}
	return -compareIntFloat(b.Int(), a.Float())
}

func compareInts(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func compareFloats(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareIntFloat compares without losing the low bits of large integers.
func compareIntFloat(i int64, f float64) int {
	if f != f {
		return 1
	}
	if f < -9223372036854775808.0 {
		return 1
	}
	if f >= 9223372036854775808.0 {
		return -1
	}
	t := int64(f)
	if i != t {
		return compareInts(i, t)
	}
	return compareFloats(float64(i), f)
}

// affinity says how a comparison converts the other operand.
type affinity uint8

const (
	affNone affinity = iota
	affText
	affNumeric
)

// applyAffinity converts a value as a column of that affinity would.
func applyAffinity(v Value, a affinity) Value {
	switch a {
	case affNumeric:
		if v.Kind == Text {
			if n, whole := numericPrefix(v.text); whole {
				if n.Kind == Float {
					if i, ok := exactInt(n.Float()); ok {
						return IntValue(i)
					}
				}
				return n
			}
		}
	case affText:
		if v.Kind == Int || v.Kind == Float {
			return TextValue(string(v.AppendText(nil)))
		}
	}
	return v
}

// exactInt returns f as an integer where that loses nothing.
func exactInt(f float64) (int64, bool) {
	if f < -9007199254740992 || f > 9007199254740992 {
		return 0, false
	}
	i := int64(f)
	return i, float64(i) == f
}

// comparisonAffinity returns what is applied to both operands.
func comparisonAffinity(a, b affinity) affinity {
	switch {
	case a == affNumeric || b == affNumeric:
		return affNumeric
	case a == affText || b == affText:
		return affText
	}
	return affNone
}
