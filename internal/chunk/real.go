package chunk

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Reals that are no decimals: results of arithmetic, converted readings. Their
// low bits are noise and are stored as they are; what can be had is in the high
// bits, in what neighbours share, and in values that come again. The idea of
// parting high and low bits is that of ALP-RD (Afroozeh, Kuffo, Boncz: SIGMOD
// 2024), here with an entropy code for the high part; that of the exclusive or
// with the value before is Gorilla's (Pelkonen and others: VLDB 2015), here by
// bytes.

const (
	realSample  = 1024 // rows that forms are tried with
	maxDistinct = 4096
)

// appendReals appends a body of form 4, 9, 10 or 11, whichever a stretch from the
// middle is smallest in. e.fast takes form 4, which costs no search.
func (s *scratch) appendReals(dst []byte, v []uint64, e effort) []byte {
	if e.fast || len(v) < minCodedRows {
		return s.appendShifted(dst, v, e)
	}
	if out, ok := s.appendDistinct(dst, v, e); ok {
		return out
	}
	sample, se := v, effort{}
	if len(v) > realSample {
		from := (len(v) - realSample) / 2
		sample = v[from : from+realSample]
	}
	from := len(dst)
	size := func(out []byte) int {
		dst = out[:from]
		return len(out) - from
	}
	best, least := 0, size(s.appendShifted(dst, sample, se))
	tries := splits(v)
	for i, try := range tries {
		if n := size(s.appendSplit(dst, sample, try, se)); n < least-least/64 {
			best, least = 1+i, n
		}
	}
	if n := size(s.appendXOR(dst, sample, se)); n < least-least/64 {
		return s.appendXOR(dst, v, e)
	}
	if best > 0 {
		return s.appendSplit(dst, v, tries[best-1], e)
	}
	return s.appendShifted(dst, v, e)
}

// trailing returns how many low bits are 0 in all values.
func trailing(v []uint64) uint {
	var all uint64
	for _, x := range v {
		all |= x
	}
	return uint(min(bits.TrailingZeros64(all), 63))
}

func (s *scratch) appendShifted(dst []byte, v []uint64, e effort) []byte {
	shift := trailing(v)
	s.ints = s.ints[:0]
	for _, x := range v {
		s.ints = append(s.ints, x>>shift)
	}
	return s.planner.appendStream(append(dst, formShifted, byte(shift)), s.ints, e.runs, e.fast)
}

// splits proposes how many low bits to part: so that the high parts fit a byte,
// which the entropy codes take.
func splits(v []uint64) []uint {
	shift := trailing(v)
	lo, hi := v[0]>>shift, v[0]>>shift
	for _, x := range v {
		lo, hi = min(lo, x>>shift), max(hi, x>>shift)
	}
	var out []uint
	for _, high := range [...]int{8, 6} {
		if w := bits.Len64(hi-lo) - high; w > 0 {
			out = append(out, uint(w))
		}
	}
	return out
}

// appendSplit appends a body of form 9.
func (s *scratch) appendSplit(dst []byte, v []uint64, width uint, e effort) []byte {
	shift := trailing(v)
	s.ints, s.codes = s.ints[:0], s.codes[:0]
	mask := uint64(1)<<width - 1
	for _, x := range v {
		x >>= shift
		s.ints, s.codes = append(s.ints, x>>width), append(s.codes, x&mask)
	}
	dst = s.planner.appendStream(append(dst, formSplit, byte(shift), byte(width)), s.ints, e.runs, e.fast)
	return packWidth(dst, s.codes, 0, width)
}

func decodeSplit(v *telemetry.Vector, r *reader, rows int) error {
	shift, width := r.byte(), uint(r.byte())
	if r.err != nil {
		return r.err
	}
	if shift > 63 || width == 0 || width > 63 {
		return errRange
	}
	v.Bits = grow(v.Bits, rows)
	r.stream(v.Bits)
	low := r.bytes((rows*int(width) + 7) / 8)
	if r.err != nil {
		return r.err
	}
	s := wholes.Get().(*wholeScratch)
	defer wholes.Put(s)
	s.a = grow(s.a, rows)
	unpackWidth(s.a, low, width)
	for i, x := range s.a {
		v.Bits[i] = (v.Bits[i]<<width | x) << shift
	}
	return nil
}

