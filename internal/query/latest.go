package query

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// latestScan is a scan of the newest row of each series. Of several rows at
// the newest time it holds the one that was received last.
type latestScan struct {
	store.Scan
	units []store.Unit
}

func (s *latestScan) Units() []store.Unit { return s.units }

// latestUnit holds the newest rows that stand in one unit of the table.
type latestUnit struct {
	from    store.Unit
	section telemetry.Section
	bytes   int64
	best    *newest
}

func (u *latestUnit) Rows() int                           { return u.section.Rows() }
func (u *latestUnit) Table() *telemetry.Table             { return u.from.Table() }
func (u *latestUnit) MinTime() int64                      { return math.MinInt64 }
func (u *latestUnit) MaxTime() int64                      { return math.MaxInt64 }
func (u *latestUnit) Runs() []store.Run                   { return nil }
func (u *latestUnit) RunStats(string) []store.ColumnStats { return nil }
func (u *latestUnit) Wanted(telemetry.SeriesRef) bool     { return true }

// Read lends the rows: they are not written to.
func (u *latestUnit) Read(dst *telemetry.Section, _ []string, _ bool) (int64, error) {
	*dst = u.section
	return u.bytes, nil
}

// newest says for each series what is its newest time and which unit has it.
type newest struct {
	time []int64
	seen []bool
	recv []int64
	unit []*latestUnit
}

func (b *newest) offer(ref telemetry.SeriesRef, t int64) {
	if !b.seen[ref] || t > b.time[ref] {
		b.seen[ref], b.time[ref] = true, t
	}
}

// openLatest finds the newest rows and reads the columns of the execution. The
// conditions on time and values of req are about those rows, not about which
// rows are the newest.
func openLatest(ctx context.Context, st store.Store, tenant telemetry.Tenant, req store.ScanRequest, x *execution) (store.Scan, error) {
	req.From, req.To, req.Ranges = math.MinInt64, math.MaxInt64, nil
	scan, err := st.Scan(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("scan table %q: %w", req.Table, err)
	}
	s := &latestScan{Scan: scan}
	if err := s.find(ctx, x); err != nil {
		scan.Close()
		return nil, err
	}
	return s, nil
}

func (s *latestScan) find(ctx context.Context, x *execution) error {
	n := int(s.MaxSeries())
	best := &newest{time: make([]int64, n), seen: make([]bool, n), recv: make([]int64, n), unit: make([]*latestUnit, n)}
	if err := x.grow(n * 25); err != nil {
		return err
	}
	defer x.grow(-n * 25) //nolint:errcheck // giving back cannot fail
	units, err := s.findTimes(ctx, best, x)
	if err != nil {
		return err
	}
	parts := make([]*latestUnit, len(units))
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for range max(1, min(runtime.GOMAXPROCS(0), len(units))) {
		wg.Go(func() {
			var section telemetry.Section
			for {
				i := int(next.Add(1)) - 1
				if i >= len(units) || ctx.Err() != nil {
					return
				}
				p, err := readNewest(units[i], best, x, &section)
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				parts[i] = p
			}
		})
	}
	wg.Wait()
	if failed == nil && ctx.Err() != nil {
		failed = contextError(ctx)
	}
	if failed != nil {
		return failed
	}
	for _, p := range parts {
		if p == nil {
			continue
		}
		p.settle()
		s.units = append(s.units, p)
		if err := x.grow(p.section.SizeBytes()); err != nil {
			return err
		}
	}
	for _, u := range s.units {
		u.(*latestUnit).dropBeaten()
	}
	return nil
}

// findTimes fills best with the newest time of each series, and returns the units
// that may hold it. The newest units come first: of the others most are known to
// hold nothing newer by their range of series alone, so that the cost does not
// grow with what is stored.
func (s *latestScan) findTimes(ctx context.Context, best *newest, x *execution) ([]store.Unit, error) {
	units := s.Scan.Units()
	order := make([]int, len(units))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(units[b].MaxTime(), units[a].MaxTime()) })
	kept := order[:0]
	var section telemetry.Section
	for _, at := range order {
		u := units[at]
		if err := ctx.Err(); err != nil {
			return nil, contextError(ctx)
		}
		if best.knows(u) {
			x.stats.skipped.Add(1)
			continue
		}
		kept = append(kept, at)
		if runs := u.Runs(); runs != nil {
			for i := range runs {
				if r := &runs[i]; r.Rows > 0 && u.Wanted(r.Series) {
					best.offer(r.Series, r.MaxTime)
				}
			}
			continue
		}
		if _, err := u.Read(&section, nil, false); err != nil {
			return nil, err
		}
		for i, ref := range section.Series {
			if u.Wanted(ref) {
				best.offer(ref, section.Time[i])
			}
		}
	}
	slices.Sort(kept) // of equal rows the one that stands last counts
	out := make([]store.Unit, len(kept))
	for i, at := range kept {
		out[i] = units[at]
	}
	return out, nil
}

