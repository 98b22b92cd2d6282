package transfer

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Stretch is a time range of one table that is given in order.
type Stretch struct {
	Request store.ScanRequest
	// Columns are those that the rows have; the table's must be the same still.
	Columns []telemetry.Column
	Tags    []string
	// Picker, if set, returns what picks the rows of the units of a scan.
	Picker func(store.Scan) func(ctx context.Context, u store.Unit, yield func([]int32)) error
}

// How much is held in memory to be put in order.
const (
	orderRows  = 200_000
	orderBytes = 48 << 20
)

// Ordered calls yield with the rows of a stretch in an order that depends on the
// readings alone: by topic, tags, time, time of receipt, version and values. It
// holds a bounded part of them at a time: what is too much is taken in several
// passes, first by series and then by time.
func Ordered(ctx context.Context, st store.Store, s Stretch, yield func(*Rows) error) error {
	return ordered(ctx, st, s, orderRows, orderBytes, yield)
}

func ordered(ctx context.Context, st store.Store, s Stretch, rows int, bytes int, yield func(*Rows) error) error {
	scan, err := st.Scan(ctx, s.Request)
	if err != nil {
		return err
	}
	defer scan.Close()
	if err := s.unchanged(scan); err != nil {
		return err
	}
	o := &orderer{ctx: ctx, s: s, scan: scan, limitRows: rows, limitBytes: bytes, yield: yield}
	for _, c := range s.Columns {
		o.names = append(o.names, c.Name)
	}
	if s.Picker != nil {
		o.pick = s.Picker(scan)
	}
	if err := o.count(); err != nil {
		return err
	}
	return o.all()
}

// unchanged refuses to go on with other columns than the file began with.
func (s *Stretch) unchanged(scan store.Scan) error {
	same := slices.Equal(scan.TagNames(), s.Tags) && len(scan.Columns()) == len(s.Columns)
	for i, c := range scan.Columns() {
		same = same && c.Name == s.Columns[i].Name && c.Type == s.Columns[i].Type
	}
	if !same {
		return telemetry.Errorf(telemetry.CodeConflict, "export", "the columns of %s changed during the export", s.Request.Table).
			WithHint("a new version of its schema came: begin again without --resume")
	}
	return nil
}

// orderer gives the rows of one scan.
type orderer struct {
	ctx        context.Context
	s          Stretch
	scan       store.Scan
	names      []string
	limitRows  int
	limitBytes int
	yield      func(*Rows) error
	pick       func(ctx context.Context, u store.Unit, yield func([]int32)) error

	series []seriesCount // in the order of the file
	rank   []int32       // by ref: place in series, -1 for none
	sec    telemetry.Section
	picked []bool
}

// seriesCount is a series with about how many rows it has.
type seriesCount struct {
	ref  telemetry.SeriesRef
	info store.SeriesInfo
	rows int
}

// count finds the series and about how many rows each has.
func (o *orderer) count() error {
	counts := make([]int, o.scan.MaxSeries())
	for _, u := range o.scan.Units() {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		if runs := u.Runs(); runs != nil {
			for _, r := range runs {
				if r.MaxTime >= o.s.Request.From && r.MinTime < o.s.Request.To && u.Wanted(r.Series) {
					counts[r.Series] += r.Rows
				}
			}
			continue
		}
		if _, err := u.Read(&o.sec, nil, false); err != nil {
			return err
		}
		for i, ref := range o.sec.Series {
			if t := o.sec.Time[i]; t >= o.s.Request.From && t < o.s.Request.To && u.Wanted(ref) {
				counts[ref]++
			}
		}
	}
	for ref, n := range counts {
		if n > 0 {
			o.series = append(o.series, seriesCount{telemetry.SeriesRef(ref), o.scan.Series(telemetry.SeriesRef(ref)), n})
		}
	}
	slices.SortFunc(o.series, func(a, b seriesCount) int {
		if c := strings.Compare(a.info.Topic, b.info.Topic); c != 0 {
			return c
		}
		return slices.CompareFunc(a.info.Tags, b.info.Tags, compareTags)
	})
	o.rank = make([]int32, len(counts))
	for i := range o.rank {
		o.rank[i] = -1
	}
	for i := range o.series {
		o.rank[o.series[i].ref] = int32(i)
	}
	return nil
}

// compareTags puts null first.
func compareTags(a, b store.Tag) int {
	switch {
	case a.Null && b.Null:
		return 0
	case a.Null:
		return -1
	case b.Null:
		return 1
	}
	return strings.Compare(a.Value, b.Value)
}

