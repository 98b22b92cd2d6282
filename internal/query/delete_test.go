package query_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
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
		{"env_latest", "1 = 1", "no table"},
		{"weir_tables", "1 = 1", "no table"},
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
