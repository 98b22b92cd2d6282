package query_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestDeleteTakesWhatTheConditionSelects compares what is left after each deletion
// with what the negated condition selected before.
func TestDeleteTakesWhatTheConditionSelects(t *testing.T) {
	ctx := context.Background()
	e := query.New(loadW1(t, 20, 300, 60), query.Options{})
	answer := func(sql string) string {
		t.Helper()
		rows, err := e.Query(ctx, telemetry.DefaultTenant, sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		all, err := rows.All()
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return fmt.Sprint(all)
	}
	const what = "select count(*), count(status), min(time), max(time), min(temperature), max(humidity), count(distinct device) from env"
	for _, where := range []string{
		"temperature > 1e9",
		"temperature > (select 1)", // refused
		"device = '" + deviceName(3) + "'",
		"time < '2025-06-15T15:08:00Z' and humidity > 45",
		"pressure / 2 > 508 or _topic like '%" + deviceName(5) + "%'",
		"status = 'ok' and device in ('" + deviceName(7) + "', '" + deviceName(8) + "') -- and no more",
		"status is null",
		"1 = 1",
		"true",
	} {
		count, err := e.CountWhere(ctx, telemetry.DefaultTenant, "env", where)
		if strings.Contains(where, "select") {
			if _, del := e.Delete(ctx, telemetry.DefaultTenant, "env", where); telemetry.CodeOf(err) != telemetry.CodeInvalid || telemetry.CodeOf(del) != telemetry.CodeInvalid {
				t.Errorf("%s: %v, %v", where, err, del)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		want := answer(what + " where ((" + where + "\n)) is not true")
		deleted, err := e.Delete(ctx, telemetry.DefaultTenant, "env", where)
		if err != nil || deleted.Rows != count || deleted.Unreadable != 0 {
			t.Errorf("%s: deleted %+v, counted %d, %v", where, deleted, count, err)
		}
		if got := answer(what); got != want {
			t.Errorf("after %s:\n%s, want\n%s", where, got, want)
		}
		if n, err := e.CountWhere(ctx, telemetry.DefaultTenant, "env", where); err != nil || n != 0 {
			t.Errorf("%s: %d rows match afterwards, %v", where, n, err)
		}
	}
}

func TestDeleteRefusesWhatIsNoCondition(t *testing.T) {
	ctx := context.Background()
	e := query.New(loadW1(t, 3, 10, 0), query.Options{})
	for _, c := range []struct{ table, where, say string }{
		{"env", "", "there is no condition"},
		{"env", "  ", "there is no condition"},
		{"env", "1 = 1) limit 1 --", ""},
		{"env", "1 = 1) order by (time", "that is more than a condition"},
		{"env", "1 = 1) group by (time", "that is more than a condition"},
		{"env", "count(*) > 1", ""},
		{"env", "nonsense = 1", "nonsense"},
		{"env", "time = ", ""},
		{"env; drop table env", "1=1", "no table"},
		{"env_latest", "1 = 1", "env_latest is a view (name a table: env)"},
		{"weir_tables", "1 = 1", "is a view"},
		{"emv", "1 = 1", "no table"},
	} {
		if _, err := e.Delete(ctx, telemetry.DefaultTenant, c.table, c.where); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s where %s: %v", c.table, c.where, err)
		}
		if _, err := e.CountWhere(ctx, telemetry.DefaultTenant, c.table, c.where); err == nil {
			t.Errorf("%s where %s was counted", c.table, c.where)
		}
	}
	rows, err := e.Query(ctx, telemetry.DefaultTenant, "select count(*) from env")
	if err != nil {
		t.Fatal(err)
	}
	if all, err := rows.All(); err != nil || all[0][0].Int() != 30 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestADeletionReachesRollups asks what rollups answer, before and after a deletion.
func TestADeletionReachesRollups(t *testing.T) {
	ctx := context.Background()
	now := time.Unix(0, w1Start).Add(10 * 24 * time.Hour)
	s, err := embedded.Open(ctx, embedded.Options{
		Dir: t.TempDir(), ManualCompaction: true, RollupRows: 1, RollupFactor: 1, Now: func() time.Time { return now },
		Clock: func() (time.Time, time.Duration) { return now, 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	tab := &telemetry.Table{Name: "m", Version: 1, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true}
	if err := s.PutTable(ctx, telemetry.DefaultTenant, tab, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.SetPolicy(telemetry.DefaultTenant, "m", store.Policy{Rollups: []store.Rollup{{Every: time.Hour}}}); err != nil {
		t.Fatal(err)
	}
	ref, err := s.Series(telemetry.DefaultTenant, tab, []byte("m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var sec telemetry.Section
	sec.Reset(tab)
	for i := range 7200 {
		at := w1Start + int64(i)*1e9
		sec.AppendRow(ref, at, at, []telemetry.Value{{Bits: math.Float64bits(float64(i % 7))}})
	}
	staged, err := s.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
	if err == nil {
		err = staged.Commit(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	e := query.New(s, query.Options{Now: func() time.Time { return now }})
	hours := func(where string) string {
		t.Helper()
		rows, err := e.Query(ctx, telemetry.DefaultTenant, "select bucket('1h', time) as h, count(*), sum(v), max(v) from m "+where+" group by h")
		if err != nil {
			t.Fatal(err)
		}
		all, err := rows.All()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(all)
	}
	for _, where := range []string{"", "v = 6", "time < '2025-06-15T15:20:00Z'"} {
		if where != "" {
			if out, err := e.Delete(ctx, telemetry.DefaultTenant, "m", where); err != nil || out.Rows == 0 {
				t.Fatal(out, err)
			}
		}
		for _, when := range []string{"at once", "compacted"} {
			// The condition on v is always true, and keeps rollups out of the answer.
			if got, want := hours(""), hours("where v + 0 >= 0"); got != want {
				t.Errorf("%s, %s: %s, want %s", where, when, got, want)
			}
			now = now.Add(3 * time.Hour)
			if err := s.Compact(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Stats().Rollups; n == 0 {
			t.Errorf("after %q there are no rollups", where)
		}
	}

	// When the readings are gone by age, their rollups are beyond a deletion, which says so.
	beyond := func(where string, want bool) {
		t.Helper()
		span, found, err := e.BeyondDelete(ctx, telemetry.DefaultTenant, "m", where)
		if err != nil || found != want {
			t.Errorf("%s: %v, %v", where, found, err)
		}
		if found && (span.From > w1Start || span.To < w1Start+7200e9 || span.To-span.From > 4*int64(time.Hour)) {
			t.Errorf("%s: the span is %+v", where, span)
		}
	}
	beyond("v = 5", false)
	if err := s.SetPolicy(telemetry.DefaultTenant, "m", store.Policy{Retention: 24 * time.Hour, Rollups: []store.Rollup{{Every: time.Hour}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Compact(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := e.Delete(ctx, telemetry.DefaultTenant, "m", "v = 5"); err != nil || out.Rows != 0 || hours("") == "[]" {
		t.Fatal(out, err, hours(""))
	}
	beyond("v = 5", true)
	beyond("v = 5 and time >= '2025-06-15T15:00:00Z'", true)
	beyond("time < '2025-06-01'", false)
	beyond("time >= '2025-06-16'", false)
}
