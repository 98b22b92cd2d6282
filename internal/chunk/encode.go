package chunk

import (
	"encoding/binary"
	"math"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// effort says how hard an encoder works.
type effort struct {
	fast bool
	runs []int32 // ends of the series runs, for segments
}

// appendInts appends a page body for numbers: form 1, or 2 where all are
// multiples of a power of ten, as times from milliseconds are.
func (s *scratch) appendInts(dst []byte, v []uint64, e effort) []byte {
	exp := decimalScale(v, e.fast)
	if exp == 0 {
		return s.planner.appendStream(append(dst, formInts), v, e.runs, e.fast)
	}
	s.ints = divide(s.ints[:0], v, exp)
	return s.planner.appendStream(append(dst, formScaled, byte(exp)), s.ints, e.runs, e.fast)
}

// decimalScale returns the greatest power of ten of a few usual ones that
// divides all numbers.
func decimalScale(v []uint64, fast bool) int {
	if len(v) == 0 {
		return 0
	}
	exps := []int{9, 6, 3, 2, 1}
	if fast {
		exps = exps[:3]
	}
	// A few rows refuse most candidates before all rows are read.
	sample := [...]int{0, len(v) / 3, len(v) / 2, len(v) - 1}
next:
	for _, exp := range exps {
		p := int64(pow10[exp])
		zero := true
		for _, i := range sample {
			if int64(v[i])%p != 0 {
				continue next
			}
			zero = zero && v[i] == 0
		}
		if zero && exp != exps[0] {
			continue // zeros say nothing; the first candidate has seen all rows
		}
		if divisible(v, exp) {
			return exp
		}
	}
	return 0
}

// divisible reports whether 10^exp divides all numbers and not all are zero.
// The divisors are constants, because a division by a variable takes ten times
// as long.
func divisible(v []uint64, exp int) bool {
	var rest, any int64
	switch exp {
	case 9:
		for _, x := range v {
			rest |= int64(x) % 1e9
			any |= int64(x)
		}
	case 6:
		for _, x := range v {
			rest |= int64(x) % 1e6
			any |= int64(x)
		}
	case 3:
		for _, x := range v {
			rest |= int64(x) % 1e3
			any |= int64(x)
		}
	default:
		p := int64(pow10[exp])
		for _, x := range v {
			rest |= int64(x) % p
			any |= int64(x)
		}
	}
	return rest == 0 && any != 0
}

func divide(dst, v []uint64, exp int) []uint64 {
	switch exp {
	case 9:
		for _, x := range v {
			dst = append(dst, uint64(int64(x)/1e9))
		}
	case 6:
		for _, x := range v {
			dst = append(dst, uint64(int64(x)/1e6))
		}
	case 3:
		for _, x := range v {
			dst = append(dst, uint64(int64(x)/1e3))
		}
	default:
		p := int64(pow10[exp])
		for _, x := range v {
			dst = append(dst, uint64(int64(x)/p))
		}
	}
	return dst
}

// appendColumn appends the page body of a field column. The vector was checked.
func (s *scratch) appendColumn(dst []byte, v *telemetry.Vector, rows int, e effort) []byte {
	form := len(dst)
	hasNulls := anyNull(v.Nulls, rows)
	var nulls telemetry.Bitmap
	if hasNulls {
		nulls = v.Nulls
		// The form comes first; its place is kept while the nulls are written.
		dst = append(dst, 0)
		var some bool
		if dst, some = appendNulls(dst, nulls, rows); !some {
			dst[form] = formPlain | formNulls
			if !v.Type.Textual() {
				dst[form] = formInts | formNulls
			}
			return dst
		}
	}
	at := len(dst)
	if hasNulls {
		e.runs = s.keepRuns(e.runs, nulls)
	}
	switch {
	case v.Type.Textual():
		dst = s.appendText(dst, v, nulls, rows, e)
	case v.Type == telemetry.Float:
		dst = s.appendFloats(dst, s.keep(v.Bits[:rows], nulls), e)
	default:
		dst = s.appendWords(dst, s.keep(v.Bits[:rows], nulls), e)
	}
	if hasNulls {
		// The values' own form byte moves to the front of the page.
		dst[form] = dst[at] | formNulls
		dst = append(dst[:at], dst[at+1:]...)
	}
	return dst
}

// appendWords appends the page body of a column of integers: as numbers, or by
// their distinct values where few wide ones come again and again.
func (s *scratch) appendWords(dst []byte, v []uint64, e effort) []byte {
	from := len(dst)
	dst = s.appendInts(dst, v, e)
	const wide = 2 // bytes a row
	n := len(dst) - from
	if e.fast || n < wide*len(v) {
		return dst
	}
	if out, ok := s.appendDistinct(dst, v, e); ok && len(out)-from-n < n {
		return append(out[:from], out[from+n:]...)
	}
	return dst[:from+n]
}

func anyNull(nulls telemetry.Bitmap, rows int) bool {
	for w := 0; w < len(nulls) && w*64 < rows; w++ {
		if nullWord(nulls, w, rows) != 0 {
			return true
		}
	}
	return false
}

// keep returns the values that are not null.
func (s *scratch) keep(v []uint64, nulls telemetry.Bitmap) []uint64 {
	if nulls == nil {
		return v
	}
	s.kept = s.kept[:0]
	for i, x := range v {
		if !nulls.Get(i) {
			s.kept = append(s.kept, x)
		}
	}
	return s.kept
}

// keepRuns returns where the runs end when nulls are left out.
func (s *scratch) keepRuns(ends []int32, nulls telemetry.Bitmap) []int32 {
	s.keptEnds = s.keptEnds[:0]
	i, n := 0, int32(0)
	for _, end := range ends {
		for ; i < int(end); i++ {
			if !nulls.Get(i) {
				n++
			}
		}
		s.keptEnds = append(s.keptEnds, n)
	}
	return s.keptEnds
}

// pow10 are the powers of ten that are exact as both float64 and int64.
var pow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

const maxExponent = len(pow10) - 1

// roundMagic rounds what is added to it to an integer that stands in its low
// mantissa bits. What is too large for that fails the check that follows.
const roundMagic = 3 << 51

var roundBits = int64(math.Float64bits(roundMagic))

// asDecimal returns the integer that divided by p is v, bit for bit.
func asDecimal(v uint64, p float64) (int64, bool) {
	x := int64(math.Float64bits(math.Float64frombits(v)*p+roundMagic)) - roundBits
	return x, math.Float64bits(float64(x)/p) == v
}

// exponentOf returns the least exponent that gives v, up from at least.
func exponentOf(v uint64, atLeast int) (int, bool) {
	for e := atLeast; e <= maxExponent; e++ {
		if _, ok := asDecimal(v, pow10[e]); ok {
			return e, true
		}
	}
	return 0, false
}

// appendFloats appends a body of form 3 where the values are decimals, as
// devices send them, else of one for other reals. The idea of trying decimals bit for bit is
// that of ALP (Afroozeh, Kuffo, Boncz: SIGMOD 2024).
func (s *scratch) appendFloats(dst []byte, v []uint64, e effort) []byte {
	s.exponent = -1
	sample, exceptions := sampleExponent, len(v)/32+1
	if !e.fast {
		sample, exceptions = cheapestExponent, len(v)/4+1
	}
	if exp, ok := sample(v); ok {
		for tries := 0; tries < 4; tries++ {
			need, ok := s.decimals(v, exp, exceptions)
			if ok {
				if len(s.except) == 0 {
					s.exponent = exp
				}
				dst = append(dst, formDecimal, byte(exp))
				dst = binary.AppendUvarint(dst, uint64(len(s.except)))
				next := int32(0)
				for _, i := range s.except {
					dst = binary.AppendUvarint(dst, uint64(i-next))
					dst = binary.LittleEndian.AppendUint64(dst, v[i])
					next = i + 1
				}
				return s.planner.appendStream(dst, s.ints, e.runs, e.fast)
			}
			if need <= exp {
				break
			}
			exp = need
		}
	}
	return s.appendReals(dst, v, e)
}

// sampleExponent finds the exponent that a few values need; false where most
// are no decimals.
func sampleExponent(v []uint64) (exp int, ok bool) {
	const samples = 8
	step := max(len(v)/samples, 1)
	good, tried := 0, 0
	for i := 0; i < len(v); i += step {
		tried++
		if _, ok := asDecimal(v[i], pow10[exp]); ok {
			good++
		} else if e, ok := exponentOf(v[i], exp+1); ok {
			exp = e
			good++
		}
	}
	return exp, good*2 >= tried
}

// cheapestExponent finds the exponent with which a few values take least: more
// digits for all, or exceptions for those that need more. It is false where other
// forms take less.
func cheapestExponent(v []uint64) (exp int, ok bool) {
	const samples, digitBits, exceptionBits, otherBits = 32, 3.33, 74, 54
	var need [maxExponent + 2]int // the last: no decimal
	step := max(len(v)/samples, 1)
	tried := 0
	for i := 0; i < len(v); i += step {
		e, ok := exponentOf(v[i], 0)
		if !ok {
			e = maxExponent + 1
		}
		need[e]++
		tried++
	}
	best, covered := float64(otherBits*tried), 0
	for e, n := range need[:maxExponent+1] {
		covered += n
		if cost := digitBits*float64(e*covered) + exceptionBits*float64(tried-covered); n > 0 && cost < best {
			best, exp, ok = cost, e, true
		}
	}
	return exp, ok
}

// decimals fills s.ints and s.except. Where there are too many exceptions it
// stops and returns the exponent that the last one needs.
func (s *scratch) decimals(v []uint64, exp, limit int) (need int, ok bool) {
	p := pow10[exp]
	ints := grow(s.ints, len(v))
	s.ints = ints
	s.except = s.except[:0]
	var last int64
	for i, x := range v {
		n := int64(math.Float64bits(math.Float64frombits(x)*p+roundMagic)) - roundBits
		if math.Float64bits(float64(n)/p) != x {
			if len(s.except) == limit {
				need, _ := exponentOf(x, exp+1)
				return need, false
			}
			s.except = append(s.except, int32(i))
			n = last
		}
		ints[i] = uint64(n)
		last = n
	}
	return exp, true
}
