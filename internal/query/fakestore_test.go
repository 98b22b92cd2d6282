package query_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// fakeStore holds decoded units, so that tests decide how rows are laid out in
// them and benchmarks measure the executor and not a store.
type fakeStore struct {
	store.Store // panics where a test needs more than it should
	tables      map[string]*fakeTable
	onRead      func() // called by every Read
	mu          sync.Mutex
	dicts       map[*telemetry.Section][]string // reused from unit to unit, as stores may
}

type fakeTable struct {
	versions []*telemetry.Table
	columns  []telemetry.Column
	tags     []string
	series   []store.SeriesInfo
	units    []*fakeUnit
}

// fakeUnit is the rows of one version; sections hold all columns of the table.
type fakeUnit struct {
	table    *telemetry.Table
	columns  []telemetry.Column
	section  telemetry.Section
	runs     []store.Run
	stats    map[string][]store.ColumnStats
	min, max int64
}

type boundUnit struct {
	*fakeUnit
	scan *fakeScan
}

type fakeScan struct {
	*fakeTable
	store   *fakeStore
	match   []bool
	req     store.ScanRequest
	skipped int
	bound   []store.Unit
}

func (s *fakeStore) Tables(context.Context, telemetry.Tenant) ([]store.TableRecord, error) {
	var recs []store.TableRecord
	for _, t := range s.tables {
		for _, v := range t.versions {
			recs = append(recs, store.TableRecord{Table: v})
		}
	}
	sort.Slice(recs, func(i, j int) bool {
		a, b := recs[i].Table, recs[j].Table
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.Version < b.Version
	})
	return recs, nil
}

func (s *fakeStore) Scan(_ context.Context, r store.ScanRequest) (store.Scan, error) {
	t := s.tables[r.Table]
	if t == nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "scan", "no table %q", r.Table)
	}
	sc := &fakeScan{fakeTable: t, store: s, req: r, match: make([]bool, len(t.series))}
	some := false
	for i, info := range t.series {
		sc.match[i] = r.Match == nil || r.Match(info.Topic, info.Tags)
		some = some || sc.match[i]
	}
	for _, u := range t.units {
		if !some || u.max < r.From || u.min >= r.To || !u.mayMatch(r.Ranges) {
			sc.skipped++
			continue
		}
		sc.bound = append(sc.bound, boundUnit{u, sc})
	}
	return sc, nil
}

// mayMatch prunes by statistics as a store would.
func (u *fakeUnit) mayMatch(ranges []store.ValueRange) bool {
	for _, r := range ranges {
		stats := u.stats[r.Column]
		if stats == nil {
			continue
		}
		if !slices.ContainsFunc(stats, func(s store.ColumnStats) bool { return s.Count > 0 && s.Max >= r.Min && s.Min <= r.Max }) {
			return false
		}
	}
	return true
}

func (s *fakeScan) Columns() []telemetry.Column                   { return s.columns }
func (s *fakeScan) TagNames() []string                            { return s.tags }
func (s *fakeScan) Series(r telemetry.SeriesRef) store.SeriesInfo { return s.series[r] }
func (s *fakeScan) MaxSeries() telemetry.SeriesRef                { return telemetry.SeriesRef(len(s.series)) }
func (s *fakeScan) Units() []store.Unit                           { return s.bound }
func (s *fakeScan) Skipped() int                                  { return s.skipped }
func (s *fakeScan) Segments() store.SegmentCount                  { return store.SegmentCount{} }
func (s *fakeScan) Close()                                        {}

func (u boundUnit) Rows() int                             { return u.section.Rows() }
func (u boundUnit) Table() *telemetry.Table               { return u.table }
func (u boundUnit) MinTime() int64                        { return u.min }
func (u boundUnit) MaxTime() int64                        { return u.max }
func (u boundUnit) Runs() []store.Run                     { return u.runs }
func (u boundUnit) RunStats(c string) []store.ColumnStats { return u.stats[c] }
func (u boundUnit) Wanted(r telemetry.SeriesRef) bool     { return u.scan.match[r] }

func (u boundUnit) Read(dst *telemetry.Section, columns []string, received bool) (int64, error) {
	if f := u.scan.store.onRead; f != nil {
		f()
	}
	// A real store decodes into dst's own memory: copying is the cheapest that
	// still is one pass over the data.
	shape := &telemetry.Table{}
	for _, c := range columns {
		i := slices.IndexFunc(u.columns, func(x telemetry.Column) bool { return x.Name == c })
		shape.Columns = append(shape.Columns, u.columns[i])
	}
	dst.Reset(shape)
	dst.Series = append(dst.Series, u.section.Series...)
	dst.Time = append(dst.Time, u.section.Time...)
	if received {
		dst.Received = append(dst.Received, u.section.Received...)
	}
	n := int64(len(dst.Series)) * 12
	for i, c := range shape.Columns {
		j := slices.IndexFunc(u.columns, func(x telemetry.Column) bool { return x.Name == c.Name })
		s, d := &u.section.Columns[j], &dst.Columns[i]
		d.Type = s.Type
		d.Bits = append(d.Bits, s.Bits...)
		d.Ends = append(d.Ends, s.Ends...)
		d.Bytes = append(d.Bytes, s.Bytes...)
		d.Nulls = append(d.Nulls, s.Nulls...)
		if s.Dict != nil {
			d.Dict = u.scan.store.dict(dst, s.Dict)
		}
		n += int64(len(s.Bits))*8 + int64(len(s.Bytes))
	}
	return n, nil
}

