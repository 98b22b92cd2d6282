package chunk

import (
	"encoding/binary"
	"sync"
)

// A stream whose groups have much in common is stored as a whole, with parts that
// are streams of groups themselves; docs/format/page.md has the layout.
const (
	wholeShared = 1 // groups that differ in their base alone: one packing for all residuals
	wholeRuns   = 2 // values that repeat: a value and a length for each run
)

const (
	minSharedGroups = 4
	minWholeBytes   = 24 // a stream of groups that takes less stays
)

// groupBits is about what the planned groups take.
func (g *planner) groupBits() int {
	total := 0
	for i := range g.pieces {
		p := &g.pieces[i]
		_, _, cost := packing(p.span, p.residues(), false)
		total += cost + groupHeaderBits
	}
	return total
}

// appendWhole appends the planned stream in one of the forms for whole streams, if
// one takes less than the groups.
func (g *planner) appendWhole(dst []byte, v []uint64) (_ []byte, ok bool) {
	limit := g.groupBits() / 8
	if limit < minWholeBytes {
		return dst, false
	}
	if g.inner == nil {
		g.inner = &planner{}
	}
	from := len(dst)
	if dst, ok = g.appendRuns(dst, v, limit); ok {
		return dst, true
	}
	if dst, ok = g.appendShared(dst[:from], v, limit); ok {
		return dst, true
	}
	return dst[:from], false
}

// appendPart appends a part of a whole stream.
func (g *planner) appendPart(dst []byte, v []uint64) []byte {
	g.inner.plan(v, nil, false)
	return g.inner.appendGroups(dst, v, false)
}

// appendRuns appends a value and a length for each run of equal values, where
// runs are few.
func (g *planner) appendRuns(dst []byte, v []uint64, limit int) (_ []byte, ok bool) {
	if runsOf(v[:min(len(v), runsLook)]) > runsLook/2 {
		return dst, false // noise, as the first rows show
	}
	runs := runsOf(v)
	if runs > len(v)/6 {
		return dst, false
	}
	values, lengths := g.lists[0][:0], g.lists[1][:0]
	for i, start := 1, 0; i <= len(v); i++ {
		if i == len(v) || v[i] != v[i-1] {
			values, lengths = append(values, v[start]), append(lengths, uint64(i-start-1))
			start = i
		}
	}
	g.lists[0], g.lists[1] = values, lengths
	from := len(dst)
	dst = append(dst, 0, wholeRuns)
	dst = binary.AppendUvarint(dst, uint64(runs))
	dst = g.appendPart(dst, values)
	dst = g.appendPart(dst, lengths)
	// An entropy code may do better than the groups' widths say: try.
	at := len(dst)
	if n := at - from; n >= limit-limit/16 {
		return dst, false
	}
	dst = g.appendGroups(dst, v, false)
	return dst[:at], at-from < (len(dst)-at)*15/16
}

// runsLook is how many rows are looked at before all are.
const runsLook = 64

// runsOf counts the runs of equal values.
func runsOf(v []uint64) int {
	runs := 1
	for i := 1; i < len(v); i++ {
		if v[i] != v[i-1] {
			runs++
		}
	}
	return runs
}

// appendShared appends the groups' rows and bases as streams, and all residuals
// with one packing, where the groups are flat and alike.
func (g *planner) appendShared(dst []byte, v []uint64, limit int) (_ []byte, ok bool) {
	if len(g.pieces) < minSharedGroups {
		return dst, false
	}
	all := piece{rows: len(v)}
	for i := range g.pieces {
		p := &g.pieces[i]
		if p.predictor != predictFlat {
			return dst, false
		}
		all.span = max(all.span, p.span)
	}
	if _, _, cost := packing(all.span, all.rows, false); cost/8 >= limit {
		return dst, false
	}
	rows, bases := g.lists[0][:0], g.lists[1][:0]
	g.shared = grow(g.shared, len(v))
	for i := range g.pieces {
		p := &g.pieces[i]
		rows, bases = append(rows, uint64(p.rows)), append(bases, uint64(p.base))
		for j := p.start; j < p.start+p.rows; j++ {
			g.shared[j] = v[j] - uint64(p.base)
		}
	}
	g.lists[0], g.lists[1] = rows, bases
	from := len(dst)
	dst = append(dst, 0, wholeShared)
	dst = binary.AppendUvarint(dst, uint64(len(g.pieces)))
	dst = g.appendPart(dst, rows)
	dst = g.appendPart(dst, bases)
	kind := len(dst)
	dst = append(dst, 0)
	dst, pack := g.inner.appendResiduals(dst, g.shared, &all, false)
	dst[kind] = pack
	return dst, len(dst)-from < limit
}

// wholeScratch is two lists of the parts of a whole stream, and a table of values.
type wholeScratch struct {
	a, b  []uint64
	table [tableSpan]uint64
}

var wholes = sync.Pool{New: func() any { return new(wholeScratch) }}

// decodeWhole is decodeStream after the zero that says that no groups follow.
func decodeWhole(dst []uint64, src []byte, t transform) ([]byte, error) {
	r := reader{b: src}
	kind := r.byte()
	parts := r.size(len(dst))
	if r.err != nil {
		return nil, r.err
	}
	s := wholes.Get().(*wholeScratch)
	defer wholes.Put(s)
	s.a, s.b = grow(s.a, parts), grow(s.b, parts)
	switch kind {
	case wholeRuns:
		return s.decodeRuns(dst, r.b, t)
	case wholeShared:
		return s.decodeShared(dst, r.b, t)
	}
	return nil, errKind
}

func (s *wholeScratch) decodeRuns(dst []uint64, src []byte, t transform) ([]byte, error) {
	src, err := decodeGroups(s.a, src, t)
	if err == nil {
		src, err = decodeGroups(s.b, src, transform{kind: formInts})
	}
	if err != nil {
		return nil, err
	}
	for i, n := range s.b {
		if n >= uint64(len(dst)) {
			return nil, errRows
		}
		fill(dst[:n+1], s.a[i])
		dst = dst[n+1:]
	}
	if len(dst) != 0 {
		return nil, errRows
	}
	return src, nil
}

func (s *wholeScratch) decodeShared(dst []uint64, src []byte, t transform) ([]byte, error) {
	src, err := decodeGroups(s.a, src, transform{kind: formInts})
	if err == nil {
		src, err = decodeGroups(s.b, src, transform{kind: formInts})
	}
	if err != nil {
		return nil, err
	}
	if len(src) == 0 {
		return nil, errShort
	}
	src, span, err := decodeResiduals(dst, src[1:], src[0])
	if err != nil {
		return nil, err
	}
	for i, n := range s.a {
		if n == 0 || n > uint64(len(dst)) {
			return nil, errRows
		}
		t.flat(dst[:n], s.b[i], span, &s.table)
		dst = dst[n:]
	}
	if len(dst) != 0 {
		return nil, errRows
	}
	return src, nil
}
