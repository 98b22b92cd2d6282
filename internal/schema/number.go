package schema

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unsafe"
)

// Flags of a scanned number.
const (
	numNeg   uint = 1 << iota
	numTrunc      // a digit other than 0 stands after the 19 that the mantissa holds
	numBad        // not a number by RFC 8259 section 6; end is where it goes wrong
)

const (
	swarHigh  = 0x8080808080808080
	swarOnes  = 0x0101010101010101
	swarZeros = 0x3030303030303030 // '0' in every byte
	swarDigit = 0x7676767676767676 // carries a byte above 9 into its high bit
)

// maxExponent bounds what the exponent of a number counts to: far outside of
// every float64, far inside of an int.
const maxExponent = 1 << 30

var pow10f = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

var pow10u = [...]uint64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// eightDigits turns eight digit values, the first in the lowest byte, into their
// number.
func eightDigits(t uint64) uint64 {
	t = t * 2561 >> 8 & 0x00FF00FF00FF00FF
	t = t * 6553601 >> 16 & 0x0000FFFF0000FFFF
	return t * 42949672960001 >> 32
}

// scanNumber reads the number that starts at pos: its value is mant * 10^exp,
// exactly unless numTrunc is set. What follows the number at end is the
// caller's to judge.
//
// Numbers of up to eight characters with a fraction, and of up to fifteen digits
// without, are read by eight bytes at a time.
func scanNumber(p []byte, pos int) (mant uint64, exp, end int, flags uint) {
	i := pos
	if i < len(p) && p[i] == '-' {
		flags = numNeg
		i++
	}
	if uint(i)+8 > uint(len(p)) {
		return scanNumberSlow(p, i, flags)
	}
	w := binary.LittleEndian.Uint64(p[i:])
	t := w ^ swarZeros
	nd := ((t + swarDigit) | t) & swarHigh
	if nd == 0 {
		// Eight digits: up to seven more, then the end.
		if uint(i)+16 > uint(len(p)) || byte(w) == '0' {
			return scanNumberSlow(p, i, flags)
		}
		w2 := binary.LittleEndian.Uint64(p[i+8:])
		t2 := w2 ^ swarZeros
		nd2 := ((t2 + swarDigit) | t2) & swarHigh
		if nd2 == 0 {
			return scanNumberSlow(p, i, flags)
		}
		n := bits.TrailingZeros64(nd2) >> 3
		c := byte(w2 >> (n * 8))
		if c == '.' || c|0x20 == 'e' {
			return scanNumberSlow(p, i, flags)
		}
		mant = eightDigits(t)
		if n > 0 {
			mant = mant*pow10u[n] + eightDigits(t2<<((8-n)*8))
		}
		return mant, 0, i + 8 + n, flags
	}
	n := bits.TrailingZeros64(nd) >> 3
	if n == 0 || (n > 1 && byte(w) == '0') {
		return scanNumberSlow(p, i, flags)
	}
	c := byte(w >> (n * 8))
	if c == '.' {
		nd &= nd - 1
		if nd == 0 {
			return scanNumberSlow(p, i, flags)
		}
		e := bits.TrailingZeros64(nd) >> 3
		f := e - n - 1
		if c := byte(w >> (e * 8)); f == 0 || c|0x20 == 'e' {
			return scanNumberSlow(p, i, flags)
		}
		// Close the gap of the point, then push out what follows the number.
		d := t&(1<<(n*8)-1) | t>>((n+1)*8)<<(n*8)
		return eightDigits(d << ((8 - n - f) * 8)), -f, i + e, flags
	}
	if c|0x20 == 'e' {
		return scanNumberSlow(p, i, flags)
	}
	return eightDigits(t << ((8 - n) * 8)), 0, i + n, flags
}

