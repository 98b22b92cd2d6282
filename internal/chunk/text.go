package chunk

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// dictionary finds the code of a text. It is scratch.
type dictionary struct {
	slots  []int32 // code + 1, by hash; a power of two of them
	hashes []uint64
	ends   []int
	bytes  []byte
	remap  []int32
}

const (
	maxDictFast = 1 << 12
	maxDict     = 1 << 16
)

func (d *dictionary) reset() {
	if d.slots == nil {
		d.slots = make([]int32, 256)
	}
	if len(d.slots) > 4096 {
		d.slots = d.slots[:256]
	}
	clear(d.slots)
	d.hashes, d.ends, d.bytes = d.hashes[:0], d.ends[:0], d.bytes[:0]
}

func (d *dictionary) text(code int) []byte {
	start := 0
	if code > 0 {
		start = d.ends[code-1]
	}
	return d.bytes[start:d.ends[code]]
}

// hashText mixes both ends and the length; equal texts are compared in full, so
// a weak hash costs time and never truth.
func hashText(b []byte) uint64 {
	h := uint64(len(b)) * 0x9e3779b97f4a7c15
	switch {
	case len(b) >= 8:
		for i := 0; i+8 < len(b); i += 8 {
			h = bits.RotateLeft64(h^binary.LittleEndian.Uint64(b[i:]), 29) * 0x9e3779b97f4a7c15
		}
		h ^= binary.LittleEndian.Uint64(b[len(b)-8:])
	case len(b) >= 4:
		h ^= uint64(binary.LittleEndian.Uint32(b))<<32 | uint64(binary.LittleEndian.Uint32(b[len(b)-4:]))
	case len(b) > 0:
		h ^= uint64(b[0])<<16 | uint64(b[len(b)/2])<<8 | uint64(b[len(b)-1])
	}
	h *= 0xff51afd7ed558ccd
	return h ^ h>>32
}

// code returns the code of a text, a new one if it is new.
func (d *dictionary) code(b []byte) int {
	h := hashText(b)
	mask := uint64(len(d.slots) - 1)
	i := h & mask
	for ; d.slots[i] != 0; i = (i + 1) & mask {
		c := int(d.slots[i] - 1)
		if d.hashes[c] == h && string(d.text(c)) == string(b) {
			return c
		}
	}
	c := len(d.ends)
	d.bytes = append(d.bytes, b...)
	d.ends = append(d.ends, len(d.bytes))
	d.hashes = append(d.hashes, h)
	d.slots[i] = int32(c + 1)
	if len(d.ends)*2 > len(d.slots) {
		d.grow()
	}
	return c
}

func (d *dictionary) grow() {
	n := len(d.slots) * 2
	if cap(d.slots) >= n {
		d.slots = d.slots[:n]
		clear(d.slots)
	} else {
		d.slots = make([]int32, n)
	}
	mask := uint64(n - 1)
	for c, h := range d.hashes {
		i := h & mask
		for d.slots[i] != 0 {
			i = (i + 1) & mask
		}
		d.slots[i] = int32(c + 1)
	}
}

// appendText appends a body of form 5 where texts repeat, of form 12 where they
// differ in numbers, else of form 6.
func (s *scratch) appendText(dst []byte, v *telemetry.Vector, nulls telemetry.Bitmap, rows int, e effort) []byte {
	if s.codeTexts(v, nulls, rows, e.fast) {
		dst = append(dst, formDict)
		dst = binary.AppendUvarint(dst, uint64(len(s.dict.ends)))
		for c := range s.dict.ends {
			b := s.dict.text(c)
			dst = binary.AppendUvarint(dst, uint64(len(b)))
			dst = append(dst, b...)
		}
		return s.planner.appendStream(dst, s.codes, e.runs, e.fast)
	}
	if !e.fast {
		if out, ok := s.appendTemplate(dst, v, nulls, rows); ok {
			return out
		}
	}
	dst = append(dst, formPlain)
	s.codes = s.codes[:0]
	total := 0
	for i := range rows {
		if nulls.Get(i) {
			continue
		}
		n := textLen(v, i)
		s.codes = append(s.codes, uint64(n))
		total += n
	}
	dst = s.planner.appendStream(dst, s.codes, e.runs, e.fast)
	dst = binary.AppendUvarint(dst, uint64(total))
	if v.Dict == nil && nulls == nil {
		return append(dst, v.Bytes[:total]...)
	}
	for i := range rows {
		if nulls.Get(i) {
			continue
		}
		if v.Dict != nil {
			dst = append(dst, v.Dict[v.Bits[i]]...)
		} else {
			dst = append(dst, v.Text(i)...)
		}
	}
	return dst
}

func textLen(v *telemetry.Vector, i int) int {
	if v.Dict != nil {
		return len(v.Dict[v.Bits[i]])
	}
	if i == 0 {
		return int(v.Ends[0])
	}
	return int(v.Ends[i] - v.Ends[i-1])
}

// codeTexts fills s.dict and s.codes, or returns false where a dictionary does
// not pay. Nulls have no code.
func (s *scratch) codeTexts(v *telemetry.Vector, nulls telemetry.Bitmap, rows int, fast bool) bool {
	d := &s.dict
	d.reset()
	codes := slices.Grow(s.codes[:0], rows)
	limit := maxDict
	if fast {
		limit = maxDictFast
	}
	if v.Dict != nil {
		d.remap = grow(d.remap, len(v.Dict))
		clear(d.remap)
		for i, c := range v.Bits[:rows] {
			if nulls.Get(i) {
				continue
			}
			if d.remap[c] == 0 {
				d.remap[c] = int32(d.code([]byte(v.Dict[c]))) + 1
			}
			codes = append(codes, uint64(d.remap[c]-1))
		}
		s.codes = codes
		return len(d.ends) <= limit
	}
	var prev []byte
	start, last := uint32(0), 0
	for i, end := range v.Ends[:rows] {
		b := v.Bytes[start:end]
		start = end
		if nulls != nil && nulls.Get(i) {
			continue
		}
		if len(d.ends) == 0 || string(b) != string(prev) {
			last = d.code(b)
			prev = b
			if n := len(d.ends); n > limit || n > 64 && n > i/2 {
				s.codes = codes
				return false
			}
		}
		codes = append(codes, uint64(last))
	}
	s.codes = codes
	return true
}
