package schema

import (
	"math"
	"math/big"
	"math/bits"
)

// Powers of ten with 128 bits of mantissa, for the conversion of numbers with
// 16 to 19 digits. Readings lie well within this range; the standard library
// converts what does not.
const (
	leastPower = -48
	mostPower  = 48
)

// powers holds 10^q, its leading bit set and the rest cut off: high word first.
var powers = func() (table [mostPower - leastPower + 1][2]uint64) {
	ten := big.NewInt(10)
	for q := leastPower; q <= mostPower; q++ {
		n := new(big.Int)
		if q >= 0 {
			n.Exp(ten, big.NewInt(int64(q)), nil)
			n.Lsh(n, 128)
		} else {
			n.Quo(n.Lsh(big.NewInt(1), 320), new(big.Int).Exp(ten, big.NewInt(int64(-q)), nil))
		}
		n.Rsh(n, uint(n.BitLen()-128))
		table[q-leastPower][1] = new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
		table[q-leastPower][0] = n.Rsh(n, 64).Uint64()
	}
	return table
}()

// eiselLemire is the float64 nearest to mant * 10^exp; ok is false in the rare
// cases that need more than 128 bits. D. Lemire, Number Parsing at a Gigabyte per
// Second (2021), section 5; the checks are those of the Wuffs and Go libraries.
func eiselLemire(mant uint64, exp int) (f float64, ok bool) {
	if mant == 0 || exp < leastPower || exp > mostPower {
		return 0, false
	}
	pow := &powers[exp-leastPower]
	zeros := bits.LeadingZeros64(mant)
	mant <<= uint(zeros)
	exp2 := uint64(217706*exp>>16+64+1023) - uint64(zeros)

	hi, lo := bits.Mul64(mant, pow[0])
	if hi&0x1FF == 0x1FF && lo+mant < mant {
		// The part that was cut off could carry into the bits that matter.
		yHi, yLo := bits.Mul64(mant, pow[1])
		sum, carry := bits.Add64(lo, yHi, 0)
		hi += carry
		if lo = sum; hi&0x1FF == 0x1FF && lo+1 == 0 && yLo+mant < mant {
			return 0, false
		}
	}
	top := hi >> 63
	m := hi >> (top + 9)
	exp2 -= 1 ^ top
	if lo == 0 && hi&0x1FF == 0 && m&3 == 1 {
		return 0, false // half way between two floats
	}
	m += m & 1
	m >>= 1
	if m>>53 > 0 {
		m >>= 1
		exp2++
	}
	if exp2-1 >= 0x7FF-1 {
		return 0, false // subnormal, or too large
	}
	return math.Float64frombits(exp2<<52 | m&(1<<52-1)), true
}
