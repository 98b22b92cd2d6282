package schema

import "strconv"

// DecimalFloat is the float64 nearest to ±mant * 10^exp: what a plan makes of a
// number that stands so in a payload, bit for bit.
func DecimalFloat(neg bool, mant uint64, exp int) float64 {
	flags := uint(b2i(neg))
	var lit [48]byte
	b := lit[:0]
	if neg {
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, mant, 10)
	if exp != 0 {
		b = append(b, 'e')
		b = strconv.AppendInt(b, int64(exp), 10)
	}
	return toFloat(mant, exp, flags*numNeg, b)
}

// DecimalText writes the number as JSON does.
func DecimalText(dst []byte, neg bool, mant uint64, exp int) []byte {
	if neg {
		dst = append(dst, '-')
	}
	start := len(dst)
	dst = strconv.AppendUint(dst, mant, 10)
	if exp >= 0 || exp < -40 {
		if exp != 0 {
			dst = append(dst, 'e')
			dst = strconv.AppendInt(dst, int64(exp), 10)
		}
		return dst
	}
	for len(dst)-start <= -exp {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '0'
	}
	point := len(dst) + exp
	dst = append(dst, 0)
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}
