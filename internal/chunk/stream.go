package chunk

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"unsafe"
)

// An integer stream is groups of numbers, each with its own predictor and
// packing; docs/format/page.md has the layout.
const (
	predictFlat   = 0
	predictLinear = 1
	predictDelta  = 2
	predictDelta2 = 3 // differences of differences
	predictSteps  = 4 // multiples of a step above the least value

	packNone    = 0
	packBits    = 1
	packRadix   = 2
	packHuffman = 3
	packTANS    = 4
)

// The errors of the inner decoders say what is wrong; the callers add where.
var (
	errShort    = errors.New("ends in the middle of a field")
	errRows     = errors.New("the groups do not hold the rows that the header promises")
	errKind     = errors.New("an encoding that this version does not know")
	errRange    = errors.New("a value is out of its range")
	errTrailing = errors.New("bytes follow the last field")
	errLimit    = errors.New("a length exceeds the limits of the format")
	errChecksum = errors.New("checksum mismatch")
)

// Row counts that steer the grouping. A group header takes about six bytes.
const (
	pieceRows    = 1024 // a group is chosen for at most so many rows at first; equal neighbours then join
	minRunPiece  = 64   // shorter runs share a group
	minRadixRows = 32   // below, a radix gains less than its header costs
	rowsPerBreak = 24   // a stretch this long deserves a group of its own as a progression
)

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func appendVarint(dst []byte, v int64) []byte { return binary.AppendUvarint(dst, zigzag(v)) }

// asBits sees times as the unsigned words that streams work on. Both types have
// one size and representation, and a copy of every column would show.
func asBits(v []int64) []uint64 {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&v[0])), len(v))
}

// piece is a group under construction.
type piece struct {
	start, rows int
	min, max    int64 // of the values
	dmin, dmax  int64 // of the differences, where rows > 1
	predictor   uint8
	base, step  int64
	low         int64  // least difference of differences
	span        uint64 // greatest residual
}

// packing returns the packing of count residuals up to span, its parameter, and
// its bits.
func packing(span uint64, count int, fast bool) (pack uint8, param uint64, cost int) {
	if span == 0 || count == 0 {
		return packNone, 0, 0
	}
	width := bits.Len64(span)
	cost = width * count
	if !fast && span >= 2 && span < 1<<16 && count >= minRadixRows && span+1 != 1<<width {
		r := radixOf(span + 1)
		c := (count + r.digits - 1) / r.digits * r.width
		if c+16 < cost-cost/64 {
			return packRadix, span + 1, c
		}
	}
	return packBits, uint64(width), cost
}

// groupHeaderBits is about what a group costs before its payload.
const groupHeaderBits = 48

// choose fixes the piece's predictor and returns its cost in bits. line allows
// the searches for a straight line and for a slope that changes, which read the
// values once more.
func (p *piece) choose(v []uint64, fast, line bool) int {
	p.predictor, p.base, p.step, p.span = predictFlat, p.min, 0, uint64(p.max)-uint64(p.min)
	if p.rows > 1 && p.span != 0 {
		if p.dmin == p.dmax {
			p.predictor, p.base, p.step, p.span = predictLinear, int64(v[p.start]), p.dmin, 0
			return groupHeaderBits + 8
		}
		if dspan := uint64(p.dmax) - uint64(p.dmin); bits.Len64(dspan) < bits.Len64(p.span) {
			flat := p.span
			p.predictor, p.base, p.step, p.span = predictDelta, int64(v[p.start]), p.dmin, dspan
			if line && p.rows >= 8 {
				p.tryLinear(v, dspan, flat)
				p.tryDelta2(v)
			}
		} else if !fast && p.span > 1 && p.rows >= 8 {
			p.trySteps(v)
		}
	}
	_, _, cost := packing(p.span, p.rows, fast)
	return cost + groupHeaderBits
}

// tryLinear takes the straight line through the first and the last value where
// the residuals from it are no wider than the differences: it decodes without
// waiting for the neighbour, and jitter around a regular step does not add up.
func (p *piece) tryLinear(v []uint64, dspan, flat uint64) {
	part := v[p.start : p.start+p.rows]
	first := part[0]
	step := int64(part[len(part)-1]-first) / int64(len(part)-1)
	var lo, hi int64
	at := first
	for _, x := range part {
		d := int64(x - at)
		lo, hi = min(lo, d), max(hi, d)
		at += uint64(step)
	}
	span := uint64(hi) - uint64(lo)
	if bits.Len64(span) <= bits.Len64(dspan) && span < flat {
		p.predictor, p.base, p.step, p.span = predictLinear, int64(first+uint64(lo)), step, span
	}
}

