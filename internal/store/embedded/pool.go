package embedded

import (
	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sectionPool keeps the memory of decoded sections from one compaction to the
// next. It is used by the compaction alone, under Store.compactMu, and keeps no
// more than the last compactions used.
type sectionPool struct {
	free  []*telemetry.Section
	bytes int
}

const poolBytes = 16 << 20

func (p *sectionPool) get() *telemetry.Section {
	if n := len(p.free); n > 0 {
		sec := p.free[n-1]
		p.free = p.free[:n-1]
		p.bytes -= capBytes(sec)
		return sec
	}
	return &telemetry.Section{}
}

func (p *sectionPool) put(sec *telemetry.Section) {
	if n := capBytes(sec); p.bytes+n <= poolBytes {
		p.bytes += n
		p.free = append(p.free, sec)
	}
}

func capBytes(sec *telemetry.Section) int {
	n := cap(sec.Series)*4 + cap(sec.Time)*8 + cap(sec.Received)*8
	for i := range sec.Columns {
		c := &sec.Columns[i]
		n += cap(c.Bits)*8 + cap(c.Ends)*4 + cap(c.Bytes) + cap(c.Nulls)*8
	}
	return n
}

// mergerPool keeps a merger for each table version that the last compactions met.
type mergerPool struct {
	byTable map[uint32]*chunk.Merger
	used    map[uint32]bool
}

func (p *mergerPool) of(v *tableVersion) *chunk.Merger {
	if p.byTable == nil {
		p.byTable, p.used = map[uint32]*chunk.Merger{}, map[uint32]bool{}
	}
	m := p.byTable[v.id]
	if m == nil {
		m = chunk.NewMerger(v.table)
		p.byTable[v.id] = m
	}
	p.used[v.id] = true
	return m
}

// trim lets go of mergers that the last compaction did not use.
func (p *mergerPool) trim() {
	for id := range p.byTable {
		if !p.used[id] || len(p.byTable) > 4 {
			delete(p.byTable, id)
		}
	}
	clear(p.used)
}
