package uplink

import (
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The marks of a device's session: what is remembered of it. Facts of one class
// stand in rows of three marks each, from the class's base on.
const (
	markSweepEpoch    = 1
	markSweepSequence = 2
	markCard          = 3

	baseSpans  = 16 // epoch; first; end, with lostBit
	rowsSpans  = 10000
	baseBinds  = 30100 // epoch; id of the plan; slot
	rowsBinds  = 5000
	basePoints = 45200 // epoch; uptime in µs; unix in µs
	rowsPoints = 5000

	lostBit = 1 << 63
)

// row is three marks that belong together.
type row [3]uint64

// table is one class of facts.
type table struct {
	base uint16
	rows []row
	used []bool
	free []int
	most int
}

func newTable(base uint16, most int) *table { return &table{base: base, most: most} }

// marker is the part of a session that keeps marks.
type marker interface {
	Mark(id uint16, value uint64)
	Unmark(id uint16)
}

// put enters a row and returns its number, -1 where the table is full.
func (t *table) put(m marker, r row) int {
	var n int
	switch {
	case len(t.free) > 0:
		n = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	case len(t.rows) < t.most:
		n = len(t.rows)
		t.rows, t.used = append(t.rows, row{}), append(t.used, false)
	default:
		return -1
	}
	t.rows[n], t.used[n] = r, true
	for i, v := range r {
		m.Mark(t.id(n, i), v)
	}
	return n
}

func (t *table) id(n, i int) uint16 { return t.base + uint16(3*n+i) }

// set changes one value of a row.
func (t *table) set(m marker, n, i int, v uint64) {
	if t.rows[n][i] != v {
		t.rows[n][i] = v
		m.Mark(t.id(n, i), v)
	}
}

func (t *table) remove(m marker, n int) {
	t.used[n] = false
	t.free = append(t.free, n)
	for i := range 3 {
		m.Unmark(t.id(n, i))
	}
}

// load fills the table from marks. Rows that are not whole are none.
func (t *table) load(marks map[uint16]uint64) {
	end := 0
	for id := range marks {
		if n := (int(id) - int(t.base)) / 3; id >= t.base && n < t.most {
			end = max(end, n+1)
		}
	}
	t.rows, t.used = make([]row, end), make([]bool, end)
	for n := range end {
		whole := true
		for i := range 3 {
			v, ok := marks[t.id(n, i)]
			t.rows[n][i], whole = v, whole && ok
		}
		if t.used[n] = whole; !whole {
			t.free = append(t.free, n)
		}
	}
}

// point says that at an uptime (µs) of an epoch it was a time (Unix µs).
type point struct{ uptime, unix int64 }

// epoch is what is known of one run of a device.
type epoch struct {
	got, lost spans
	points    []point // the earliest and the latest, at most two
	binds     map[int][8]byte

	spanRows  map[spanKey]int
	pointRows []int
}

type spanKey struct {
	first uint64
	lost  bool
}

// memory is what is known of a device. Changes are marks of the session.
type memory struct {
	epochs        map[uint64]*epoch
	sweepEpoch    uint64 // how far the last sweep came; 0: nowhere
	sweepSequence uint64
	card          uint32 // id of the card that the sweep is about

	spans, binds, points *table
}

func newMemory(marks []telemetry.Mark) *memory {
	m := &memory{
		epochs: map[uint64]*epoch{},
		spans:  newTable(baseSpans, rowsSpans), binds: newTable(baseBinds, rowsBinds), points: newTable(basePoints, rowsPoints),
	}
	if len(marks) == 0 {
		return m
	}
	byID := make(map[uint16]uint64, len(marks))
	for _, k := range marks {
		byID[k.ID] = k.Value
	}
	m.sweepEpoch, m.sweepSequence = byID[markSweepEpoch], byID[markSweepSequence]
	m.card = uint32(byID[markCard])
	for _, t := range []*table{m.spans, m.binds, m.points} {
		t.load(byID)
	}
	m.spans.each(func(n int, r row) {
		e, lost := m.epoch(r[0]), r[2]&lostBit != 0
		s := span{r[1], r[2] &^ lostBit}
		if lost {
			e.lost = e.lost.add(s)
		} else {
			e.got = e.got.add(s)
		}
		e.spanRows[spanKey{s.first, lost}] = n
	})
	m.binds.each(func(_ int, r row) { m.epoch(r[0]).binds[int(r[2])] = planID(r[1]) })
	m.points.each(func(n int, r row) {
		e := m.epoch(r[0])
		e.points, e.pointRows = append(e.points, point{int64(r[1]), int64(r[2])}), append(e.pointRows, n)
		if len(e.points) == 2 && e.points[0].uptime > e.points[1].uptime {
			slices.Reverse(e.points)
			slices.Reverse(e.pointRows)
		}
	})
	return m
}

func (t *table) each(f func(n int, r row)) {
	for n := range t.rows {
		if t.used[n] {
			f(n, t.rows[n])
		}
	}
}

func (m *memory) epoch(id uint64) *epoch {
	e := m.epochs[id]
	if e == nil {
		e = &epoch{binds: map[int][8]byte{}, spanRows: map[spanKey]int{}}
		m.epochs[id] = e
	}
	return e
}

// taken is what need not come any more: stored, or declared lost.
func (e *epoch) taken() spans { return e.got.union(e.lost) }

// add enters sequences of an epoch.
func (m *memory) add(to marker, id uint64, s span, lost bool) bool {
	e := m.epoch(id)
	if lost {
		e.lost = e.lost.add(s)
		return m.align(to, id, e, e.lost, true)
	}
	e.got = e.got.add(s)
	return m.align(to, id, e, e.got, false)
}

// regain forgets what an epoch was declared to have lost, and returns it.
func (m *memory) regain(to marker, id uint64) spans {
	e := m.epoch(id)
	lost := e.lost
	e.lost = nil
	m.align(to, id, e, nil, true)
	return lost
}

// align brings the rows of an epoch in line with its spans. It returns false where
// no row is left.
func (m *memory) align(to marker, id uint64, e *epoch, have spans, lost bool) bool {
	flag := uint64(0)
	if lost {
		flag = lostBit
	}
	stands := make(map[uint64]bool, len(have))
	for _, s := range have {
		stands[s.first] = true
	}
	for key, n := range e.spanRows {
		if key.lost == lost && !stands[key.first] {
			m.spans.remove(to, n)
			delete(e.spanRows, key)
		}
	}
	for _, s := range have {
		key := spanKey{s.first, lost}
		n, ok := e.spanRows[key]
		if ok {
			m.spans.set(to, n, 2, s.end|flag)
			continue
		}
		if n = m.spans.put(to, row{id, s.first, s.end | flag}); n < 0 {
			return false
		}
		e.spanRows[key] = n
	}
	return true
}

// bind enters which plan a slot stands for.
func (m *memory) bind(to marker, id uint64, slot int, plan [8]byte) {
	e := m.epoch(id)
	if e.binds[slot] == plan {
		return
	}
	e.binds[slot] = plan
	m.binds.put(to, row{id, planNumber(plan), uint64(slot)}) // a full table forgets it at the next start
}

// learn enters a time of an epoch; the earliest and the latest are kept.
func (m *memory) learn(to marker, id uint64, p point) {
	e := m.epoch(id)
	switch {
	case len(e.points) < 2:
		n := m.points.put(to, row{id, uint64(p.uptime), uint64(p.unix)})
		if n < 0 {
			return
		}
		e.points, e.pointRows = append(e.points, p), append(e.pointRows, n)
		if len(e.points) == 2 && e.points[0].uptime > p.uptime {
			slices.Reverse(e.points)
			slices.Reverse(e.pointRows)
		}
	case p.uptime < e.points[0].uptime:
		m.move(to, e, 0, p)
	case p.uptime > e.points[1].uptime:
		m.move(to, e, 1, p)
	}
}

func (m *memory) move(to marker, e *epoch, i int, p point) {
	e.points[i] = p
	m.points.set(to, e.pointRows[i], 1, uint64(p.uptime))
	m.points.set(to, e.pointRows[i], 2, uint64(p.unix))
}

// swept enters how far a sweep came.
func (m *memory) swept(to marker, epoch, sequence uint64) {
	if m.sweepEpoch != epoch {
		m.sweepEpoch = epoch
		to.Mark(markSweepEpoch, epoch)
	}
	if m.sweepSequence != sequence {
		m.sweepSequence = sequence
		to.Mark(markSweepSequence, sequence)
	}
}

// sees enters which card is in the device.
func (m *memory) sees(to marker, card uint32) {
	if m.card != card {
		m.card = card
		to.Mark(markCard, uint64(card))
	}
}

// timeOf places an uptime (µs): on the line between the two points, or beside the one.
func (e *epoch) timeOf(uptime int64) (unix int64, ok bool) {
	switch len(e.points) {
	case 0:
		return 0, false
	case 1:
		return e.points[0].unix + uptime - e.points[0].uptime, true
	}
	a, b := e.points[0], e.points[1]
	switch {
	case uptime <= a.uptime || b.uptime == a.uptime:
		return a.unix + uptime - a.uptime, true
	case uptime >= b.uptime:
		return b.unix + uptime - b.uptime, true
	}
	slope := float64(b.unix-a.unix) / float64(b.uptime-a.uptime)
	return a.unix + int64(slope*float64(uptime-a.uptime)), true
}
