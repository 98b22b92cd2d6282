package query_test

import (
	"context"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// FuzzQuery holds that no text makes a statement panic, and that errors are of
// a known code.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"select * from env", "select device, avg(temperature) from env group by device having count(*) > 1 order by 2 desc limit 3 offset 1",
		"select bucket('1d', time, 'Europe/Berlin'), last(status) from env where time > ago('1h') group by 1",
		"with recursive c(x) as (select 1 union all select x+1 from c limit 9) select * from c",
		"select case when temperature > 1 then 'a' else humidity end, round(temperature, 1) from env where status like 'o%' or device in ('d00001', null)",
		"select rate(battery), first(env.status), now() from env", "explain query plan select 1", "values (1, x'00')", "select 1;;", "select \"time\", [device], `line` from env as e",
		"select -9223372036854775808, 1e999, 0x10, 'it''s' from env", "select ((((1", "select not not - - ~ + 1 from env", "select * from env where time between 'x' and 5",
		"select count(distinct time), stddev(temperature) from env_latest", "select * from weir_columns", "select 1 from env limit -1, 5", "select a.b.c from d",
	} {
		f.Add(s)
	}
	st := newW1(2, 20, 1)
	fast := query.New(st, query.Options{MemoryLimit: 1 << 20})
	f.Fuzz(func(t *testing.T, sql string) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		rows, err := fast.Query(ctx, telemetry.DefaultTenant, sql)
		if err == nil {
			for n := 0; n < 10_000 && rows.Next(); n += rows.Batch().Len() {
			}
			_ = rows.Close()
			err = rows.Err()
		}
		if c := telemetry.CodeOf(err); c == telemetry.CodeInternal && ctx.Err() == nil {
			t.Errorf("%q: %v", sql, err)
		}
	})
}
