package embedded

import (
	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// rowPool is the memory of the rows that a compaction decodes. The columns of a
// section are cut from slabs to the very size that they need: sections that were
// kept as a whole would all grow to the size of the largest. It is used by the
// compaction alone, under Store.compactMu.
type rowPool struct {
	sections []*telemetry.Section // the first used ones are in use
	used     int
	small    []*telemetry.Section // of one frame, until they are joined
	words    slabs[uint64]
	times    slabs[int64]
	refs     slabs[telemetry.SeriesRef]
}

// get returns a section with room for so many rows of a table, until reset.
func (p *rowPool) get(t *telemetry.Table, rows int) *telemetry.Section {
	if p.used == len(p.sections) {
		p.sections = append(p.sections, &telemetry.Section{})
	}
	sec := p.sections[p.used]
	p.used++
	cols := sec.Columns[:cap(sec.Columns)]
	if len(cols) < len(t.Columns) {
		cols = make([]telemetry.Vector, len(t.Columns))
	}
	*sec = telemetry.Section{Columns: cols[:len(t.Columns)], Series: p.refs.cut(rows), Time: p.times.cut(rows), Received: p.times.cut(rows)}
	for i := range sec.Columns {
		v := &sec.Columns[i]
		*v = telemetry.Vector{Bits: p.words.cut(rows), Nulls: v.Nulls[:0], Ends: v.Ends[:0], Bytes: v.Bytes[:0]}
	}
	return sec
}

// reset takes all sections back. It keeps what this time needed, and lets go of
// what only an earlier time did.
func (p *rowPool) reset() {
	for _, sec := range p.sections {
		cols := sec.Columns[:cap(sec.Columns)]
		for i := range cols {
			// Texts are kept where they are few.
			v := &cols[i]
			v.Bits, v.Dict = nil, nil
			if cap(v.Bytes)+4*cap(v.Ends) > keptText {
				v.Bytes, v.Ends = nil, nil
			}
		}
	}
	clear(p.sections[p.used:])
	p.sections = p.sections[:p.used]
	p.used = 0
	p.words.reset()
	p.times.reset()
	p.refs.reset()
}

const keptText = 256 << 10

// slabs gives out pieces of long slices.
type slabs[T any] struct {
	all   [][]T
	at    int // the slab that pieces are cut from
	left  []T // what is left of it
	total int // length of all
}

// Slabs grow with what is needed, so that few rows take little memory.
const (
	slabLeast = 32 << 10
	slabMost  = 512 << 10
)

// cut returns an empty piece with room for n; what the room holds is undefined.
func (s *slabs[T]) cut(n int) []T {
	for len(s.left) < n {
		if s.at == len(s.all) {
			s.all = append(s.all, make([]T, max(n, min(max(s.total, slabLeast), slabMost))))
			s.total += len(s.all[s.at])
		}
		s.left = s.all[s.at]
		s.at++
	}
	piece := s.left[:0:n]
	s.left = s.left[n:]
	return piece
}

func (s *slabs[T]) reset() {
	for _, unused := range s.all[s.at:] {
		s.total -= len(unused)
	}
	clear(s.all[s.at:])
	s.all = s.all[:s.at]
	s.at, s.left = 0, nil
}

// mergerOf returns the merger, ready for the rows of a table version.
func (s *Store) mergerOf(v *tableVersion) *chunk.Merger {
	if s.merger == nil {
		s.merger = chunk.NewMerger(v.table)
	}
	s.merger.SetTable(v.table)
	return s.merger
}
