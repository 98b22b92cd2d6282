package query_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	st := newW1(3, 400, 2)
	for _, o := range []bool{false, true} {
		e := query.New(st, query.Options{SQLiteOnly: o})
		for _, q := range []string{
			"select device, avg(temperature) from env group by device",
			"select bucket('5m', time) as b, device, count(*), min(temperature), last(temperature), first(status), rate(battery) from env where temperature > 10 group by b, device order by 1 desc, 2 limit 4",
			"select * from env where time >= '2025-06-15T15:06:42Z' limit 3",
			"select * from env_latest",
			"select distinct device from env",
			"select time, temperature*2 t2 from env where device like 'D00001' order by t2 desc limit 2",
			"select temprature from env",
			"select 1 from envv",
			"explain select device, count(*) from env group by 1",
			"select * from weir_tables", "select * from weir_columns limit 3",
			"with x as (select device, max(temperature) m from env group by device) select x.device, m, count(*) from x join env using (device) where temperature = m group by 1",
			"select count(*) from env where time > now()", "select max(ago('1h')) is not null, count(time > '2025-06-15T15:06:42Z') from env",
			"values (1,2)", "delete from env", "select 1; select 2", "select nosuch(1) from env", "select e.x from env e join env f using (device)",
			"with recursive c(x) as (select 1 union all select x+1 from c limit 3) select x from c",
		} {
			rows, err := e.Query(ctx, "default", q)
			if err != nil {
				fmt.Println(q, "=>", err)
				continue
			}
			all, err := rows.All()
			fmt.Println(q, rows.Columns(), all, err, rows.Stats())
		}
	}
}