// appendXOR appends a body of form 10: of each value's exclusive or with the one
// before the bytes between the zero bytes at both ends. The code is 0 where
// nothing differs, else 1 + 8 * zero bytes at the low end + bytes - 1.
func (s *scratch) appendXOR(dst []byte, v []uint64, e effort) []byte {
	s.codes, s.part = s.codes[:0], s.part[:0]
	last := uint64(0)
	for _, x := range v {
		d := x ^ last
		last = x
		if d == 0 {
			s.codes = append(s.codes, 0)
			continue
		}
		low := bits.TrailingZeros64(d) / 8
		d >>= 8 * low
		n := (bits.Len64(d) + 7) / 8
		s.codes = append(s.codes, uint64(8*low+n))
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], d)
		s.part = append(s.part, word[:n]...)
	}
	dst = s.planner.appendStream(append(dst, formXOR), s.codes, e.runs, e.fast)
	dst = binary.AppendUvarint(dst, uint64(len(s.part)))
	return append(dst, s.part...)
}

func decodeXOR(v *telemetry.Vector, r *reader, rows int) error {
	v.Bits = grow(v.Bits, rows)
	r.stream(v.Bits)
	data := r.bytes(r.size(len(r.b)))
	if r.err != nil {
		return r.err
	}
	last := uint64(0)
	for i, code := range v.Bits {
		if code != 0 {
			if code > 64 {
				return errRange
			}
			low, n := int(code-1)/8, int(code-1)%8+1
			if low+n > 8 || n > len(data) {
				return errRange
			}
			var d uint64
			if len(data) >= 8 {
				d = binary.LittleEndian.Uint64(data) & (^uint64(0) >> (64 - 8*n))
			} else {
				var word [8]byte
				copy(word[:], data[:n])
				d = binary.LittleEndian.Uint64(word[:])
			}
			data = data[n:]
			last ^= d << (8 * low)
		}
		v.Bits[i] = last
	}
	if len(data) != 0 {
		return errTrailing
	}
	return nil
}

// appendDistinct appends a body of form 11 where few distinct values come again
// and again; ok is false where it does not pay.
func (s *scratch) appendDistinct(dst []byte, v []uint64, e effort) (_ []byte, ok bool) {
	d := &s.distinct
	limit := min(len(v)/8, maxDistinct)
	// The first rows mostly show that values are new each time.
	if d.fill(v[:min(len(v), 256)], 64) > 64 || d.fill(v, limit) > limit {
		return dst, false
	}
	s.series = append(s.series[:0], d.values...)
	slices.Sort(s.series)
	for i, x := range s.series {
		d.setCode(x, i)
	}
	s.codes = s.codes[:0]
	for _, x := range v {
		s.codes = append(s.codes, uint64(d.code(x)))
	}
	dst = binary.AppendUvarint(append(dst, formDistinct), uint64(len(s.series)))
	dst = s.planner.appendStream(dst, s.series, nil, e.fast)
	return s.planner.appendStream(dst, s.codes, e.runs, e.fast), true
}

func decodeDistinct(v *telemetry.Vector, r *reader, rows int) error {
	n := r.size(rows)
	s := wholes.Get().(*wholeScratch)
	defer wholes.Put(s)
	s.b = grow(s.b, n)
	r.stream(s.b)
	values := s.b
	v.Bits = grow(v.Bits, rows)
	r.stream(v.Bits)
	if r.err != nil {
		return r.err
	}
	for i, code := range v.Bits {
		if code >= uint64(len(values)) {
			return errRange
		}
		v.Bits[i] = values[code]
	}
	return nil
}

// distinctSet numbers distinct words. It is scratch.
type distinctSet struct {
	slots  []int32 // code + 1, by hash
	values []uint64
	codes  []int32 // of values, in the order that setCode gave
}

// fill takes the values, until there are more than limit distinct ones, and
// returns how many there are.
func (d *distinctSet) fill(v []uint64, limit int) int {
	d.slots = grow(d.slots, 4*maxDistinct)
	clear(d.slots)
	d.values = d.values[:0]
	var last uint64
	for i, x := range v {
		if i > 0 && x == last {
			continue
		}
		last = x
		if at := d.find(x); d.slots[at] == 0 {
			if len(d.values) > limit {
				break
			}
			d.values = append(d.values, x)
			d.slots[at] = int32(len(d.values))
		}
	}
	d.codes = grow(d.codes, len(d.values))
	return len(d.values)
}

func (d *distinctSet) find(x uint64) uint64 {
	mask := uint64(len(d.slots) - 1)
	at := (x * 0x9e3779b97f4a7c15) >> 32 & mask
	for d.slots[at] != 0 && d.values[d.slots[at]-1] != x {
		at = (at + 1) & mask
	}
	return at
}

func (d *distinctSet) setCode(x uint64, code int) { d.codes[d.slots[d.find(x)]-1] = int32(code) }
func (d *distinctSet) code(x uint64) int32        { return d.codes[d.slots[d.find(x)]-1] }
