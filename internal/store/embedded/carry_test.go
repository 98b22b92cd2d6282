package embedded

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestTablesWithFewRowsWaitForMore compacts a store with many small tables: no
// segment is written for them until they are old.
func TestTablesWithFewRowsWaitForMore(t *testing.T) {
	ctx, now, dir := context.Background(), time.Unix(1_750_000_000, 0), t.TempDir()
	opt := Options{Dir: dir, ManualCompaction: true, Now: func() time.Time { return now }}
	s := open(t, opt)
	var tables []*telemetry.Table
	for i := range 50 {
		table := env()
		table.Name = fmt.Sprintf("env%d", i)
		tables = append(tables, table)
		if err := s.PutTable(ctx, telemetry.DefaultTenant, table, nil); err != nil {
			t.Fatal(err)
		}
	}
	rows := func() (n int) {
		for _, table := range tables {
			n += len(scanAll(t, s, table.Name))
		}
		return n
	}
	compact := func() {
		t.Helper()
		if _, err := s.compactLevel0(ctx, s.tenant(telemetry.DefaultTenant), false); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 5 {
		var secs []*telemetry.Section
		for i, table := range tables {
			sec := &telemetry.Section{}
			sec.Reset(table)
			sec.AppendRow(device(t, s, table, i), int64(round), 0, []telemetry.Value{float(1), float(2), float(3), float(4), {Text: statusOK}})
			secs = append(secs, sec)
		}
		commit(t, s, secs...)
		commit(t, s, secs...) // redelivered: nothing of it is stored
		compact()
		if st := s.Stats(); st.Segments != 0 || st.Level0Frames != 1 {
			t.Errorf("round %d: %d segments, %d frames", round, st.Segments, st.Level0Frames)
		}
		now = now.Add(time.Minute)
	}
	if n := rows(); n != 250 {
		t.Errorf("%d rows", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, opt)
	if n := rows(); n != 250 {
		t.Errorf("%d rows after reopening", n)
	}
	now = now.Add(time.Hour)
	if !s.due(s.tenant(telemetry.DefaultTenant)) {
		t.Error("rows of an hour ago are not due")
	}
	compact()
	if st := s.Stats(); st.Segments != 50 || st.Level0Rows != 0 {
		t.Errorf("at last: %d segments, %d rows in level 0", st.Segments, st.Level0Rows)
	}
	if n := rows(); n != 250 {
		t.Errorf("%d rows in segments", n)
	}
}
