package query_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestThin(t *testing.T) {
	m := storetest.NewMemory()
	tab := &telemetry.Table{Name: "env", Version: 1, Tags: []string{"device"}, Columns: []telemetry.Column{{Name: "temperature", Type: telemetry.Float}}, Identity: 1, TimeInPayload: true}
	ctx := context.Background()
	if err := m.PutTable(ctx, "default", tab, []byte("x")); err != nil {
		t.Fatal(err)
	}
	var sec telemetry.Section
	sec.Reset(tab)
	for i := range 1000 {
		ref, err := m.Series("default", tab, []byte(fmt.Sprint("d/", i%3)), [][]byte{[]byte(fmt.Sprint("d", i%3))})
		if err != nil {
			t.Fatal(err)
		}
		sec.AppendRow(ref, 1_750_000_000_000_000_000+int64(i)*1e9, 0, []telemetry.Value{{Bits: math.Float64bits(float64(i))}})
	}
	st, err := m.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: "default", Sections: []*telemetry.Section{&sec}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	e := query.New(m, query.Options{})
	for _, q := range []string{
		"select device, avg(temperature) from env group by device",
		"select bucket('5m', time) as b, device, count(*), min(temperature) from env where temperature > 10 group by b, device order by 1 desc, 2",
		"select * from env where time >= '2025-06-15T15:06:42Z' limit 3",
		"select * from env_latest",
		"select distinct device from env",
		"select time, temperature*2 t2 from env where device like 'D1' order by t2 desc limit 2",
		"select temprature from env",
		"select 1 from envv",
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