// knows reports whether all series that a unit may hold have newer rows than it.
func (b *newest) knows(u store.Unit) bool {
	r, ok := u.(store.Ranged)
	if !ok {
		return false
	}
	until := u.MaxTime()
	least, greatest := r.SeriesRange()
	for ref := least; ; ref++ {
		if (!b.seen[ref] || b.time[ref] <= until) && u.Wanted(ref) {
			return false
		}
		if ref == greatest {
			return true
		}
	}
}

// readNewest copies the rows of a unit that are the newest of their series.
func readNewest(u store.Unit, best *newest, x *execution, section *telemetry.Section) (*latestUnit, error) {
	if runs := u.Runs(); runs != nil {
		some := false
		for i := range runs {
			r := &runs[i]
			some = some || r.Rows > 0 && best.seen[r.Series] && best.time[r.Series] == r.MaxTime && u.Wanted(r.Series)
		}
		if !some {
			x.stats.skipped.Add(1)
			return nil, nil
		}
	}
	n, err := u.Read(section, x.columns, true)
	if err != nil {
		return nil, err
	}
	x.stats.decoded.Add(1)
	p := &latestUnit{from: u, best: best, bytes: n}
	shape := &telemetry.Table{}
	for i := range x.columns {
		shape.Columns = append(shape.Columns, telemetry.Column{Name: x.columns[i], Type: section.Columns[i].Type})
	}
	p.section.Reset(shape)
	if runs := u.Runs(); runs != nil {
		for i := range runs {
			if r := &runs[i]; r.Rows > 0 && best.seen[r.Series] && best.time[r.Series] == r.MaxTime && u.Wanted(r.Series) {
				// The newest rows are the last: mostly one.
				end := r.Start + r.Rows
				from := end - 1
				for from > r.Start && section.Time[from-1] == r.MaxTime {
					from--
				}
				for ; from < end; from++ {
					copyRow(&p.section, section, from)
				}
			}
		}
		return p.unlessEmpty(), nil
	}
	for i, ref := range section.Series {
		if best.seen[ref] && section.Time[i] == best.time[ref] && u.Wanted(ref) {
			copyRow(&p.section, section, i)
		}
	}
	return p.unlessEmpty(), nil
}

func (u *latestUnit) unlessEmpty() *latestUnit {
	if u.section.Rows() == 0 {
		return nil
	}
	return u
}

// settle decides between rows of equal time: the one received last wins, and
// of those the one that stands last.
func (u *latestUnit) settle() {
	b := u.best
	for i, ref := range u.section.Series {
		if b.unit[ref] == nil || u.section.Received[i] >= b.recv[ref] {
			b.unit[ref], b.recv[ref] = u, u.section.Received[i]
		}
	}
}

// dropBeaten removes the rows that settle decided against.
func (u *latestUnit) dropBeaten() {
	keep := make([]int, 0, u.Rows())
	at := map[telemetry.SeriesRef]int{}
	for i, ref := range u.section.Series {
		if u.best.unit[ref] != u || u.section.Received[i] != u.best.recv[ref] {
			continue
		}
		if j, ok := at[ref]; ok {
			keep[j] = i
			continue
		}
		at[ref] = len(keep)
		keep = append(keep, i)
	}
	if len(keep) == u.Rows() {
		return
	}
	old := u.section
	shape := &telemetry.Table{}
	for i := range old.Columns {
		shape.Columns = append(shape.Columns, telemetry.Column{Type: old.Columns[i].Type})
	}
	u.section = telemetry.Section{}
	u.section.Reset(shape)
	for _, i := range keep {
		copyRow(&u.section, &old, i)
	}
}

// copyRow appends row i of a section to another of the same columns.
func copyRow(dst, src *telemetry.Section, i int) {
	row := dst.Rows()
	dst.Series = append(dst.Series, src.Series[i])
	dst.Time = append(dst.Time, src.Time[i])
	dst.Received = append(dst.Received, src.Received[i])
	for c := range dst.Columns {
		d, s := &dst.Columns[c], &src.Columns[c]
		null := s.Nulls.Get(i)
		if null {
			d.Nulls = d.Nulls.Set(row)
		}
		switch {
		case !s.Type.Textual():
			d.Bits = append(d.Bits, s.Bits[i])
			continue
		case null:
		case s.Dict != nil:
			d.Bytes = append(d.Bytes, s.Dict[s.Bits[i]]...)
		default:
			d.Bytes = append(d.Bytes, s.Text(i)...)
		}
		d.Ends = append(d.Ends, uint32(len(d.Bytes)))
	}
}
