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

	order  []uint64 // section << 32 | row, sorted by series, then arrival
	starts []uint32 // by series - lo: where its rows begin in order
	texts  []mergeText
	times  []int64
	out    telemetry.Section
	at     int // next row of order
	sorted int // rows of order that are in order of time too
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

// mergeText joins the dictionaries of one column of all sections.
type mergeText struct {
	plain bool // some section is plain, or there are too many texts
	dict  []string
	remap [][]uint32 // a section each
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
	m.parts, m.rows, m.order, m.at, m.sorted = m.parts[:0], 0, m.order[:0], 0, 0
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
	m.at, m.sorted = 0, 0
	return (*mergerSource)(m)
}

// sort orders rows by series, keeping the order of arrival. Refs are dense, so
// that counting them is one pass and placing them another.
func (m *Merger) sort() {
	if len(m.order) == m.rows {
		return
	}
	m.order = grow(m.order, m.rows)
	span := 0
	if m.rows > 0 {
		span = int(m.hi-m.lo) + 1
	}
	if span > max(8*m.rows, 1<<20) {
		m.sortSparse()
		return
	}
	m.starts = grow(m.starts, span+1)
	clear(m.starts)
	for p := range m.parts {
		part := &m.parts[p]
		for i, ref := range part.sec.Series {
			if !part.skip(i) {
				m.starts[ref-m.lo+1]++
			}
		}
	}
	for i := 1; i < len(m.starts); i++ {
		m.starts[i] += m.starts[i-1]
	}
	for p := range m.parts {
		part := &m.parts[p]
		for i, ref := range part.sec.Series {
			if !part.skip(i) {
				at := &m.starts[ref-m.lo]
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
}

func (m *Merger) series(o uint64) telemetry.SeriesRef {
	return m.parts[o>>32].sec.Series[uint32(o)]
}

func (m *Merger) time(o uint64) int64 { return m.parts[o>>32].sec.Time[uint32(o)] }

// sortSeries orders the rows of the series that begins at m.sorted by time, and
// drops overwritten ones. Most series are in order already.
func (m *Merger) sortSeries() {
	start := m.sorted
	ref := m.series(m.order[start])
	end := start
	m.times = m.times[:0]
	ordered, last := true, int64(math.MinInt64)
	overwrites := m.table.Identity == telemetry.IdentityTime
	for end < len(m.order) && m.series(m.order[end]) == ref {
		t := m.time(m.order[end])
		ordered = ordered && (t > last || t == last && !overwrites)
		last = t
		end++
	}
	m.sorted = end
	if ordered {
		return
	}
	rows := m.order[start:end]
	slices.SortStableFunc(rows, func(a, b uint64) int { return cmp.Compare(m.time(a), m.time(b)) })
	if !overwrites {
		return
	}
	// What is dropped leaves a hole in front of the series' other rows, so that
	// nothing behind has to move.
	keep := len(rows)
	for i := len(rows) - 1; i >= 0; i-- {
		if i < len(rows)-1 && m.time(rows[i]) == m.time(rows[keep]) {
			continue
		}
		keep--
		rows[keep] = rows[i]
	}
	for i := range keep {
		rows[i] = dropped
	}
}

// dropped stands in the order for a row that another overwrote.
const dropped = math.MaxUint64

type mergerSource Merger

// Next gives the next rows of the order.
func (src *mergerSource) Next(dst *telemetry.Section) (bool, error) {
	m := (*Merger)(src)
	var rows []uint64
	for len(rows) == 0 {
		if m.at >= m.rows {
			return false, nil
		}
		for m.sorted < m.rows && m.sorted-m.at < mergeRows {
			m.sortSeries()
		}
		end := min(m.at+mergeRows, m.sorted)
		rows = m.order[m.at:end]
		m.at = end
		if m.table.Identity == telemetry.IdentityTime {
			for len(rows) > 0 && rows[0] == dropped {
				rows = rows[1:]
			}
			if i := slices.Index(rows, dropped); i >= 0 {
				m.at -= len(rows) - i
				rows = rows[:i]
			}
		}
	}
	m.gather(dst, rows)
	return true, nil
}

// gather fills dst with the rows, a column at a time.
func (m *Merger) gather(dst *telemetry.Section, rows []uint64) {
	resetSection(dst, m.table, len(rows), len(m.table.Columns), true)
	for i, o := range rows {
		sec, row := m.parts[o>>32].sec, uint32(o)
		dst.Series[i] = sec.Series[row]
		dst.Time[i] = sec.Time[row]
		dst.Received[i] = sec.Received[row]
	}
	for c := range dst.Columns {
		v := &dst.Columns[c]
		v.Reset(m.table.Columns[c].Type)
		for i, o := range rows {
			src := &m.parts[o>>32].sec.Columns[c]
			if len(src.Nulls) > 0 && src.Nulls.Get(int(uint32(o))) {
				v.Nulls = v.Nulls.Set(i)
			}
		}
		if v.Type.Textual() {
			m.gatherTexts(v, c, rows)
			continue
		}
		v.Bits = grow(v.Bits, len(rows))
		for i, o := range rows {
			v.Bits[i] = m.parts[o>>32].sec.Columns[c].Bits[uint32(o)]
		}
	}
}

func (m *Merger) gatherTexts(v *telemetry.Vector, c int, rows []uint64) {
	t := &m.texts[c]
	if !t.plain {
		v.Dict = t.dict
		v.Bits = grow(v.Bits, len(rows))
		for i, o := range rows {
			src := &m.parts[o>>32].sec.Columns[c]
			if v.Nulls.Get(i) {
				v.Bits[i] = 0
				continue
			}
			v.Bits[i] = uint64(t.remap[o>>32][src.Bits[uint32(o)]])
		}
		return
	}
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
		if !m.table.Columns[c].Type.Textual() {
			continue
		}
		codes := make(map[string]uint32)
		for p := range m.parts {
			src := &m.parts[p].sec.Columns[c]
			if src.Dict == nil && countNulls(src.Nulls, m.parts[p].sec.Rows()) != m.parts[p].sec.Rows() {
				t.plain = true
				break
			}
			remap := make([]uint32, len(src.Dict))
			for i, text := range src.Dict {
				code, ok := codes[text]
				if !ok {
					code = uint32(len(t.dict))
					codes[text] = code
					t.dict = append(t.dict, text)
				}
				remap[i] = code
			}
			t.remap = append(t.remap, remap)
			if len(t.dict) > maxDict {
				t.plain = true
				break
			}
		}
		if len(t.dict) == 0 {
			t.plain = true
		}
	}
}
