package chunk

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/klauspost/compress/fse"
	"github.com/klauspost/compress/huff0"
)

// Residuals of one byte whose values are unevenly spread, as those of a bell or
// of a slow walk are, take an entropy code: Huffman, or tANS where symbols are
// worth less than two bits and a Huffman code wastes much of each. Both are the
// codes that zstd is made of, without its search for repeats, which finds
// nothing in noise.

// minCodedRows is below what a code's table costs more than it saves.
const minCodedRows = 256

// coder is the state of both codes; its memory is reused.
type coder struct {
	huff huff0.Scratch
	fse  fse.Scratch
	in   []byte
}

var coders = sync.Pool{New: func() any {
	c := &coder{}
	c.huff.Reuse = huff0.ReusePolicyNone
	return c
}}

// skewed reports whether the residuals would take at most 85 % of
// their packed bits in an entropy code, and in which. Decoding one takes three
// times as long, so that less is not worth it.
func (g *planner) skewed(v []uint64, p *piece, packed int) (pack uint8, ok bool) {
	if p.span < 2 || p.span >= 256 || p.rows < minCodedRows {
		return 0, false
	}
	clear(g.counts[:])
	part := v[p.start : p.start+p.rows]
	stride := len(part)/1024 + 1
	samples := 0
	for j := 2; j < len(part); j += stride {
		r := part[j] - uint64(p.base)
		switch p.predictor {
		case predictLinear:
			r -= uint64(j) * uint64(p.step)
		case predictDelta:
			r = part[j] - part[j-1] - uint64(p.step)
		case predictDelta2:
			r = part[j] - 2*part[j-1] + part[j-2] - uint64(p.low)
		case predictSteps:
			r /= uint64(p.step)
		}
		g.counts[byte(r)]++
		samples++
	}
	entropy := 0.0
	symbols := 0
	for _, n := range g.counts {
		if n > 0 {
			symbols++
			share := float64(n) / float64(samples)
			entropy -= share * math.Log2(share)
		}
	}
	cost := entropy*1.01*float64(p.rows) + float64(symbols*5+100)
	pack = packHuffman
	if entropy < 2 {
		pack = packTANS
	}
	return pack, cost < 0.85*float64(packed)
}

// appendCoded appends residuals in an entropy code, after their length; ok is
// false where that would take more than limit bytes.
func appendCoded(dst []byte, part []uint64, base uint64, pack uint8, limit int) (_ []byte, ok bool) {
	c := coders.Get().(*coder)
	defer coders.Put(c)
	c.in = c.in[:0]
	for _, x := range part {
		c.in = append(c.in, byte(x-base))
	}
	var out []byte
	var err error
	if pack == packTANS {
		out, err = fse.Compress(c.in, &c.fse)
	} else {
		out, _, err = huff0.Compress4X(c.in, &c.huff)
	}
	if err != nil || len(out)+2 >= limit {
		return dst, false // incompressible, or one value only
	}
	dst = binary.AppendUvarint(dst, uint64(len(out)))
	return append(dst, out...), true
}

// decodeCoded fills dst from an entropy code.
func decodeCoded(dst []uint64, src []byte, pack uint8) error {
	c := coders.Get().(*coder)
	defer coders.Put(c)
	var out []byte
	if pack == packTANS {
		c.fse.DecompressLimit = len(dst)
		var err error
		if out, err = fse.Decompress(src, &c.fse); err != nil {
			return err
		}
	} else {
		s, rest, err := huff0.ReadTable(src, &c.huff)
		if err != nil {
			return err
		}
		c.in = grow(c.in, len(dst))
		if out, err = s.Decoder().Decompress4X(c.in[:0:len(dst)], rest); err != nil {
			return err
		}
	}
	if len(out) != len(dst) {
		return errRows
	}
	for i, b := range out {
		dst[i] = uint64(b)
	}
	return nil
}
