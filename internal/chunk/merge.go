package chunk

import (
	"cmp"
	"math"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// mergeRows is how many rows a Merger gives at a time.
const mergeRows = DefaultBlockRows

// Merger sorts the rows of decoded frames by (series, time, arrival) for a
// segment. It is used by one goroutine and may be reused after Reset. Besides
// the sections that it refers to it needs 8 bytes a row.
type Merger struct {
	table    *telemetry.Table
	parts    []mergePart
	rows     int
	lo, hi   telemetry.SeriesRef
	arrivals Arrivals

	order []uint64     // section << 32 | row, sorted by series, then arrival
	runs  []mergeRun   // the series in order
	count []uint32     // by series - lo, while sorting
	texts []mergeText  // by column
	bits  [][][]uint64 // by column and section
	out   telemetry.Section

	// What Next has not given yet: rows in their final order, with what was
	// looked up to sort them.
	run     int // of runs, the next
	at      int // of order, the next
	given   int // of pending, already
	pending []uint64
	times   []int64
	refs    []telemetry.SeriesRef
}

// mergeRun is the rows of one series in order.
type mergeRun struct {
	series telemetry.SeriesRef
	rows   uint32
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

// mergeText is what all sections have in common in a column.
type mergeText struct {
	nulls bool // some row is null; of all columns
	plain bool // some section is plain, or there are too many texts
	dict  []string
	remap [][]uint32 // a section each; nil where its codes are those of all
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
	for _, t := range sec.Time {
		if t < from || t > to {
			p.all = false
			break
		}
	}
	if m.rows == 0 {
		m.lo, m.hi = math.MaxUint32, 0
	}
	n := 0
	for i, ref := range sec.Series {
		if p.skip(i) {
			continue
		}
		m.lo, m.hi = min(m.lo, ref), max(m.hi, ref)
		n++
	}
	if n == 0 {
		return
	}
	m.rows += n
	m.parts = append(m.parts, p)
	m.arrivals.addPart(&p)
	m.order = m.order[:0]
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
	m.parts, m.rows, m.order = m.parts[:0], 0, m.order[:0]
	m.arrivals = Arrivals{entries: m.arrivals.entries[:0]}
	m.texts = m.texts[:0]
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

// Source returns a Source of the merger's rows, from the first.
func (m *Merger) Source() Source {
	m.sort()
	m.joinTexts()
	m.bits = m.bits[:0]
	for c := range m.table.Columns {
		bits := make([][]uint64, len(m.parts))
		for p := range m.parts {
			bits[p] = m.parts[p].sec.Columns[c].Bits
		}
		m.bits = append(m.bits, bits)
	}
	m.run, m.at, m.given, m.pending = 0, 0, 0, m.pending[:0]
	m.times, m.refs = m.times[:0], m.refs[:0]
	return (*mergerSource)(m)
}

// sort orders rows by series, keeping the order of arrival. Refs are dense, so
// that counting them is one pass and placing them another.
func (m *Merger) sort() {
	m.order = grow(m.order, m.rows)
	span := 0
	if m.rows > 0 {
		span = int(m.hi-m.lo) + 1
	}
	if span > max(8*m.rows, 1<<20) {
		m.sortSparse()
		return
	}
	m.count = grow(m.count, span)
	clear(m.count)
	for p := range m.parts {
		part := &m.parts[p]
		for i, ref := range part.sec.Series {
			if part.all || !part.skip(i) {
				m.count[ref-m.lo]++
			}
		}
	}
	m.runs = m.runs[:0]
	start := uint32(0)
	for i, n := range m.count {
		if n > 0 {
			m.runs = append(m.runs, mergeRun{m.lo + telemetry.SeriesRef(i), n})
			m.count[i] = start // from here on where its next row goes
			start += n
		}
	}
	for p := range m.parts {
		part := &m.parts[p]
		for i, ref := range part.sec.Series {
			if part.all || !part.skip(i) {
				at := &m.count[ref-m.lo]
				m.order[*at] = uint64(p)<<32 | uint64(i)
				*at++
			}
		}
	}
}

// sortSparse is for few rows of series that are far apart.
func (m *Merger) sortSparse() {
	at := 0
	for p := range m.parts {
		part := &m.parts[p]
		for i := range part.sec.Series {
			if !part.skip(i) {
				m.order[at] = uint64(p)<<32 | uint64(i)
				at++
			}
		}
	}
	slices.SortFunc(m.order, func(a, b uint64) int {
		return cmp.Or(cmp.Compare(m.series(a), m.series(b)), cmp.Compare(a, b))
	})
	m.runs = m.runs[:0]
	for _, o := range m.order {
		ref := m.series(o)
		if n := len(m.runs); n == 0 || m.runs[n-1].series != ref {
			m.runs = append(m.runs, mergeRun{series: ref})
		}
		m.runs[len(m.runs)-1].rows++
	}
}

func (m *Merger) series(o uint64) telemetry.SeriesRef {
	return m.parts[o>>32].sec.Series[uint32(o)]
}

func (m *Merger) time(o uint64) int64 { return m.parts[o>>32].sec.Time[uint32(o)] }

// take moves the next series to what is pending, in order of time and without
// overwritten rows. Most series are in order already.
func (m *Merger) take() {
	run := m.runs[m.run]
	rows := m.order[m.at : m.at+int(run.rows)]
	m.run++
	m.at += len(rows)
	from := len(m.pending)
	overwrites := m.table.Identity == telemetry.IdentityTime
	ordered := m.lookUpTimes(rows, overwrites)
	if !ordered {
		slices.SortStableFunc(rows, func(a, b uint64) int { return cmp.Compare(m.time(a), m.time(b)) })
		if overwrites {
			rows = m.lastOfEach(rows)
		}
		m.times = m.times[:from]
		m.lookUpTimes(rows, false)
	}
	m.pending = append(m.pending, rows...)
	m.refs = slices.Grow(m.refs, len(rows))
	for range rows {
		m.refs = append(m.refs, run.series)
	}
}

// lookUpTimes appends the times of rows, and reports whether they are in order.
func (m *Merger) lookUpTimes(rows []uint64, strictly bool) bool {
	ordered, last := true, int64(math.MinInt64)
	m.times = slices.Grow(m.times, len(rows))
	for i, o := range rows {
		t := m.parts[o>>32].sec.Time[uint32(o)]
		if t < last || strictly && t == last && i > 0 {
			ordered = false
		}
		last = t
		m.times = append(m.times, t)
	}
	return ordered
}

// lastOfEach keeps the last arrival of each time.
func (m *Merger) lastOfEach(rows []uint64) []uint64 {
	kept := rows[:0]
	for i, o := range rows {
		if i+1 == len(rows) || m.time(rows[i+1]) != m.time(o) {
			kept = append(kept, o)
		}
	}
	return kept
}

type mergerSource Merger

// Next gives the next rows of the order.
func (src *mergerSource) Next(dst *telemetry.Section) (bool, error) {
	m := (*Merger)(src)
	// What is left moves to the front when it is little beside what was given,
	// so that a series of any length is moved once.
	if left := len(m.pending) - m.given; left < mergeRows {
		copy(m.pending, m.pending[m.given:])
		copy(m.times, m.times[m.given:])
		copy(m.refs, m.refs[m.given:])
		m.pending, m.times, m.refs, m.given = m.pending[:left], m.times[:left], m.refs[:left], 0
	}
	for m.run < len(m.runs) && len(m.pending)-m.given < mergeRows {
		m.take()
	}
	n := min(len(m.pending)-m.given, mergeRows)
	if n == 0 {
		return false, nil
	}
	m.gather(dst, n)
	m.given += n
	return true, nil
}

// gather fills dst with the first n pending rows, a column at a time.
func (m *Merger) gather(dst *telemetry.Section, n int) {
	resetSection(dst, m.table, n, len(m.table.Columns), true)
	copy(dst.Series, m.refs[m.given:])
	copy(dst.Time, m.times[m.given:])
	rows := m.pending[m.given : m.given+n]
	for i, o := range rows {
		dst.Received[i] = m.parts[o>>32].sec.Received[uint32(o)]
	}
	for c := range dst.Columns {
		v := &dst.Columns[c]
		v.Reset(m.table.Columns[c].Type)
		if m.texts[c].nulls {
			for i, o := range rows {
				if m.parts[o>>32].sec.Columns[c].Nulls.Get(int(uint32(o))) {
					v.Nulls = v.Nulls.Set(i)
				}
			}
		}
		if v.Type.Textual() && m.texts[c].plain {
			m.gatherTexts(v, c, rows)
			continue
		}
		v.Bits = grow(v.Bits, n)
		bits := m.bits[c]
		for i, o := range rows {
			v.Bits[i] = bits[o>>32][uint32(o)]
		}
		if v.Type.Textual() {
			m.recode(v, c, rows)
		}
	}
}

// recode turns the codes of the sections into those of all.
func (m *Merger) recode(v *telemetry.Vector, c int, rows []uint64) {
	t := &m.texts[c]
	v.Dict = t.dict
	for i, o := range rows {
		if remap := t.remap[o>>32]; remap != nil {
			if v.Bits[i] < uint64(len(remap)) {
				v.Bits[i] = uint64(remap[v.Bits[i]])
			} else {
				v.Bits[i] = 0 // only nulls have no code
			}
		}
	}
}

func (m *Merger) gatherTexts(v *telemetry.Vector, c int, rows []uint64) {
	for i, o := range rows {
		if !v.Nulls.Get(i) {
			src, row := &m.parts[o>>32].sec.Columns[c], int(uint32(o))
			if src.Dict != nil {
				v.Bytes = append(v.Bytes, src.Dict[src.Bits[row]]...)
			} else {
				v.Bytes = append(v.Bytes, src.Text(row)...)
			}
		}
		v.Ends = append(v.Ends, uint32(len(v.Bytes)))
	}
}

// joinTexts gives every text one code across all sections, where all are by
// dictionary.
func (m *Merger) joinTexts() {
	m.texts = make([]mergeText, len(m.table.Columns))
	for c := range m.texts {
		t := &m.texts[c]
		for p := range m.parts {
			t.nulls = t.nulls || len(m.parts[p].sec.Columns[c].Nulls) > 0
		}
		if !m.table.Columns[c].Type.Textual() {
			continue
		}
		codes := make(map[string]uint32)
		for p := range m.parts {
			src := &m.parts[p].sec.Columns[c]
			if len(src.Dict) == 0 {
				t.plain = true
				break
			}
			remap := make([]uint32, len(src.Dict))
			same := true
			for i, text := range src.Dict {
				code, ok := codes[text]
				if !ok {
					code = uint32(len(t.dict))
					codes[text] = code
					t.dict = append(t.dict, text)
				}
				remap[i] = code
				same = same && code == uint32(i)
			}
			if same {
				remap = nil
			}
			t.remap = append(t.remap, remap)
			if len(t.dict) > maxDict {
				t.plain = true
				break
			}
		}
	}
}