// tryDelta2 takes differences of differences where they are narrower: ramps whose
// slope changes slowly, totals of something that varies.
func (p *piece) tryDelta2(v []uint64) {
	if p.span == 0 {
		return
	}
	part := v[p.start : p.start+p.rows]
	d := part[1] - part[0]
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for i := 2; i < len(part); i++ {
		next := part[i] - part[i-1]
		dd := int64(next - d)
		lo, hi, d = min(lo, dd), max(hi, dd), next
	}
	if span := uint64(hi) - uint64(lo); bits.Len64(span) < bits.Len64(p.span) {
		p.predictor, p.base, p.step, p.low, p.span = predictDelta2, int64(part[0]), int64(part[1]-part[0]), lo, span
	}
}

// trySteps finds what all distances from the least value are multiples of: a
// sensor's resolution, or the distance of two values, which then take a bit each.
// Noise has no such step, and shows it within a few rows.
func (p *piece) trySteps(v []uint64) {
	step := uint64(0)
	for _, x := range v[p.start : p.start+p.rows] {
		for x -= uint64(p.min); x != 0; {
			step, x = x, step%x
		}
		if step == 1 {
			return
		}
	}
	if step > 1 {
		p.predictor, p.step, p.span = predictSteps, int64(step), p.span/step
	}
}

// measure fills the piece's ranges.
func (p *piece) measure(v []uint64) (breaks int) {
	part := v[p.start : p.start+p.rows]
	prev := int64(part[0])
	lo, hi := prev, prev
	if len(part) == 1 {
		p.min, p.max, p.dmin, p.dmax = lo, hi, 0, 0
		return 0
	}
	pd := int64(part[1]) - prev
	dlo, dhi := pd, pd
	for _, u := range part[1:] {
		x := int64(u)
		d := x - prev
		if d != pd {
			breaks++
		}
		lo, hi = min(lo, x), max(hi, x)
		dlo, dhi = min(dlo, d), max(dhi, d)
		prev, pd = x, d
	}
	p.min, p.max, p.dmin, p.dmax = lo, hi, dlo, dhi
	return breaks
}

// measureFast is measure, but gives up on differences where the first rows show
// that they are noise: then one group by the range is what a frame gets.
func (p *piece) measureFast(v []uint64) (breaks int) {
	const look = 64
	if p.rows < 2*look {
		return p.measure(v)
	}
	head := piece{start: p.start, rows: look}
	if head.measure(v) < look/2 {
		return p.measure(v)
	}
	lo, hi := head.min, head.max
	for _, u := range v[p.start+look : p.start+p.rows] {
		x := int64(u)
		lo, hi = min(lo, x), max(hi, x)
	}
	p.min, p.max = lo, hi
	p.dmin, p.dmax = math.MinInt64, math.MaxInt64 // no difference pays
	return p.rows
}

// planner groups a stream. It is scratch: its memory is reused.
type planner struct {
	pieces []piece
	scrap  []uint64
	counts [256]uint32
	inner  *planner // of the streams that a stream is made of
	lists  [2][]uint64
	shared []uint64
}

// plan cuts v into groups. runs are the ends of the series runs, or nil; fast
// leaves out what costs time.
func (g *planner) plan(v []uint64, runs []int32, fast bool) {
	g.pieces = g.pieces[:0]
	size := pieceRows
	if fast {
		size = 4 * pieceRows
	}
	start, run := 0, 0
	for start < len(v) {
		end := len(v)
		for run < len(runs) && int(runs[run])-start < minRunPiece {
			run++
		}
		if run < len(runs) {
			end = int(runs[run])
		}
		if end-start > size+size/2 {
			end = start + size
		}
		g.add(v, start, end-start, fast)
		start = end
	}
}

// add plans the groups of one stretch and joins the first with its neighbour.
func (g *planner) add(v []uint64, start, rows int, fast bool) {
	p := piece{start: start, rows: rows}
	measure := p.measure
	if fast {
		measure = p.measureFast
	}
	breaks := measure(v)
	if p.dmin != p.dmax && breaks*rowsPerBreak/2 < rows && breaks > 0 {
		g.progressions(v, start, rows, fast)
		return
	}
	g.join(v, p, fast)
}

// progressions cuts a stretch where its step changes.
func (g *planner) progressions(v []uint64, start, rows int, fast bool) {
	end := start + rows
	for start < end {
		at := start + 1
		if at < end {
			step := v[at] - v[start]
			for at++; at < end && v[at]-v[at-1] == step; at++ {
			}
			// A step of constants ends one row early, at the jump to the next:
			// a pair alone is no progression where the next two rows are equal.
			if at-start == 2 && at < end && step != 0 && at+1 <= end && v[at] == v[at-1] {
				at--
			}
		}
		p := piece{start: start, rows: at - start}
		p.measure(v)
		g.join(v, p, fast)
		start = at
	}
}

