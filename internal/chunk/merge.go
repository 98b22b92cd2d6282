package chunk

import (
	"math"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// mergeRows is about how many rows MergeSources gives at a time.
const mergeRows = DefaultBlockRows

// bucketRows is about how many rows a Merger moves at most at a time. The rows of
// a few neighbouring series are read from all sections in the order of arrival,
// where they stand side by side, and written to one column of this length, which
// the second level cache holds: gathering each series on its own would fetch every
// line of the sections once a series. Few rows and wide tables take smaller
// buckets, because the columns of a bucket together should stay small as well.
const (
	bucketRows  = 1 << 15
	bucketLeast = 1 << 12
	bucketBytes = 3 << 20
)

// bucketSize is how many rows a bucket takes.
func (m *Merger) bucketSize() int {
	n := min(bucketRows, m.rows/8, bucketBytes/(8*(len(m.table.Columns)+3)))
	return max(n, bucketLeast)
}

// Merger sorts the rows of decoded frames by (series, time, arrival) for a
// segment. It is used by one goroutine and may be reused after Reset. Besides
// the sections that it refers to it needs 12 bytes a row and 12 bytes a series.
type Merger struct {
	table    *telemetry.Table
	parts    []mergePart
	rows     int
	lo, hi   telemetry.SeriesRef
	arrivals Arrivals

	runs     []mergeRun   // the series in order
	buckets  []bucket     // of runs
	order    []uint64     // section << 32 | row; by bucket, then arrival
	pos      []uint32     // parallel: where in its bucket the row goes
	texts    []mergeText  // by column
	bits     [][][]uint64 // by column and section
	received [][]uint64   // by section
	moves    []move
	slots    []slot // by series, while sorting
	dense    bool   // slots are indexed by the distance from lo, else as runs are
	inverse  []uint32
	out      telemetry.Section

	next int // bucket
	left []uint64
}

// mergePart is a section, with the rows of it that count.
type mergePart struct {
	sec      *telemetry.Section
	from, to int64 // times, both inclusive
	all      bool
}

func (p *mergePart) skip(i int) bool {
	return !p.all && (p.sec.Time[i] < p.from || p.sec.Time[i] > p.to)
}

// mergeRun is the rows of one series.
type mergeRun struct {
	series telemetry.SeriesRef
	rows   uint32
}

// bucket is neighbouring runs.
type bucket struct {
	firstRun, runs int
	start, rows    int // in order
}

// slot is where the next row of a series goes.
type slot struct {
	rows   uint32 // how many it has
	bucket uint32
	pos    uint32 // in the bucket
}

// NewMerger returns a Merger for the rows of one table version.
func NewMerger(t *telemetry.Table) *Merger { return &Merger{table: t} }

// Add takes a section with all columns and received times, in the order of
// arrival. The Merger refers to it until Reset is called.
func (m *Merger) Add(sec *telemetry.Section) { m.AddBetween(sec, math.MinInt64, math.MaxInt64) }

// AddBetween is Add for the rows whose time is from..to, both inclusive.
func (m *Merger) AddBetween(sec *telemetry.Section, from, to int64) {
	if sec.Rows() == 0 {
		return
	}
	p := mergePart{sec: sec, from: from, to: to, all: true}
	least, greatest := sec.Time[0], sec.Time[0]
	for _, t := range sec.Time {
		least, greatest = min(least, t), max(greatest, t)
	}
	p.all = least >= from && greatest <= to
	if m.rows == 0 {
		m.lo, m.hi = math.MaxUint32, 0
	}
	n := 0
	for i, ref := range sec.Series {
		if p.all || !p.skip(i) {
			m.lo, m.hi = min(m.lo, ref), max(m.hi, ref)
			n++
		}
	}
	if n == 0 {
		return
	}
	m.rows += n
	m.parts = append(m.parts, p)
	m.arrivals.addPart(&p)
}

// SetTable is Reset for the rows of another table version: one Merger serves
// many tables with the memory that the largest needs.
func (m *Merger) SetTable(t *telemetry.Table) {
	m.Reset()
	m.table = t
}

// Rows counts the rows that were added.
func (m *Merger) Rows() int { return m.rows }

// Arrivals builds the arrival table of the rows added, or returns nil where it
// would not pay.
func (m *Merger) Arrivals() *Arrivals {
	if !m.arrivals.Pays() {
		return nil
	}
	a := &Arrivals{entries: slices.Clone(m.arrivals.entries), rows: m.arrivals.rows}
	a.Seal()
	return a
}

// Reset forgets the rows and keeps the memory.
func (m *Merger) Reset() {
	clear(m.parts)
	clear(m.texts)
	clear(m.bits)
	clear(m.received)
	clear(m.moves)
	m.parts, m.rows, m.next, m.buckets = m.parts[:0], 0, 0, m.buckets[:0]
	m.arrivals = Arrivals{entries: m.arrivals.entries[:0]}
	m.texts, m.bits = m.texts[:0], m.bits[:0]
}

// Merge calls yield with sections of the sorted rows. Where the table's
// identity is IdentityTime, only the last arrival of a (series, time) is given;
// else all rows are. The section given is valid until yield returns.
func (m *Merger) Merge(yield func(*telemetry.Section) error) error {
	src := m.Source()
	for {
		more, err := src.Next(&m.out)
		if err != nil || !more {
			return err
		}
		if err := yield(&m.out); err != nil {
			return err
		}
	}
}

// Source returns a Source of the merger's rows, from the first. An earlier
// Source ends with it.
func (m *Merger) Source() Source {
	m.plan()
	m.place()
	m.joinTexts()
	m.bits = m.bits[:0]
	for c := range m.table.Columns {
		bits := make([][]uint64, len(m.parts))
		for p := range m.parts {
			bits[p] = m.parts[p].sec.Columns[c].Bits
		}
		m.bits = append(m.bits, bits)
	}
	m.received = m.received[:0]
	for p := range m.parts {
		m.received = append(m.received, asBits(m.parts[p].sec.Received))
	}
	m.next, m.left = 0, nil
	return (*mergerSource)(m)
}

// slotOf finds the slot of a series: by its number, because refs are dense, or by
// search where they are few and far apart.
func (m *Merger) slotOf(ref telemetry.SeriesRef) *slot {
	if m.dense {
		return &m.slots[ref-m.lo]
	}
	i, _ := slices.BinarySearchFunc(m.runs, ref, func(r mergeRun, ref telemetry.SeriesRef) int {
		return (key{series: r.series}).compare(key{series: ref})
	})
	return &m.slots[i]
}

// span is how many refs lie from the least to the greatest: up to 2^32.
func (m *Merger) span() int64 {
	if m.rows == 0 {
		return 0
	}
	return int64(m.hi) - int64(m.lo) + 1
}

// plan counts the rows of each series and divides the series into buckets.
func (m *Merger) plan() {
	m.runs, m.buckets = m.runs[:0], m.buckets[:0]
	m.dense = m.span() <= int64(max(16*m.rows, 1<<16))
	if m.dense {
		m.slots = grow(m.slots, int(m.span()))
		clear(m.slots)
		for p := range m.parts {
			part := &m.parts[p]
			for i, ref := range part.sec.Series {
				if part.all || !part.skip(i) {
					m.slots[ref-m.lo].rows++
				}
			}
		}
		for i := range m.slots {
			if n := m.slots[i].rows; n > 0 {
				m.runs = append(m.runs, mergeRun{m.lo + telemetry.SeriesRef(i), n})
			}
		}
	} else {
		m.planSparse()
	}
	start, size := 0, m.bucketSize()
	for i, run := range m.runs {
		n := len(m.buckets)
		if n == 0 || m.buckets[n-1].rows+int(run.rows) > size {
			m.buckets = append(m.buckets, bucket{firstRun: i, start: start})
			n++
		}
		b := &m.buckets[n-1]
		s := &m.slots[i]
		if m.dense {
			s = &m.slots[run.series-m.lo]
		}
		s.bucket, s.pos = uint32(n-1), uint32(b.rows)
		b.runs++
		b.rows += int(run.rows)
		start += int(run.rows)
	}
}

func (m *Merger) planSparse() {
	refs := make([]telemetry.SeriesRef, 0, m.rows)
	for p := range m.parts {
		part := &m.parts[p]
		for i, ref := range part.sec.Series {
			if part.all || !part.skip(i) {
				refs = append(refs, ref)
			}
		}
	}
	slices.Sort(refs)
	for _, ref := range refs {
		if n := len(m.runs); n == 0 || m.runs[n-1].series != ref {
			m.runs = append(m.runs, mergeRun{series: ref})
		}
		m.runs[len(m.runs)-1].rows++
	}
	m.slots = grow(m.slots, len(m.runs))
	clear(m.slots)
}

// place fills order and pos, in the order of arrival.
func (m *Merger) place() {
	m.order, m.pos = grow(m.order, m.rows), grow(m.pos, m.rows)
	at := make([]uint32, len(m.buckets))
	for i := range m.buckets {
		at[i] = uint32(m.buckets[i].start)
	}
	for p := range m.parts {
		part := &m.parts[p]
		for i, ref := range part.sec.Series {
			if part.all || !part.skip(i) {
				s := m.slotOf(ref)
				to := at[s.bucket]
				at[s.bucket]++
				m.order[to] = uint64(p)<<32 | uint64(i)
				m.pos[to] = s.pos
				s.pos++
			}
		}
	}
}

type mergerSource Merger

// Next gives the rows of the next bucket.
func (src *mergerSource) Next(dst *telemetry.Section) (bool, error) {
	m := (*Merger)(src)
	if len(m.left) > 0 {
		m.giveLeft(dst)
		return true, nil
	}
	if m.next >= len(m.buckets) {
		return false, nil
	}
	b := &m.buckets[m.next]
	m.next++
	order, pos := m.order[b.start:b.start+b.rows], m.pos[b.start:b.start+b.rows]
	if b.rows > 2*bucketRows {
		// One long series: it stands side by side in the sections already.
		m.left = m.sortLong(order)
		m.giveLeft(dst)
		return true, nil
	}
	resetSection(dst, m.table, b.rows, len(m.table.Columns), true)
	scatterTimes(dst.Time, m.parts, order, pos)
	rows := b.rows
	if !m.ordered(b, dst.Time) {
		rows = m.reorder(b, dst.Time, pos)
		scatterTimes(dst.Time, m.parts, order, pos)
	}
	m.fill(dst, order, pos, rows)
	at := 0
	for _, run := range m.runs[b.firstRun : b.firstRun+b.runs] {
		part := dst.Series[at : at+int(run.rows)]
		for i := range part {
			part[i] = run.series
		}
		at += int(run.rows)
	}
	dst.Series = dst.Series[:rows]
	return true, nil
}

// giveLeft gives some rows of a long series, which are sorted.
func (m *Merger) giveLeft(dst *telemetry.Section) {
	n := min(len(m.left), bucketRows)
	order := m.left[:n]
	m.left = m.left[n:]
	m.inverse = grow(m.inverse, n)
	for i := range m.inverse {
		m.inverse[i] = uint32(i)
	}
	resetSection(dst, m.table, n, len(m.table.Columns), true)
	scatterTimes(dst.Time, m.parts, order, m.inverse)
	m.fill(dst, order, m.inverse, n)
	ref := m.series(order[0])
	for i := range dst.Series {
		dst.Series[i] = ref
	}
}

func (m *Merger) series(o uint64) telemetry.SeriesRef {
	return m.parts[o>>32].sec.Series[uint32(o)]
}

func (m *Merger) time(o uint64) int64 { return m.parts[o>>32].sec.Time[uint32(o)] }