// scanNumberSlow reads any number byte by byte, from after its sign.
func scanNumberSlow(p []byte, i int, flags uint) (mant uint64, exp, end int, _ uint) {
	digits := 0
	start := i
	for ; i < len(p) && isDigit(p[i]); i++ {
		if digits < 19 {
			mant = mant*10 + uint64(p[i]-'0')
			if mant != 0 {
				digits++
			}
		} else {
			exp++
			if p[i] != '0' {
				flags |= numTrunc
			}
		}
	}
	if i == start {
		return 0, 0, i, flags | numBad
	}
	if p[start] == '0' && i > start+1 {
		return 0, 0, start + 1, flags | numBad
	}
	if i < len(p) && p[i] == '.' {
		i++
		start = i
		for uint(i)+8 <= uint(len(p)) && mant != 0 && digits <= 11 {
			t := binary.LittleEndian.Uint64(p[i:]) ^ swarZeros
			if ((t+swarDigit)|t)&swarHigh != 0 {
				break
			}
			mant = mant*100_000_000 + eightDigits(t)
			digits, exp, i = digits+8, exp-8, i+8
		}
		for ; i < len(p) && isDigit(p[i]); i++ {
			if digits < 19 {
				mant = mant*10 + uint64(p[i]-'0')
				exp--
				if mant != 0 {
					digits++
				}
			} else if p[i] != '0' {
				flags |= numTrunc
			}
		}
		if i == start {
			return 0, 0, i, flags | numBad
		}
	}
	if i < len(p) && p[i]|0x20 == 'e' {
		i++
		neg := false
		if i < len(p) && (p[i] == '+' || p[i] == '-') {
			neg = p[i] == '-'
			i++
		}
		start = i
		e := 0
		for ; i < len(p) && isDigit(p[i]); i++ {
			if e < maxExponent/16 {
				e = e*10 + int(p[i]-'0')
			}
		}
		if i == start {
			return 0, 0, i, flags | numBad
		}
		if neg {
			e = -e
		}
		exp += e
	}
	if mant == 0 {
		exp = 0
	}
	return mant, exp, i, flags
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// toFloat is the float64 nearest to a scanned number, ties to even, bit for bit
// what strconv.ParseFloat gives: ±Inf where it overflows.
func toFloat(mant uint64, exp int, flags uint, lit []byte) float64 {
	if mant < 1<<53 && flags&numTrunc == 0 {
		// Clinger: both operands are exact, so that the one operation rounds.
		f := float64(int64(mant)) // one instruction, unlike from uint64
		switch {
		case exp == 0:
		case exp < 0 && exp >= -22:
			f /= pow10f[-exp]
		case exp > 0 && exp <= 22:
			f *= pow10f[exp]
		default:
			return parseFloat(mant, exp, flags, lit)
		}
		if flags&numNeg != 0 {
			f = -f
		}
		return f
	}
	return parseFloat(mant, exp, flags, lit)
}

func parseFloat(mant uint64, exp int, flags uint, lit []byte) float64 {
	if f, ok := eiselLemire(mant, exp); ok {
		// Digits beyond the mantissa matter only if the next one rounds otherwise.
		if flags&numTrunc != 0 {
			g, also := eiselLemire(mant+1, exp)
			ok = also && f == g
		}
		if ok {
			if flags&numNeg != 0 {
				f = -f
			}
			return f
		}
	}
	// strconv allocates an error for an overflow; the obvious ones need none.
	if mant != 0 && exp > 310 {
		if lit[0] == '-' {
			return math.Inf(-1)
		}
		return math.Inf(1)
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(lit), len(lit)), 64)
	if err != nil && !math.IsInf(f, 0) {
		return math.NaN() // unreachable: lit is a number
	}
	return f
}

// isInteger reports whether a scanned number is an integer, as 1.0 and 1e2 are.
func isInteger(mant uint64, exp int, flags uint, lit []byte) bool {
	if flags&numTrunc != 0 {
		d := normalize(lit)
		return d.last >= 0
	}
	if exp >= 0 || mant == 0 {
		return true
	}
	for exp < 0 && mant%10 == 0 {
		mant /= 10
		exp++
	}
	return exp >= 0
}

// toInt is the int64 of a scanned number that is an integer; ok is false where
// int64 cannot hold it.
func toInt(mant uint64, exp int, flags uint) (v int64, ok bool) {
	if flags&numTrunc != 0 {
		return 0, false // at least 10^19
	}
	for ; exp < 0 && mant != 0; exp++ {
		mant /= 10
	}
	for ; exp > 0 && mant != 0; exp-- {
		hi, lo := bits.Mul64(mant, 10)
		if hi != 0 {
			return 0, false
		}
		mant = lo
	}
	if flags&numNeg != 0 {
		if mant > 1<<63 {
			return 0, false
		}
		return -int64(mant), true
	}
	if mant > math.MaxInt64 {
		return 0, false
	}
	return int64(mant), true
}