// all gives the series in groups that fit.
func (o *orderer) all() error {
	for from := 0; from < len(o.series); {
		to, rows := from, 0
		for to < len(o.series) && (to == from || rows+o.series[to].rows <= o.limitRows) {
			rows += o.series[to].rows
			to++
		}
		if err := o.group(from, to, o.s.Request.From, o.s.Request.To); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// group gives the rows of the series from, exclusive to, within a time range. What
// does not fit is given in two halves.
func (o *orderer) group(from, to int, lo, hi int64) error {
	rows, fits, err := o.gather(from, to, lo, hi)
	if err != nil {
		return err
	}
	if fits {
		if rows == nil {
			return nil
		}
		o.sort(rows)
		return o.yield(rows)
	}
	if to-from > 1 {
		middle := from + (to-from)/2
		if err := o.group(from, middle, lo, hi); err != nil {
			return err
		}
		return o.group(middle, to, lo, hi)
	}
	first, last, err := o.bounds(from, lo, hi)
	if err != nil {
		return err
	}
	if first == last {
		// All of one moment: they are given as they come, which is what memory allows.
		return telemetry.Errorf(telemetry.CodeLimit, "export", "series %s of %s has more readings of one nanosecond than memory holds", o.series[from].info.Topic, o.s.Request.Table)
	}
	middle := first + int64((uint64(last)-uint64(first))/2) + 1
	if err := o.group(from, to, lo, middle); err != nil {
		return err
	}
	return o.group(from, to, middle, hi)
}

// bounds returns the least and the greatest time of a series in a range.
func (o *orderer) bounds(series int, lo, hi int64) (first, last int64, err error) {
	first, last = math.MaxInt64, math.MinInt64
	ref := o.series[series].ref
	for _, u := range o.scan.Units() {
		if u.MaxTime() < lo || u.MinTime() >= hi || !has(u, o.rank, series, series+1) {
			continue
		}
		if _, err := u.Read(&o.sec, nil, false); err != nil {
			return 0, 0, err
		}
		for i, t := range o.sec.Time {
			if o.sec.Series[i] == ref && t >= lo && t < hi {
				first, last = min(first, t), max(last, t)
			}
		}
	}
	return first, last, nil
}

// has reports whether a unit may hold rows of the ranks.
func has(u store.Unit, rank []int32, from, to int) bool {
	runs := u.Runs()
	if runs == nil {
		return true
	}
	for _, r := range runs {
		if k := int(rank[r.Series]); k >= from && k < to {
			return true
		}
	}
	return false
}

// gather reads the rows of a group, unless they are more than memory holds.
func (o *orderer) gather(from, to int, lo, hi int64) (*Rows, bool, error) {
	out := &Rows{Section: &telemetry.Section{}, Of: map[telemetry.SeriesRef]int{}}
	out.Section.Reset(&telemetry.Table{Name: o.s.Request.Table, Columns: o.s.Columns})
	for _, u := range o.scan.Units() {
		if err := o.ctx.Err(); err != nil {
			return nil, false, err
		}
		if u.MaxTime() < lo || u.MinTime() >= hi || !has(u, o.rank, from, to) {
			continue
		}
		if err := o.pickRows(u); err != nil {
			return nil, false, err
		}
		if _, err := u.Read(&o.sec, o.names, true); err != nil {
			return nil, false, err
		}
		version := int32(u.Table().Version)
		for i, ref := range o.sec.Series {
			k := int(o.rank[ref])
			if t := o.sec.Time[i]; k < from || k >= to || t < lo || t >= hi || !u.Wanted(ref) || o.pick != nil && (i >= len(o.picked) || !o.picked[i]) {
				continue
			}
			appendSectionRow(out.Section, &o.sec, i)
			out.Version = append(out.Version, version)
		}
		if out.Section.Rows() > 2*o.limitRows && to-from > 1 || out.Section.SizeBytes() > o.limitBytes || out.Section.Rows() > 4*o.limitRows {
			return nil, false, nil
		}
	}
	if out.Section.Rows() == 0 {
		return nil, true, nil
	}
	for i := from; i < to; i++ {
		out.Of[o.series[i].ref] = len(out.Names)
		out.Names = append(out.Names, o.series[i].info)
	}
	return out, true, nil
}

// pickRows notes which rows of a unit meet the condition.
func (o *orderer) pickRows(u store.Unit) error {
	if o.pick == nil {
		return nil
	}
	o.picked = o.picked[:0]
	return o.pick(o.ctx, u, func(rows []int32) {
		for _, r := range rows {
			for int(r) >= len(o.picked) {
				o.picked = append(o.picked, make([]bool, max(1024, int(r)+1-len(o.picked)))...)
			}
			o.picked[r] = true
		}
	})
}

func appendSectionRow(dst, src *telemetry.Section, i int) {
	row := len(dst.Series)
	dst.Series = append(dst.Series, src.Series[i])
	dst.Time = append(dst.Time, src.Time[i])
	dst.Received = append(dst.Received, src.Received[i])
	for c := range dst.Columns {
		d, s := &dst.Columns[c], &src.Columns[c]
		null := s.Nulls.Get(i)
		if d.Type.Textual() {
			if !null {
				d.Bytes = append(d.Bytes, s.Text(i)...)
			}
			d.Ends = append(d.Ends, uint32(len(d.Bytes)))
		} else {
			d.Bits = append(d.Bits, s.Bits[i])
		}
		if null {
			d.Nulls = d.Nulls.Set(row)
		}
	}
}

// sort puts rows in order.
func (o *orderer) sort(r *Rows) {
	sec := r.Section
	r.Order = make([]int32, sec.Rows())
	for i := range r.Order {
		r.Order[i] = int32(i)
	}
	slices.SortFunc(r.Order, func(a, b int32) int {
		if c := cmp.Compare(o.rank[sec.Series[a]], o.rank[sec.Series[b]]); c != 0 {
			return c
		}
		if c := cmp.Compare(sec.Time[a], sec.Time[b]); c != 0 {
			return c
		}
		if c := cmp.Compare(sec.Received[a], sec.Received[b]); c != 0 {
			return c
		}
		if c := cmp.Compare(r.Version[a], r.Version[b]); c != 0 {
			return c
		}
		for i := range sec.Columns {
			if c := compareValues(&sec.Columns[i], int(a), int(b)); c != 0 {
				return c
			}
		}
		return 0
	})
}

// compareValues is any total order; null comes first.
func compareValues(v *telemetry.Vector, a, b int) int {
	switch na, nb := v.Nulls.Get(a), v.Nulls.Get(b); {
	case na && nb:
		return 0
	case na:
		return -1
	case nb:
		return 1
	}
	if v.Type.Textual() {
		return bytes.Compare(v.Text(a), v.Text(b))
	}
	return cmp.Compare(v.Bits[a], v.Bits[b])
}