// dict copies a dictionary to the memory that the section's one before had.
func (s *fakeStore) dict(dst *telemetry.Section, from []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dicts == nil {
		s.dicts = map[*telemetry.Section][]string{}
	}
	s.dicts[dst] = append(s.dicts[dst][:0], from...)
	return s.dicts[dst]
}

// finish computes what a store knows of a unit. sorted gives it runs.
func (u *fakeUnit) finish(sorted bool) {
	s := &u.section
	u.min, u.max = math.MaxInt64, math.MinInt64
	for _, t := range s.Time {
		u.min, u.max = min(u.min, t), max(u.max, t)
	}
	if !sorted {
		return
	}
	for i, ref := range s.Series {
		if n := len(u.runs); n > 0 && u.runs[n-1].Series == ref {
			u.runs[n-1].Rows++
			u.runs[n-1].MaxTime = s.Time[i]
			continue
		}
		u.runs = append(u.runs, store.Run{Series: ref, Start: i, Rows: 1, MinTime: s.Time[i], MaxTime: s.Time[i]})
	}
	u.stats = map[string][]store.ColumnStats{}
	for c := range u.columns {
		v := &s.Columns[c]
		if v.Type != telemetry.Float && v.Type != telemetry.Int {
			continue
		}
		var all []store.ColumnStats
		for _, r := range u.runs {
			var st store.ColumnStats
			for i := r.Start; i < r.Start+r.Rows; i++ {
				if v.Nulls.Get(i) {
					continue
				}
				f := float64(int64(v.Bits[i]))
				if v.Type == telemetry.Float {
					f = v.Float(i)
				}
				if st.Count == 0 || f < st.Min {
					st.Min = f
				}
				if st.Count == 0 || f > st.Max {
					st.Max = f
				}
				st.Sum += f
				st.Count++
			}
			all = append(all, st)
		}
		u.stats[u.columns[c].Name] = all
	}
}

// w1Columns are the fields of the workload of one reading a second.
var w1Columns = []telemetry.Column{
	{Name: "temperature", Type: telemetry.Float, Unit: "Cel"},
	{Name: "humidity", Type: telemetry.Float, Unit: "%RH"},
	{Name: "pressure", Type: telemetry.Float, Unit: "hPa"},
	{Name: "battery", Type: telemetry.Float, Unit: "V"},
	{Name: "status", Type: telemetry.String},
}

const w1Start = 1_750_000_000_123_000_000

// newW1 makes a store of the workload: devices x seconds readings, in units of
// perUnit devices each.
func newW1(devices, seconds, perUnit int) *fakeStore {
	t := &fakeTable{columns: w1Columns, tags: []string{"plant", "line", "device"}}
	tab := &telemetry.Table{Name: "env", Version: 1, Tags: t.tags, Columns: w1Columns, Identity: telemetry.IdentityTimeValues, TimeInPayload: true}
	t.versions = []*telemetry.Table{tab}
	rng := rand.New(rand.NewPCG(1, 2))
	for d := range devices {
		name := deviceName(d)
		t.series = append(t.series, store.SeriesInfo{
			Topic: "plants/p03/lines/l2/devices/" + name + "/env",
			Tags:  []store.Tag{{Value: "p03"}, {Value: "l2"}, {Value: name}},
		})
	}
	hundredths := func(base, noise int) uint64 {
		return math.Float64bits(float64(base+rng.IntN(noise)) / 100)
	}
	for d := 0; d < devices; d += perUnit {
		u := &fakeUnit{table: tab, columns: w1Columns}
		u.section.Reset(tab)
		u.section.Columns[4].Dict = []string{"ok", "warn"}
		for k := d; k < min(d+perUnit, devices); k++ {
			base := rng.IntN(1000)
			for s := range seconds {
				u.section.Series = append(u.section.Series, telemetry.SeriesRef(k))
				u.section.Time = append(u.section.Time, w1Start+int64(s)*1e9)
				u.section.Received = append(u.section.Received, w1Start+int64(s)*1e9+5e6)
				c := u.section.Columns
				c[0].Bits = append(c[0].Bits, hundredths(2000+base, 20))
				c[1].Bits = append(c[1].Bits, hundredths(4000+base, 30))
				c[2].Bits = append(c[2].Bits, hundredths(101000+base, 40))
				c[3].Bits = append(c[3].Bits, hundredths(371, 1))
				c[4].Bits = append(c[4].Bits, uint64(k%50/49))
			}
		}
		u.finish(true)
		t.units = append(t.units, u)
	}
	return &fakeStore{tables: map[string]*fakeTable{"env": t}}
}

func deviceName(d int) string {
	b := []byte("d00000")
	for i := 5; i > 0; i-- {
		b[i] = byte('0' + d%10)
		d /= 10
	}
	return string(b)
}
