package storetest

import (
	"math"
	"slices"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

var _ store.Keeper = (*Memory)(nil)

// SetPolicy implements store.Keeper. The model deletes nothing.
func (m *Memory) SetPolicy(tenant telemetry.Tenant, table string, p store.Policy) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tenant(tenant).policies[table] = p
	return nil
}

// Policy returns what SetPolicy said last of a table.
func (m *Memory) Policy(tenant telemetry.Tenant, table string) store.Policy {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tenant(tenant).policies[table]
}

// RetentionTime implements store.Keeper.
func (m *Memory) RetentionTime() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Now
}

// RollupUnits implements store.RollupScan.
func (s *memScan) RollupUnits() []store.RollupUnit { return s.rollups }

// memRollup is the rows of one day, aggregated when the scan began.
type memRollup struct {
	scan  *memScan
	width int64
	rows  telemetry.Section
}

// rollups answers the days before RollupsUntil by rollups of the widest width
// that fits, and returns the time from which readings are scanned.
func (m *Memory) rollups(s *memScan, mt *memTenant, r store.ScanRequest) int64 {
	if r.Rollups == nil {
		return math.MinInt64
	}
	width := int64(0)
	for _, p := range mt.policies[r.Table].Rollups {
		w := int64(p.Every)
		fits := func(t int64) bool { return t == math.MinInt64 || t >= m.RollupsUntil || rollup.StartOf(t, w) == t }
		if r.Rollups.Width%w == 0 && fits(r.From) && fits(r.To) {
			width = max(width, w)
		}
	}
	if width == 0 {
		return math.MinInt64
	}
	// The fields in the type that the union has.
	var rows []memRow
	for _, row := range mt.rows[r.Table] {
		if row.time < m.RollupsUntil {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b memRow) int {
		switch {
		case a.series != b.series:
			return int(a.series) - int(b.series)
		case a.time < b.time:
			return -1
		case a.time > b.time:
			return 1
		}
		return 0
	})
	shape := &telemetry.Table{Name: r.Table, Columns: s.columns}
	build := rollup.NewBuilder(r.Table, s.columns, []int64{width}, func(_ int64, sec *telemetry.Section) error {
		u := &memRollup{scan: s, width: width}
		u.rows.Reset(sec.Table)
		for i := range sec.Rows() {
			row := rowOf(sec, i)
			u.rows.AppendRow(row.series, row.time, 0, row.values)
		}
		s.rollups = append(s.rollups, u)
		return nil
	})
	for _, row := range rows {
		u := &memUnit{scan: s, table: row.table, rows: []memRow{row}}
		var names []string
		for _, c := range s.columns {
			names = append(names, c.Name)
		}
		sec := telemetry.Section{Table: shape}
		if _, err := u.Read(&sec, names, false); err != nil {
			panic(err) // the names are those of the scan
		}
		if err := build.Add(&sec); err != nil {
			panic(err) // emit returns none
		}
	}
	if err := build.Close(); err != nil {
		panic(err)
	}
	return m.RollupsUntil
}

func (u *memRollup) Width() int64                        { return u.width }
func (u *memRollup) Rows() int                           { return u.rows.Rows() }
func (u *memRollup) Wanted(ref telemetry.SeriesRef) bool { return u.scan.match[ref] }

// Read implements store.RollupUnit.
func (u *memRollup) Read(dst *telemetry.Section, parts []rollup.Ref) (int64, error) {
	*dst = telemetry.Section{Table: u.rows.Table, Series: u.rows.Series, Time: u.rows.Time}
	for _, p := range parts {
		if c := u.rows.Table.ColumnIndex(p.Name()); c >= 0 {
			dst.Columns = append(dst.Columns, u.rows.Columns[c])
			continue
		}
		null := telemetry.Vector{Type: telemetry.Int, Bits: make([]uint64, u.rows.Rows())}
		for i := range null.Bits {
			null.Nulls = null.Nulls.Set(i)
		}
		dst.Columns = append(dst.Columns, null)
	}
	return int64(dst.SizeBytes()), nil
}

// DeleteWhere deletes the readings of a table for which gone is true.
func (m *Memory) DeleteWhere(tenant telemetry.Tenant, table string, gone func(info store.SeriesInfo, time int64) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mt := m.tenant(tenant)
	mt.rows[table] = slices.DeleteFunc(mt.rows[table], func(r memRow) bool { return gone(mt.info[r.series].info, r.time) })
}
