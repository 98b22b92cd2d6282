package schema

import (
	"math/bits"
	"strconv"
	"strings"
)

// decimal is an exact number of a schema: ±0.DIGITS * 10^exp, with no zeros at
// either end of the digits. Zero has no digits.
type decimal struct {
	neg    bool
	digits string
	exp    int
	text   string // as it stands in the document
}

// litShape is where the digits of a number literal lie.
type litShape struct {
	neg   bool
	zero  bool
	first int // index of the first digit other than 0
	end   int // index after the mantissa
	exp   int // as decimal.exp
	last  int // power of ten of the last digit other than 0
}

// normalize finds the shape of a literal that is a number by RFC 8259.
func normalize(lit []byte) litShape {
	s := litShape{first: -1}
	i := 0
	if lit[0] == '-' {
		s.neg = true
		i++
	}
	var (
		point       = -1 // digits before the point
		count       = 0  // digits so far
		firstAt     = 0  // how many digits stand before the first that is not 0
		lastNonZero = 0  // how many digits stand up to the last that is not 0
	)
	for ; i < len(lit); i++ {
		c := lit[i]
		if c == '.' {
			point = count
			continue
		}
		if !isDigit(c) {
			break
		}
		if c != '0' {
			if s.first < 0 {
				s.first = i
				firstAt = count
			}
			lastNonZero = count + 1
		}
		count++
	}
	s.end = i
	if point < 0 {
		point = count
	}
	e := 0
	if i < len(lit) { // e or E
		i++
		neg := false
		if lit[i] == '+' || lit[i] == '-' {
			neg = lit[i] == '-'
			i++
		}
		for ; i < len(lit); i++ {
			if e < maxExponent/16 {
				e = e*10 + int(lit[i]-'0')
			}
		}
		if neg {
			e = -e
		}
	}
	if s.first < 0 {
		s.zero = true
		return s
	}
	s.exp = point - firstAt + e
	s.last = point - lastNonZero + e
	return s
}

// parseDecimal reads a literal that is a number by RFC 8259.
func parseDecimal(lit string) decimal {
	s := normalize([]byte(lit))
	d := decimal{text: lit}
	if s.zero {
		return d
	}
	digits := strings.ReplaceAll(lit[s.first:s.end], ".", "")
	d.neg, d.exp, d.digits = s.neg, s.exp, strings.TrimRight(digits, "0")
	return d
}

// isInt reports whether the number is an integer.
func (d *decimal) isInt() bool { return d.digits == "" || d.exp >= len(d.digits) }

// integer is the number as a non-negative int, limited to max.
func (d *decimal) integer(max int) (int, bool) {
	if d.neg || !d.isInt() {
		return 0, false
	}
	if d.digits == "" {
		return 0, true
	}
	if d.exp > 18 {
		return max, true
	}
	n, err := strconv.Atoi(d.digits + strings.Repeat("0", d.exp-len(d.digits)))
	return min(n, max), err == nil
}

// float is the float64 nearest to the number.
func (d *decimal) float() float64 {
	m, e, _, fl := scanNumberSlow([]byte(d.text), b2i(d.text[0] == '-'), uint(b2i(d.text[0] == '-'))*numNeg)
	return toFloat(m, e, fl, []byte(d.text))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compare says how the literal stands to the number: -1 below, 0 equal, 1
// above; exactly, whatever the count of digits.
func (d *decimal) compare(lit []byte) int {
	s := normalize(lit)
	switch {
	case s.zero && d.digits == "":
		return 0
	case s.zero:
		if d.neg {
			return 1
		}
		return -1
	case d.digits == "" || s.neg != d.neg:
		if s.neg {
			return -1
		}
		return 1
	}
	sign := 1
	if s.neg {
		sign = -1
	}
	if s.exp != d.exp {
		if s.exp < d.exp {
			return -sign
		}
		return sign
	}
	k := 0
	for i := s.first; i < s.end; i++ {
		c := lit[i]
		if c == '.' {
			continue
		}
		want := byte('0')
		if k < len(d.digits) {
			want = d.digits[k]
		}
		if c != want {
			if c < want {
				return -sign
			}
			return sign
		}
		k++
	}
	if k < len(d.digits) {
		return -sign
	}
	return 0
}

// multiple is the divisor of multipleOf as mant * 10^exp, mant not divisible by
// ten.
type multiple struct {
	mant uint64
	exp  int
	text string
}

// newMultiple fails where the divisor has too many digits for one word.
func newMultiple(d decimal) (multiple, bool) {
	if len(d.digits) > 19 || d.neg || d.digits == "" {
		return multiple{}, false
	}
	m, err := strconv.ParseUint(d.digits, 10, 64)
	if err != nil {
		return multiple{}, false
	}
	return multiple{mant: m, exp: d.exp - len(d.digits), text: d.text}, true
}

// divides reports whether the scanned number is an integer times the divisor.
func (m *multiple) divides(mant uint64, exp int, flags uint, lit []byte) bool {
	if mant == 0 {
		return true
	}
	if shift := exp - m.exp; flags&numTrunc == 0 && shift < 20 {
		for ; shift < 0; shift++ {
			if mant%10 != 0 {
				return false
			}
			mant /= 10
		}
		return mulAddMod(mant%m.mant, pow10u[shift], 0, m.mant) == 0
	}
	return m.dividesLong(lit)
}

// dividesLong is divides for any count of digits.
func (m *multiple) dividesLong(lit []byte) bool {
	s := normalize(lit)
	if s.zero {
		return true
	}
	// x = X * 10^last with X not divisible by ten. If 10^last is the smaller
	// power, X would have to be divisible by ten.
	shift := s.last - m.exp
	if shift < 0 {
		return false
	}
	var r uint64
	left := s.exp - s.last // digits of X
	for i := s.first; left > 0; i++ {
		if lit[i] == '.' {
			continue
		}
		r = mulAddMod(r, 10, uint64(lit[i]-'0'), m.mant)
		left--
	}
	// r * 10^shift, by squaring.
	base := 10 % m.mant
	for ; shift > 0 && r != 0; shift >>= 1 {
		if shift&1 != 0 {
			r = mulAddMod(r, base, 0, m.mant)
		}
		base = mulAddMod(base, base, 0, m.mant)
	}
	return r == 0
}

// mulAddMod is (a*b + c) mod m; a or b is below m.
func mulAddMod(a, b, c, m uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	lo, carry := bits.Add64(lo, c, 0)
	hi += carry
	return bits.Rem64(hi, lo, m)
}
