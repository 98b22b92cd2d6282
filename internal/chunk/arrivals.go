package chunk

import (
	"cmp"
	"slices"
	"sort"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// maxArrivals bounds the entries of an arrival table.
const maxArrivals = 1 << 20

// minBurst is the mean burst below which an arrival table costs more than the
// column it replaces.
const minBurst = 12

// Arrivals is a table that predicts when a reading was received from its series
// and time. Rows of one burst share their received_at, and bursts follow each
// other in time, so a table with one entry a burst takes the place of a column:
// after the sort by series the column would be a step for nearly every row.
//
// An entry says up to which (time, series) its burst reaches.
type Arrivals struct {
	entries []arrival
	rows    int
	open    bool // the last entry may grow
	index   map[int64]int32
}

type arrival struct {
	time     int64
	series   telemetry.SeriesRef
	received int64
}

func (a arrival) before(time int64, series telemetry.SeriesRef) bool {
	return a.time < time || a.time == time && a.series < series
}

// Add takes rows in the order of arrival. Seal must follow before use.
func (a *Arrivals) Add(sec *telemetry.Section) { a.addPart(&mergePart{sec: sec, all: true}) }

func (a *Arrivals) addPart(p *mergePart) {
	sec := p.sec
	for i, rec := range sec.Received {
		if p.skip(i) {
			continue
		}
		a.rows++
		if n := len(a.entries); !a.open || a.entries[n-1].received != rec {
			if n > maxArrivals {
				return
			}
			a.entries = append(a.entries, arrival{sec.Time[i], sec.Series[i], rec})
			a.open = true
			continue
		}
		if e := &a.entries[len(a.entries)-1]; e.before(sec.Time[i], sec.Series[i]) {
			e.time, e.series = sec.Time[i], sec.Series[i]
		}
	}
}

// Pays reports whether the table is small beside the rows it was made from.
func (a *Arrivals) Pays() bool {
	n := len(a.entries)
	return n > 0 && n <= maxArrivals && n*minBurst <= a.rows
}

// Len counts the entries.
func (a *Arrivals) Len() int { return len(a.entries) }

// Seal ends the adding: from here on the table predicts.
func (a *Arrivals) Seal() {
	a.open = false
	byKey := func(x, y arrival) int {
		return cmp.Or(cmp.Compare(x.time, y.time), cmp.Compare(x.series, y.series), cmp.Compare(x.received, y.received))
	}
	if !slices.IsSortedFunc(a.entries, byKey) {
		slices.SortFunc(a.entries, byKey)
	}
	a.index = make(map[int64]int32, len(a.entries))
	for i, e := range a.entries {
		a.index[e.received] = int32(i)
	}
}

// from returns the first entry that reaches the key.
func (a *Arrivals) from(time int64, series telemetry.SeriesRef) int {
	return sort.Search(len(a.entries)-1, func(i int) bool { return !a.entries[i].before(time, series) })
}

// codes appends how far each row's true entry is from the predicted one; false
// where a row has none.
func (a *Arrivals) codes(dst []uint64, sec *telemetry.Section) ([]uint64, bool) {
	p := 0
	for i, ref := range sec.Series {
		time := sec.Time[i]
		if i == 0 || ref != sec.Series[i-1] {
			p = a.from(time, ref)
		}
		for p < len(a.entries)-1 && a.entries[p].before(time, ref) {
			p++
		}
		rec := sec.Received[i]
		if a.entries[p].received == rec {
			dst = append(dst, 0)
			continue
		}
		at, ok := a.index[rec]
		if !ok {
			return dst, false
		}
		dst = append(dst, uint64(int64(at)-int64(p)))
	}
	return dst, true
}

// decode turns the codes in received into times.
func (a *Arrivals) decode(sec *telemetry.Section) error {
	if len(a.entries) == 0 {
		return errForm
	}
	p := 0
	for i, ref := range sec.Series {
		time := sec.Time[i]
		if i == 0 || ref != sec.Series[i-1] {
			p = a.from(time, ref)
		}
		for p < len(a.entries)-1 && a.entries[p].before(time, ref) {
			p++
		}
		at := uint64(int64(p) + sec.Received[i])
		if at >= uint64(len(a.entries)) {
			return errRange
		}
		sec.Received[i] = a.entries[at].received
	}
	return nil
}

// append appends the page body.
func (a *Arrivals) append(s *scratch, dst []byte) []byte {
	v := make([]uint64, len(a.entries))
	for i, e := range a.entries {
		v[i] = uint64(e.time)
	}
	dst = s.appendInts(dst, v, effort{})
	for i, e := range a.entries {
		v[i] = uint64(e.series)
	}
	dst = s.appendInts(dst, v, effort{})
	for i, e := range a.entries {
		v[i] = uint64(e.received)
	}
	return s.appendInts(dst, v, effort{})
}

// readArrivals decodes a page body of n entries.
func readArrivals(body []byte, n int) (*Arrivals, error) {
	a := &Arrivals{entries: make([]arrival, n)}
	v := make([]uint64, n)
	r := reader{b: body}
	r.ints(v)
	for i, x := range v {
		a.entries[i].time = int64(x)
	}
	r.ints(v)
	for i, x := range v {
		if x > 1<<32-1 {
			return nil, errRange
		}
		a.entries[i].series = telemetry.SeriesRef(x)
	}
	r.ints(v)
	for i, x := range v {
		a.entries[i].received = int64(x)
	}
	return a, r.end()
}

// appendReceived appends the received page in the cheapest of its forms.
func (s *scratch) appendReceived(dst []byte, sec *telemetry.Section, a *Arrivals, e effort) []byte {
	from := len(dst)
	if a != nil {
		var ok bool
		if s.codes, ok = a.codes(s.codes[:0], sec); ok {
			dst = s.planner.appendStream(append(dst, formArrivals), s.codes, e.runs, e.fast)
			if len(dst)-from <= sec.Rows()/4 {
				return dst
			}
		}
	}
	best := len(dst) - from // 0: no form yet, else that of arrivals
	keep := func(at int) {
		if n := len(dst) - at; best == 0 || n < best {
			dst = append(dst[:from], dst[at:]...)
			best = n
		} else {
			dst = dst[:at]
		}
	}
	at := len(dst)
	dst = s.appendInts(dst, asBits(sec.Received), e)
	keep(at)
	at = len(dst)
	s.codes = s.codes[:0]
	for i, t := range sec.Time {
		s.codes = append(s.codes, uint64(sec.Received[i]-t))
	}
	exp := decimalScale(s.codes, false)
	s.ints = divide(s.ints[:0], s.codes, exp)
	dst = s.planner.appendStream(append(dst, formLag, byte(exp)), s.ints, e.runs, e.fast)
	keep(at)
	return dst
}
