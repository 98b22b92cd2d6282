package chunk

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// packWidth appends the low width bits of each value less base.
func packWidth(dst []byte, v []uint64, base uint64, width uint) []byte {
	var acc uint64
	var have uint
	for _, x := range v {
		x -= base
		acc |= x << have
		have += width
		if have >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			have -= 64
			acc = x >> (width - have) // 0 where have is 0 and width 64: shifts past the width give 0
		}
	}
	for ; have > 0; have -= min(have, 8) {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// unpackWidth reads len(dst) numbers of width bits; src holds exactly them.
func unpackWidth(dst []uint64, src []byte, width uint) {
	if width > 57 {
		unpackWide(dst, src, width)
		return
	}
	mask := uint64(1)<<width - 1
	i, bit := 0, uint(0)
	if len(src) >= 8 {
		// As many numbers as can be loaded as whole words.
		whole := min(len(dst), int((uint(len(src)-8)*8+7)/width)+1)
		for ; i < whole; i++ {
			dst[i] = binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
			bit += width
		}
	}
	if i < len(dst) {
		var tail [16]byte
		from := bit >> 3
		copy(tail[:], src[from:])
		bit -= from * 8
		for ; i < len(dst); i++ {
			dst[i] = binary.LittleEndian.Uint64(tail[bit>>3&7:]) >> (bit & 7) & mask
			bit += width
		}
	}
}

func unpackWide(dst []uint64, src []byte, width uint) {
	mask := ^uint64(0) >> (64 - width)
	bit := uint(0)
	for i := range dst {
		var word [16]byte
		copy(word[:9], src[bit>>3:])
		lo := binary.LittleEndian.Uint64(word[:]) >> (bit & 7)
		hi := uint64(word[8]) << (64 - bit&7) // past 63 it shifts to 0
		dst[i] = (lo | hi) & mask
		bit += width
	}
}

// radix is how digits below n are packed into words; see docs/format/page.md.
type radix struct {
	n      uint64
	digits int // to a word
	width  int // bits of a word
	power  uint64
	hi, lo uint64 // ceil(2^120 / power)
	short  uint64 // ceil(2^64 / power) where power < 2^32, else 0
}

const maxRadix = 1 << 16

// radixes holds what radixOf computed, so that a group need not again.
var radixes [1024]atomic.Pointer[radix]

// radixOf returns the packing of base n, 3 <= n <= maxRadix.
func radixOf(n uint64) *radix {
	if n < uint64(len(radixes)) {
		if r := radixes[n].Load(); r != nil {
			return r
		}
	}
	best := &radix{n: n}
	power := uint64(1)
	for k := 1; ; k++ {
		over, next := bits.Mul64(power, n)
		if over != 0 || next > 1<<56 {
			break
		}
		power = next
		w := bits.Len64(power - 1)
		if best.digits == 0 || w*best.digits < best.width*k {
			best.digits, best.width, best.power = k, w, power
		}
	}
	// ceil(2^120 / power), by long division of 2^120 = (2^56, 0).
	q1, rem := bits.Div64(0, 1<<56, best.power)
	q0, rem := bits.Div64(rem, 0, best.power)
	if rem != 0 {
		q0++
		if q0 == 0 {
			q1++
		}
	}
	best.hi, best.lo = q1, q0
	if best.power < 1<<32 {
		best.short = ^uint64(0)/best.power + 1
	}
	if n < uint64(len(radixes)) {
		radixes[n].Store(best)
	}
	return best
}

// packDigits appends each value less base, all below n, as digits of base n.
func packDigits(dst []byte, v []uint64, base, n uint64) []byte {
	r := radixOf(n)
	width := uint(r.width)
	var acc uint64
	var have uint
	for len(v) > 0 {
		k := min(r.digits, len(v))
		word := uint64(0)
		for _, x := range v[:k] {
			word = word*n + (x - base)
		}
		for pad := k; pad < r.digits; pad++ {
			word *= n
		}
		v = v[k:]
		acc |= word << have
		have += width
		if have >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			have -= 64
			acc = word >> (width - have)
		}
	}
	for ; have > 0; have -= min(have, 8) {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// unpackDigits reads len(dst) digits; src holds exactly their words. Where table
// is given the digits are replaced by its entries, which saves a pass.
func unpackDigits(dst []uint64, src []byte, r *radix, table *[tableSpan]uint64) error {
	if table != nil {
		return unpackThrough(dst, src, r, table)
	}
	n := r.n
	digits, width := r.digits, uint(r.width)
	mask := uint64(1)<<width - 1
	bit := uint(0)
	var worst uint64
	for len(dst) > 0 {
		word := wordAt(src, bit, mask)
		bit += width
		worst = max(worst, word)
		f := r.fraction(word)
		part := dst[:min(digits, len(dst))]
		for i := range part {
			part[i], f = bits.Mul64(f, n)
		}
		dst = dst[len(part):]
	}
	if worst >= r.power {
		return errRange
	}
	return nil
}

// wordAt loads the bits that a mask leaves, at most 57, from a bit offset on.
func wordAt(src []byte, bit uint, mask uint64) uint64 {
	at := int(bit >> 3)
	if at+8 <= len(src) {
		return binary.LittleEndian.Uint64(src[at:]) >> (bit & 7) & mask
	}
	var tail [8]byte
	copy(tail[:], src[at:])
	return binary.LittleEndian.Uint64(tail[:]) >> (bit & 7) & mask
}

// fraction returns word / power as a fraction of 2^64, a little above the true
// one and less than one digit off; see docs/format/page.md.
func (r *radix) fraction(word uint64) uint64 {
	h, l := bits.Mul64(word, r.lo)
	return ((word*r.hi+h)<<8 | l>>56) + 1
}

func unpackThrough(dst []uint64, src []byte, r *radix, table *[tableSpan]uint64) error {
	n, digits, width := r.n, r.digits, uint(r.width)
	mask := uint64(1)<<width - 1
	bit := uint(0)
	var worst uint64
	if r.short != 0 {
		// Words below 2^32 need one multiplication to become a fraction.
		short := r.short
		if digits == 3 {
			for len(dst) >= 3 && int(bit>>3)+8 <= len(src) {
				word := binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
				bit += width
				worst = max(worst, word)
				d0, f := bits.Mul64(word*short, n)
				d1, f := bits.Mul64(f, n)
				d2, _ := bits.Mul64(f, n)
				dst[0] = table[d0&(tableSpan-1)]
				dst[1] = table[d1&(tableSpan-1)]
				dst[2] = table[d2&(tableSpan-1)]
				dst = dst[3:]
			}
		}
		for len(dst) > 0 {
			word := wordAt(src, bit, mask)
			bit += width
			worst = max(worst, word)
			f := word * short
			part := dst[:min(digits, len(dst))]
			for i := range part {
				var d uint64
				d, f = bits.Mul64(f, n)
				part[i] = table[d&(tableSpan-1)]
			}
			dst = dst[len(part):]
		}
	}
	for len(dst) > 0 {
		word := wordAt(src, bit, mask)
		bit += width
		worst = max(worst, word)
		f := r.fraction(word)
		part := dst[:min(digits, len(dst))]
		for i := range part {
			var d uint64
			d, f = bits.Mul64(f, n)
			part[i] = table[d&(tableSpan-1)]
		}
		dst = dst[len(part):]
	}
	if worst >= r.power {
		return errRange
	}
	return nil
}
