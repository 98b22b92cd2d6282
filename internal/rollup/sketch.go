package rollup

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// MaxBins is how many bins a sketch keeps on each side of zero.
const MaxBins = 2048

const (
	binShift = 46 // of the bits of a float64: what is left are exponent and six bits of the mantissa
	endIndex = 0x7ff0 << 48 >> binShift
)

// Sketch is a DDSketch with relative accuracy 1/128. It depends on the set of
// its values alone, not on their order. The zero value is empty.
type Sketch struct {
	n                       uint64
	zeros, posInfs, negInfs uint64
	pos, neg                bins
	min, max                float64
}

// bins are counts by index, from base on.
type bins struct {
	base, top int // index of counts[0], and of the highest bin that is used
	counts    []uint64
}

// Add counts a value. NaN is no value.
func (s *Sketch) Add(x float64) {
	if x != x {
		return
	}
	s.widen(x, x)
	s.n++
	switch {
	case x == 0:
		s.zeros++
	case math.IsInf(x, 1):
		s.posInfs++
	case math.IsInf(x, -1):
		s.negInfs++
	case x > 0:
		s.pos.add(int(math.Float64bits(x)>>binShift), 1)
	default:
		s.neg.add(int(math.Float64bits(-x)>>binShift), 1)
	}
}

func (s *Sketch) widen(lo, hi float64) {
	if s.n == 0 {
		s.min, s.max = lo, hi
		return
	}
	s.min, s.max = min(s.min, lo), max(s.max, hi)
}

// add counts n values in the bin i, or in the lowest that is kept.
func (b *bins) add(i int, n uint64) {
	if len(b.counts) == 0 {
		b.counts = append(b.counts, n)
		b.base, b.top = i, i
		return
	}
	if i > b.top {
		b.raise(i)
	}
	i = max(i, b.top-MaxBins+1)
	if i < b.base {
		b.lower(i)
	}
	b.counts[i-b.base] += n
}

// raise makes i the highest bin. Bins too far below it are added to the lowest
// that is kept.
func (b *bins) raise(i int) {
	b.top = i
	floor := i - MaxBins + 1
	if floor > b.base {
		k := min(floor-b.base, len(b.counts))
		var low uint64
		for _, n := range b.counts[:k] {
			low += n
		}
		rest := copy(b.counts, b.counts[k:])
		b.counts, b.base = b.counts[:rest], floor
		if rest == 0 {
			b.counts = append(b.counts, 0)
		}
		b.counts[0] += low
	}
	if more := i - b.base + 1 - len(b.counts); more > 0 {
		b.counts = slices.Grow(b.counts, more)
		old := len(b.counts)
		b.counts = b.counts[:old+more]
		clear(b.counts[old:])
	}
}

// lower makes i the lowest bin that has room.
func (b *bins) lower(i int) {
	// Half as much room again, because the next one is often lower still.
	floor := max(0, b.top-MaxBins+1, i-(b.base-i)/2)
	more := b.base - floor
	b.counts = slices.Insert(b.counts, 0, make([]uint64, more)...)
	b.base = floor
}

// Merge adds the values of o.
func (s *Sketch) Merge(o *Sketch) {
	if o.n == 0 {
		return
	}
	s.widen(o.min, o.max)
	s.n += o.n
	s.zeros += o.zeros
	s.posInfs += o.posInfs
	s.negInfs += o.negInfs
	s.pos.merge(&o.pos)
	s.neg.merge(&o.neg)
}

func (b *bins) merge(o *bins) {
	for i := len(o.counts) - 1; i >= 0; i-- { // from the top, so that nothing moves twice
		if n := o.counts[i]; n > 0 {
			b.add(o.base+i, n)
		}
	}
}

// Count returns how many values the sketch holds.
func (s *Sketch) Count() uint64 { return s.n }

// SizeBytes returns about how much memory the sketch holds.
func (s *Sketch) SizeBytes() int { return 160 + 8*(cap(s.pos.counts)+cap(s.neg.counts)) }

// Reset empties the sketch and keeps its memory.
func (s *Sketch) Reset() {
	*s = Sketch{pos: bins{counts: s.pos.counts[:0]}, neg: bins{counts: s.neg.counts[:0]}}
}

// Quantile returns the value of rank floor(p * (n-1)), for p from 0 to 1, or
// false where the sketch is empty.
func (s *Sketch) Quantile(p float64) (float64, bool) {
	if s.n == 0 {
		return 0, false
	}
	p = min(max(p, 0), 1)
	// Float64 rounds ranks of more than 2^53 values; the last is exact.
	rank := min(uint64(math.Floor(p*float64(s.n-1))), s.n-1)
	switch {
	case rank == 0 && p < 1 || s.n == 1:
		return s.min, true
	case rank == s.n-1 || p == 1:
		return s.max, true
	}
	return min(max(s.at(rank), s.min), s.max), true
}

