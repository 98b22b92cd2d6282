package pipeline

import (
	"sync"
	"time"
)

// silence remembers when each series of a schema with expect_every was last heard,
// 8 bytes a series, written as commits become durable. What came as a retained
// value is not heard: it says nothing about now.
type silence struct {
	mu      sync.Mutex
	start   time.Time
	heardAt []uint32 // by series: 1 + seconds since start; 0 is never
	table   []uint16 // by series: 1 + index in tables
	tables  []expecting
}

// expecting is a table whose series should be heard.
type expecting struct {
	name  string
	every time.Duration
}

// SilenceStats counts the series of one table that have been silent for longer
// than its schema's expect_every.
type SilenceStats struct {
	Table  string
	Every  time.Duration
	Heard  int // series heard since the start of the node
	Silent int // of those: not heard for longer than Every
}

// heard notes the series that a durable batch holds readings of.
func (s *silence) heard(active []*builder, now time.Time) {
	for _, bu := range active {
		if bu.plan.expectEvery <= 0 {
			continue
		}
		s.mu.Lock()
		s.note(bu, now)
		s.mu.Unlock()
	}
}

func (s *silence) note(bu *builder, now time.Time) {
	if s.start.IsZero() {
		s.start = now
	}
	at := uint32(now.Sub(s.start)/time.Second) + 1
	table := s.index(bu.plan) + 1
	retained := bu.section.OnlyIfChanged
	for i, ref := range bu.section.Series {
		if len(retained) > 0 && int(retained[0]) == i {
			retained = retained[1:]
			continue
		}
		if int(ref) >= len(s.heardAt) {
			s.heardAt = append(s.heardAt, make([]uint32, int(ref)+1-len(s.heardAt))...)
			s.table = append(s.table, make([]uint16, int(ref)+1-len(s.table))...)
		}
		s.heardAt[ref], s.table[ref] = at, table
	}
}

// index returns the number of a plan's table, with what it expects by now.
func (s *silence) index(p *plan) uint16 {
	for i := range s.tables {
		if s.tables[i].name == p.table.Name {
			s.tables[i].every = p.expectEvery
			return uint16(i)
		}
	}
	s.tables = append(s.tables, expecting{p.table.Name, p.expectEvery})
	return uint16(len(s.tables) - 1)
}

// Silence counts the silent series of every table that expects to be heard. It
// walks all series; a second or more should lie between two calls.
func (p *Pipeline) Silence() []SilenceStats {
	s := &p.silence
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]SilenceStats, len(s.tables))
	now := p.now()
	for i, t := range s.tables {
		out[i] = SilenceStats{Table: t.name, Every: t.every}
	}
	for ref, at := range s.heardAt {
		if at == 0 {
			continue
		}
		o := &out[s.table[ref]-1]
		o.Heard++
		if now.Sub(s.start)-time.Duration(at-1)*time.Second > o.Every {
			o.Silent++
		}
	}
	return out
}
