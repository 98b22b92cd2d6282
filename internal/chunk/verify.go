package chunk

import (
	"errors"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Damage names one damaged place of a segment.
type Damage struct {
	Offset, Length int64
	Block          int    // -1: outside of blocks
	Part           string // "head", "time", "received_at", a column's name, "arrivals", "order"
	Err            error
}

// Verify reads and decodes everything and returns all that is damaged.
func (s *Segment) Verify() []Damage {
	var found []Damage
	sc := getScratch()
	defer putScratch(sc)
	if s.arrivals.n > 0 {
		s.arrivals.table.Store(nil) // what is cached says nothing about the file
		if _, err := s.readArrivals(); err != nil {
			found = append(found, Damage{s.arrivals.offset, int64(s.arrivals.entry.stored), -1, "arrivals", err})
		}
	}
	var last key
	for i := range s.blocks {
		found = s.verifyBlock(sc, i, &last, found)
	}
	return found
}

func (s *Segment) verifyBlock(sc *scratch, i int, last *key, found []Damage) []Damage {
	b, err := s.block(sc, i)
	m := &s.blocks[i]
	if err == nil {
		_, err = b.head()
	}
	if err != nil {
		return append(found, Damage{m.Offset, int64(m.head), i, "head", err})
	}
	var sec telemetry.Section
	resetSection(&sec, s.table, m.Rows, 1, true)
	b.series(sec.Series)
	add := func(page int, part string, err error) bool {
		if err != nil {
			found = append(found, Damage{sc.heads.offsets[page-1], int64(sc.heads.entries[page-1].stored), i, part, err})
		}
		return err == nil
	}
	timed := add(blockTime, "time", b.page(blockTime, "time", func(body []byte) error { return decodeInts(asBits(sec.Time), body, nil) }))
	if timed {
		add(blockTime, "order", s.checkOrder(&sec, last))
		add(blockReceived, "received_at", b.received(&sec))
	} else {
		add(blockReceived, "received_at", b.page(blockReceived, "received_at", func([]byte) error { return nil }))
	}
	for c := range s.table.Columns {
		col := &s.table.Columns[c]
		add(blockColumns+c, col.Name, b.page(blockColumns+c, col.Name, func(body []byte) error {
			return decodeColumn(&sec.Columns[0], col.Type, body, m.Rows)
		}))
	}
	return found
}

var errOrder = errors.New("rows are not in the order of series and time")

// checkOrder finds rows out of order, within the block and against the one before.
func (s *Segment) checkOrder(sec *telemetry.Section, last *key) error {
	for i, ref := range sec.Series {
		k := key{ref, sec.Time[i]}
		if k.series < last.series || k.series == last.series && k.time < last.time && *last != (key{}) {
			*last = k
			return s.damaged("verify segment", "%v", errOrder)
		}
		*last = k
	}
	return nil
}
