package query_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/query/render"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// loadW1 fills an embedded store with devices x seconds readings of the
// workload, all devices in turn, and compacts all of them but the last commits.
func loadW1(tb testing.TB, devices, seconds, inLevel0 int) store.Store {
	tb.Helper()
	ctx := context.Background()
	s, err := embedded.Open(ctx, embedded.Options{Dir: tb.TempDir(), ManualCompaction: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	tab := &telemetry.Table{Name: "env", Version: 1, Tags: []string{"plant", "line", "device"}, Columns: w1Columns, Identity: telemetry.IdentityTimeValues, TimeInPayload: true}
	if err := s.PutTable(ctx, telemetry.DefaultTenant, tab, []byte("env")); err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	refs, bases := make([]telemetry.SeriesRef, devices), make([]int, devices)
	for d := range refs {
		name := deviceName(d)
		if refs[d], err = s.Series(telemetry.DefaultTenant, tab, []byte("plants/p03/lines/l2/devices/"+name+"/env"), [][]byte{[]byte("p03"), []byte("l2"), []byte(name)}); err != nil {
			tb.Fatal(err)
		}
		bases[d] = rng.IntN(1000)
	}
	per := max(1, 10_000/devices) // seconds in a commit
	var sec telemetry.Section
	values := make([]telemetry.Value, 5)
	for from := 0; from < seconds; from += per {
		sec.Reset(tab)
		for t := from; t < min(from+per, seconds); t++ {
			for d, ref := range refs {
				for c, noise := range []int{20, 30, 40} {
					values[c].Bits = math.Float64bits(float64([]int{2000, 4000, 101000}[c]+bases[d]+rng.IntN(noise)) / 100)
				}
				values[3].Bits = math.Float64bits(3.71)
				values[4].Text = []byte("ok")
				at := w1Start + int64(t)*1e9
				sec.AppendRow(ref, at, at+5e6, values)
			}
		}
		staged, err := s.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
		if err == nil {
			err = staged.Commit(ctx)
		}
		if err != nil {
			tb.Fatal(err)
		}
		if from+per >= seconds-inLevel0 && from < seconds-inLevel0 {
			if err := s.Compact(ctx); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return s
}

// TestEmbedded compares the paths over segments and level 0 of a real store.
func TestEmbedded(t *testing.T) {
	st := loadW1(t, 20, 1500, 300)
	for _, sql := range []string{
		"select count(*), min(temperature), max(humidity), avg(pressure) from env",
		"select bucket('10m', time), device, avg(temperature), count(*), last(status) from env group by 1, 2",
		"select device, count(*) from env where humidity > 45 and status = 'ok' group by device",
		"select * from env where device = 'd00007' and time >= '2025-06-15T15:25:00Z'",
		"select avg(temperature), min(pressure), count(*) from env where humidity > temperature * 2.1 + 0.5",
		"select bucket('3m', time), device, max(temperature), count(humidity) from env where humidity >= 43.1 and temperature < 25 group by 1, 2",
		"select bucket('1h', time), count(*), sum(temperature), stddev(pressure) from env where temperature between 21 and 27.5 group by 1",
		"select device, last(temperature), count(*) from env where pressure <= humidity * 23.7 group by device",
		"select count(*) from env where humidity = temperature + 20",
		"select count(*), max(time) from env where temperature > 0 and temperature < 1000 and battery >= 3.71",
		"select count(*) from env where battery > 3.71",
		"select count(*) from env where battery < 3.71",
		"select count(*) from env where 3.71 <= battery",
		"select * from env_latest",
		"select status, count(*) from env group by status",
		"select count(*) from env where time between '2025-06-15T15:10:00Z' and '2025-06-15T15:27:30.123Z'",
		"select device, rate(temperature) from env group by device",
	} {
		got, err := run(t, query.New(st, query.Options{}), sql)
		want, err2 := run(t, query.New(st, query.Options{SQLiteOnly: true}), sql)
		if err != nil || err2 != nil || len(got) == 0 {
			t.Fatal(sql, len(got), err, err2)
		}
		if d := difference(got, want, false); d != "" {
			t.Errorf("%s\n%s", sql, d)
		}
	}
}

// BenchmarkEmbedded measures the statements that docs/benchmarks.md quotes, on
// 5,000,000 readings in segments.
func BenchmarkEmbedded(b *testing.B) {
	st := loadW1(b, 1000, 5000, 0)
	e := query.New(st, query.Options{})
	for _, c := range []struct{ name, sql string }{
		{"HourByDevice", "select bucket('1h', time), device, avg(temperature), max(temperature) from env group by 1, 2"},
		{"RawByTime", "select time, temperature, humidity, pressure from env where device = 'd00123' order by time"},
		{"OneDeviceMinutes", "select bucket('1m', time), avg(temperature) from env where device = 'd00123' group by 1"},
		{"Global", "select min(temperature), max(temperature), avg(temperature) from env"},
		{"GlobalPredicate", "select avg(temperature) from env where humidity > 45"},
		{"ColumnsPredicate", "select avg(temperature) from env where humidity > temperature * 2.2"},
		{"Predicate", "select device, avg(temperature) from env where humidity > 45 group by device"},
		{"Latest", "select * from env_latest"},
		{"Raw", "select time, temperature from env where device = 'd00123'"},
		{"RawAllColumns", "select * from env where device = 'd00123'"},
		{"Status", "select status, count(*) from env group by status"},
	} {
		b.Run(c.name, func(b *testing.B) {
			var last query.Stats
			cpu := cpuSeconds()
			for b.Loop() {
				rows, err := e.Query(context.Background(), telemetry.DefaultTenant, c.sql)
				if err != nil {
					b.Fatal(err)
				}
				var w writer
				if err := render.Write(&w, render.CSV, rows); err != nil {
					b.Fatal(err)
				}
				last = rows.Stats()
			}
			b.ReportMetric((cpuSeconds()-cpu)/float64(b.N)*1000, "cpu-ms")
			b.ReportMetric(float64(last.Decoded), "units")
			b.ReportMetric(float64(last.Bytes)/1e6, "MB-decoded")
		})
	}
}
