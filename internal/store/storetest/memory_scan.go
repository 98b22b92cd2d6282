package storetest

import (
	"context"
	"math"
	"slices"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// memScan gives one unit for each version that holds matching rows, or one for each
// unitRows of them, sorted by series and time.
type memScan struct {
	columns []telemetry.Column
	tags    []string
	info    []memSeries
	match   []bool
	units   []store.Unit
	rollups []store.RollupUnit
}

// unitRows is small, so that tests see several units.
const unitRows = 100

// Scan implements store.Store.
func (m *Memory) Scan(_ context.Context, r store.ScanRequest) (store.Scan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mt := m.tenant(r.Tenant)
	s := &memScan{info: slices.Clone(mt.info)}
	versions := mt.tables[r.Table]
	if len(versions) == 0 {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "scan", "there is no table %q", r.Table)
	}
	var numbers []int
	for v := range versions {
		numbers = append(numbers, v)
	}
	slices.Sort(numbers)
	for _, v := range numbers {
		t := versions[v].Table
		s.tags = t.Tags
		for _, c := range t.Columns {
			i := slices.IndexFunc(s.columns, func(o telemetry.Column) bool { return o.Name == c.Name })
			switch {
			case i < 0:
				s.columns = append(s.columns, c)
			case s.columns[i].Type == telemetry.Int && c.Type == telemetry.Float:
				s.columns[i] = c
			}
		}
	}
	s.match = make([]bool, len(s.info))
	for i := range s.info {
		s.match[i] = s.info[i].table == r.Table && (r.Match == nil || r.Match(s.info[i].info.Topic, s.info[i].info.Tags))
	}
	until := m.rollups(s, mt, r)
	for _, v := range numbers {
		var rows []memRow
		for _, row := range mt.rows[r.Table] {
			if row.table.Version == v && row.time >= max(r.From, until) && row.time < r.To && s.match[row.series] {
				rows = append(rows, row)
			}
		}
		slices.SortStableFunc(rows, func(a, b memRow) int {
			if a.series != b.series {
				return int(a.series) - int(b.series)
			}
			if a.time != b.time {
				if a.time < b.time {
					return -1
				}
				return 1
			}
			return 0
		})
		for len(rows) > 0 {
			n := min(unitRows, len(rows))
			s.units = append(s.units, &memUnit{scan: s, table: versions[v].Table, rows: rows[:n]})
			rows = rows[n:]
		}
	}
	return s, nil
}

func (s *memScan) Columns() []telemetry.Column { return s.columns }
func (s *memScan) TagNames() []string          { return s.tags }
func (s *memScan) Series(ref telemetry.SeriesRef) store.SeriesInfo {
	return s.info[ref].info
}
func (s *memScan) MaxSeries() telemetry.SeriesRef { return telemetry.SeriesRef(len(s.info)) }
func (s *memScan) Units() []store.Unit            { return s.units }
func (s *memScan) Skipped() int                   { return 0 }
func (s *memScan) Segments() store.SegmentCount   { return store.SegmentCount{} }
func (s *memScan) Close()                         {}

type memUnit struct {
	scan  *memScan
	table *telemetry.Table
	rows  []memRow
}

func (u *memUnit) Rows() int                           { return len(u.rows) }
func (u *memUnit) Table() *telemetry.Table             { return u.table }
func (u *memUnit) Wanted(ref telemetry.SeriesRef) bool { return u.scan.match[ref] }

func (u *memUnit) MinTime() int64 {
	t := u.rows[0].time
	for i := range u.rows {
		t = min(t, u.rows[i].time)
	}
	return t
}

func (u *memUnit) MaxTime() int64 {
	t := u.rows[0].time
	for i := range u.rows {
		t = max(t, u.rows[i].time)
	}
	return t
}

func (u *memUnit) Runs() []store.Run {
	var runs []store.Run
	for i := range u.rows {
		r := &u.rows[i]
		if n := len(runs); n > 0 && runs[n-1].Series == r.series {
			runs[n-1].Rows++
			runs[n-1].MaxTime = r.time
			continue
		}
		runs = append(runs, store.Run{Series: r.series, Start: i, Rows: 1, MinTime: r.time, MaxTime: r.time})
	}
	return runs
}

func (u *memUnit) RunStats(column string) []store.ColumnStats {
	c := u.table.ColumnIndex(column)
	if c < 0 || u.table.Columns[c].Type.Textual() || u.table.Columns[c].Type == telemetry.Bool {
		return nil
	}
	var out []store.ColumnStats
	for _, run := range u.Runs() {
		var st store.ColumnStats
		for _, r := range u.rows[run.Start : run.Start+run.Rows] {
			v := r.values[c]
			if v.Null {
				continue
			}
			f := asFloat(u.table.Columns[c].Type, v.Bits)
			if f != f {
				continue // NaN is no value
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
		out = append(out, st)
	}
	return out
}

func asFloat(t telemetry.ColumnType, bits uint64) float64 {
	if t == telemetry.Float {
		return math.Float64frombits(bits)
	}
	return float64(int64(bits))
}

func (u *memUnit) Read(dst *telemetry.Section, columns []string, received bool) (int64, error) {
	shape := &telemetry.Table{Name: u.table.Name, Version: u.table.Version, Tags: u.table.Tags}
	from := make([]int, len(columns))
	for i, name := range columns {
		j := slices.IndexFunc(u.scan.columns, func(c telemetry.Column) bool { return c.Name == name })
		if j < 0 {
			return 0, telemetry.Errorf(telemetry.CodeNotFound, "scan", "there is no column %q", name)
		}
		shape.Columns = append(shape.Columns, u.scan.columns[j])
		from[i] = u.table.ColumnIndex(name)
	}
	dst.Reset(shape)
	values := make([]telemetry.Value, len(columns))
	for i := range u.rows {
		r := &u.rows[i]
		for c := range columns {
			values[c] = telemetry.Value{Null: true}
			if from[c] < 0 {
				continue
			}
			values[c] = r.values[from[c]]
			if !values[c].Null && shape.Columns[c].Type == telemetry.Float && u.table.Columns[from[c]].Type == telemetry.Int {
				values[c].Bits = math.Float64bits(float64(int64(values[c].Bits)))
			}
		}
		dst.AppendRow(r.series, r.time, r.received, values)
	}
	if !received {
		dst.Received = dst.Received[:0]
	}
	return int64(dst.SizeBytes()), nil
}
