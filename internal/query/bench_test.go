package query_test

import (
	"context"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/query/render"
)

// w1 is 1,000 devices x 5,000 seconds of the workload in units of 10 devices,
// as large as the segments of a store: 5,000,000 readings.
var w1 = sync.OnceValue(func() *fakeStore {
	if os.Getenv("WEIR_SOAK") == "" && !testing.Testing() {
		return nil
	}
	return newW1(1000, 5000, 10)
})

func benchQuery(b *testing.B, sql string, f render.Format) {
	e := query.New(w1(), query.Options{})
	ctx := context.Background()
	b.ResetTimer()
	b.ReportAllocs()
	for b.Loop() {
		rows, err := e.Query(ctx, "default", sql)
		if err != nil {
			b.Fatal(err)
		}
		if err := render.Write(io.Discard, f, rows); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHourByDevice(b *testing.B) {
	benchQuery(b, "select bucket('1h', time), device, avg(temperature) from env group by 1, 2", render.CSV)
}

func BenchmarkHourByDeviceDecoded(b *testing.B) {
	benchQuery(b, "select bucket('7m', time), device, avg(temperature) from env group by 1, 2", render.CSV)
}

func BenchmarkOneDeviceMinutes(b *testing.B) {
	benchQuery(b, "select bucket('1m', time), avg(temperature) from env where device = 'd00123' group by 1", render.CSV)
}

func BenchmarkGlobal(b *testing.B) {
	benchQuery(b, "select min(temperature), max(temperature), avg(temperature) from env", render.CSV)
}

func BenchmarkPredicate(b *testing.B) {
	benchQuery(b, "select device, avg(temperature) from env where humidity > 45 group by device", render.CSV)
}

func BenchmarkStatus(b *testing.B) {
	benchQuery(b, "select status, count(*) from env group by status", render.CSV)
}
func BenchmarkLatest(b *testing.B) { benchQuery(b, "select * from env_latest", render.CSV) }
func BenchmarkRaw(b *testing.B) {
	benchQuery(b, "select time, temperature from env where device = 'd00123'", render.CSV)
}

func BenchmarkRawAllColumns(b *testing.B) {
	benchQuery(b, "select * from env where device = 'd00123'", render.CSV)
}

func BenchmarkTop(b *testing.B) {
	benchQuery(b, "select device, temperature from env order by temperature desc limit 10", render.CSV)
}

func BenchmarkSQLiteGroup(b *testing.B) {
	benchQuery(b, "with x as (select device, temperature from env where device = 'd00123') select avg(temperature) from x", render.CSV)
}