// at returns what stands for the value of a rank, counted from 0.
func (s *Sketch) at(rank uint64) float64 {
	if rank < s.negInfs {
		return math.Inf(-1)
	}
	rank -= s.negInfs
	for i := len(s.neg.counts) - 1; i >= 0; i-- {
		if n := s.neg.counts[i]; rank < n {
			return -middle(s.neg.base + i)
		} else {
			rank -= n
		}
	}
	if rank < s.zeros {
		return 0
	}
	rank -= s.zeros
	for i, n := range s.pos.counts {
		if rank < n {
			return middle(s.pos.base + i)
		}
		rank -= n
	}
	return math.Inf(1)
}

// middle is the middle of a bin.
func middle(i int) float64 { return math.Float64frombits(uint64(i)<<binShift | 1<<(binShift-1)) }

const (
	flagPos = 1 << iota
	flagNeg
	flagZeros
	flagPosInfs
	flagNegInfs
)

// Append appends the encoded sketch, without its minimum and maximum.
func (s *Sketch) Append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0)
	counter := func(flag byte, n uint64) {
		if n > 0 {
			dst[at] |= flag
			dst = binary.AppendUvarint(dst, n)
		}
	}
	counter(flagZeros, s.zeros)
	counter(flagPosInfs, s.posInfs)
	counter(flagNegInfs, s.negInfs)
	if used := s.pos.used(); used > 0 {
		dst[at] |= flagPos
		dst = s.pos.append(dst, used)
	}
	if used := s.neg.used(); used > 0 {
		dst[at] |= flagNeg
		dst = s.neg.append(dst, used)
	}
	return dst
}

func (b *bins) used() (n int) {
	for _, c := range b.counts {
		if c > 0 {
			n++
		}
	}
	return n
}

func (b *bins) append(dst []byte, used int) []byte {
	dst = binary.AppendUvarint(dst, uint64(used))
	before := 0
	for i, n := range b.counts {
		if n > 0 {
			dst = binary.AppendUvarint(dst, uint64(b.base+i-before)) // the first counts from 0
			dst = binary.AppendUvarint(dst, n)
			before = b.base + i
		}
	}
	return dst
}

// MergeEncoded adds an encoded sketch whose values lie between lo and hi.
func (s *Sketch) MergeEncoded(data []byte, lo, hi float64) error {
	r := sketchReader{b: data}
	flags := r.byte()
	if flags >= flagNegInfs<<1 {
		r.bad = true
	}
	var o Sketch
	for _, c := range []struct {
		flag byte
		n    *uint64
	}{{flagZeros, &o.zeros}, {flagPosInfs, &o.posInfs}, {flagNegInfs, &o.negInfs}} {
		if flags&c.flag != 0 {
			*c.n = r.count(&o)
		}
	}
	if flags&flagPos != 0 {
		r.bins(&o.pos, &o)
	}
	if flags&flagNeg != 0 {
		r.bins(&o.neg, &o)
	}
	if r.bad || len(r.b) > 0 || o.n == 0 || !(lo <= hi) {
		return telemetry.Errorf(telemetry.CodeDamaged, "read sketch", "the encoding breaks its rules")
	}
	o.min, o.max = lo, hi
	s.Merge(&o)
	return nil
}

// sketchReader reads an encoded sketch; bad is kept until the end.
type sketchReader struct {
	b   []byte
	bad bool
}

func (r *sketchReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *sketchReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a count and adds it to those of the sketch.
func (r *sketchReader) count(s *Sketch) uint64 {
	n := r.uvarint()
	if n == 0 || n > 1<<62 || s.n > 1<<62 {
		r.bad = true
		return 0
	}
	s.n += n
	return n
}

func (r *sketchReader) bins(b *bins, s *Sketch) {
	used, at := r.uvarint(), uint64(0)
	if used == 0 || used > MaxBins {
		r.bad = true
		return
	}
	for i := range used {
		gap := r.uvarint()
		if i > 0 && gap == 0 || gap >= endIndex || at+gap >= endIndex || i > 0 && at+gap-uint64(b.base) >= MaxBins {
			r.bad = true
		}
		n := r.count(s)
		if r.bad {
			return
		}
		at += gap
		b.add(int(at), n)
	}
}
