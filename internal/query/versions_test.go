package query_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestVersionsOfATableInOnePartition stores rows of three versions of a table, with
// an added and a widened column, in turn within one day. Answers do not depend on
// whether the rows are fresh, compacted, merged or read after a restart, redelivery in
// the version of the row is recognised, and a deletion takes rows of all versions.
func TestVersionsOfATableInOnePartition(t *testing.T) {
	ctx, opt := context.Background(), embedded.Options{Dir: t.TempDir(), ManualCompaction: true, MergeFanIn: 2, CarryRows: 16}
	tables := []*telemetry.Table{
		{Name: "m", Version: 1, Tags: []string{"d"}, Columns: []telemetry.Column{{Name: "a", Type: telemetry.Int}}},
		{Name: "m", Version: 2, Tags: []string{"d"}, Columns: []telemetry.Column{{Name: "a", Type: telemetry.Int}, {Name: "b", Type: telemetry.String}}},
		{Name: "m", Version: 3, Tags: []string{"d"}, Columns: []telemetry.Column{{Name: "a", Type: telemetry.Float}, {Name: "b", Type: telemetry.String}}},
	}
	for _, tab := range tables {
		tab.Identity, tab.TimeInPayload = telemetry.IdentityTimeValues, true
	}
	var s *embedded.Store
	reopen := func() {
		t.Helper()
		if s != nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if s, err = embedded.Open(ctx, opt); err != nil {
			t.Fatal(err)
		}
		for _, tab := range tables {
			if err := s.PutTable(ctx, telemetry.DefaultTenant, tab, []byte(fmt.Sprint("version ", tab.Version))); err != nil {
				t.Fatal(err)
			}
		}
	}
	reopen()
	defer func() { _ = s.Close() }() // of the last
	const rows = 90
	deliver := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			tab := tables[i/5%3]
			ref, err := s.Series(telemetry.DefaultTenant, tab, []byte("m/x"), [][]byte{fmt.Appendf(nil, "d%d", i%4)})
			if err != nil {
				t.Fatal(err)
			}
			values := []telemetry.Value{{Bits: uint64(i)}, {Text: fmt.Appendf(nil, "b%d", i%3)}}
			if tab.Version == 3 {
				values[0].Bits = math.Float64bits(float64(i) + 0.5)
			}
			var sec telemetry.Section
			sec.Reset(tab)
			at := w1Start + int64(i)*1e9
			sec.AppendRow(ref, at, at, values[:len(tab.Columns)])
			st, err := s.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
			if err == nil {
				err = st.Commit(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	answers := func() (all string) {
		t.Helper()
		e := query.New(s, query.Options{})
		for _, sql := range []string{
			"select count(*), count(b), sum(a), min(a), max(a) from m",
			"select _version, d, count(*), sum(a), min(b), max(b) from m group by _version, d",
			"select time, d, a, b, _version from m order by time",
			"select count(*), avg(a) from m where b is null",
			"select count(*), avg(a) from m where a > 20 and b = 'b1'",
			"select d, a, b from m_latest order by d",
		} {
			result, err := e.Query(ctx, telemetry.DefaultTenant, sql)
			if err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			got, err := result.All()
			if err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			all += fmt.Sprintln(sql, got)
		}
		return all
	}
	deliver(0, rows)
	want := answers()
	same := func(when string) {
		t.Helper()
		if got := answers(); got != want {
			t.Fatalf("%s:\n%s\nwant\n%s", when, got, want)
		}
	}
	for _, upTo := range []int{30, 60, rows} {
		if err := s.Compact(ctx); err != nil {
			t.Fatal(err)
		}
		same("compacted")
		deliver(max(0, upTo-30), upTo) // again
		same("delivered again")
		reopen()
		same("opened again")
	}
	e := query.New(s, query.Options{})
	out, err := e.Delete(ctx, telemetry.DefaultTenant, "m", "a >= 20 and a < 50 and (b is null or b <> 'b1')")
	if err != nil {
		t.Fatal(err)
	}
	deleted := 0
	for i := range rows {
		a, b := float64(i), fmt.Sprintf("b%d", i%3)
		version := i/5%3 + 1
		if version == 3 {
			a += 0.5
		}
		if a >= 20 && a < 50 && (version == 1 || b != "b1") {
			deleted++
		}
	}
	if out.Rows != int64(deleted) {
		t.Errorf("%d rows were deleted, want %d", out.Rows, deleted)
	}
	want = answers()
	deliver(0, rows)
	same("delivered again after the deletion")
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	same("compacted after the deletion")
	reopen()
	same("opened after the deletion")
}