// join appends p, or widens the last group where one group for both is cheaper.
func (g *planner) join(v []uint64, p piece, fast bool) {
	cost := p.choose(v, fast, !fast)
	if n := len(g.pieces); n > 0 {
		q := &g.pieces[n-1]
		m := piece{start: q.start, rows: q.rows + p.rows, min: min(q.min, p.min), max: max(q.max, p.max)}
		d := int64(v[p.start] - v[p.start-1])
		m.dmin, m.dmax = d, d
		if q.rows > 1 {
			m.dmin, m.dmax = min(m.dmin, q.dmin), max(m.dmax, q.dmax)
		}
		if p.rows > 1 {
			m.dmin, m.dmax = min(m.dmin, p.dmin), max(m.dmax, p.dmax)
		}
		_, _, old := packing(q.span, q.rows, fast)
		line := p.predictor == predictLinear && q.predictor == predictLinear && p.span|q.span != 0
		if m.choose(v, fast, line) <= old+groupHeaderBits+cost {
			*q = m
			return
		}
	}
	g.pieces = append(g.pieces, p)
}

// appendStream appends v as a stream.
func (g *planner) appendStream(dst []byte, v []uint64, runs []int32, fast bool) []byte {
	g.plan(v, runs, fast)
	if !fast {
		if out, ok := g.appendWhole(dst, v); ok {
			return out
		}
	}
	return g.appendGroups(dst, v, fast)
}

// appendGroups appends the groups that were planned.
func (g *planner) appendGroups(dst []byte, v []uint64, fast bool) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(g.pieces)))
	for i := range g.pieces {
		p := &g.pieces[i]
		dst = binary.AppendUvarint(dst, uint64(p.rows))
		kind := len(dst)
		dst = append(dst, p.predictor)
		dst = appendVarint(dst, p.base)
		if p.predictor != predictFlat {
			dst = appendVarint(dst, p.step)
		}
		if p.predictor == predictDelta2 {
			dst = appendVarint(dst, p.low)
		}
		var pack uint8
		dst, pack = g.appendResiduals(dst, v, p, fast)
		dst[kind] |= pack << 4
	}
	return dst
}

// appendResiduals appends what the predictor of p leaves, and returns how.
func (g *planner) appendResiduals(dst []byte, v []uint64, p *piece, fast bool) (_ []byte, pack uint8) {
	pack, param, cost := packing(p.span, p.residues(), fast)
	if pack == packNone {
		return dst, pack
	}
	part, base := g.residuals(v[p.start:p.start+p.rows], p)
	if !fast {
		if code, ok := g.skewed(v, p, cost); ok {
			if out, ok := appendCoded(dst, part, base, code, cost/8); ok {
				return out, code
			}
		}
	}
	if pack == packBits {
		return packWidth(append(dst, byte(param)), part, base, uint(param)), pack
	}
	return packDigits(binary.AppendUvarint(dst, param), part, base, param), pack
}

// residues counts the residuals of a piece: the first values of differences are
// in its header.
func (p *piece) residues() int {
	switch p.predictor {
	case predictDelta:
		return p.rows - 1
	case predictDelta2:
		return p.rows - 2
	}
	return p.rows
}

// residuals returns what is packed, and what to take off each value first.
func (g *planner) residuals(part []uint64, p *piece) (values []uint64, base uint64) {
	switch p.predictor {
	case predictLinear:
		out := g.scrap[:0]
		at := uint64(p.base)
		for _, x := range part {
			out = append(out, x-at)
			at += uint64(p.step)
		}
		g.scrap = out
		return out, 0
	case predictDelta:
		out := g.scrap[:0]
		for i := 1; i < len(part); i++ {
			out = append(out, part[i]-part[i-1])
		}
		g.scrap = out
		return out, uint64(p.step)
	case predictDelta2:
		out := g.scrap[:0]
		d := part[1] - part[0]
		for i := 2; i < len(part); i++ {
			next := part[i] - part[i-1]
			out = append(out, next-d)
			d = next
		}
		g.scrap = out
		return out, uint64(p.low)
	case predictSteps:
		out := g.scrap[:0]
		for _, x := range part {
			out = append(out, (x-uint64(p.base))/uint64(p.step))
		}
		g.scrap = out
		return out, 0
	}
	return part, uint64(p.base)
}

// asTimes is the inverse of asBits.
func asTimes(v []uint64) []int64 {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*int64)(unsafe.Pointer(&v[0])), len(v))
}
