package query_test

import (
	"context"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// BenchmarkRollups asks the same of readings and of their rollups: 100 devices, a
// reading each two seconds, for a day.
func BenchmarkRollups(b *testing.B) {
	s := loadW1(b, 100, 43_200, 0).(*embedded.Store)
	before := s.Stats()
	began := time.Now()
	policy := store.Policy{Rollups: []store.Rollup{{Every: time.Minute}, {Every: time.Hour}, {Every: 24 * time.Hour}}}
	if err := s.SetPolicy(telemetry.DefaultTenant, "env", policy); err != nil {
		b.Fatal(err)
	}
	if err := s.Compact(context.Background()); err != nil {
		b.Fatal(err)
	}
	st := s.Stats()
	b.Logf("%d readings in %d bytes; their rollups have %d rows in %d bytes and took %s", st.SegmentRows, before.SegmentSize, st.RollupRows, st.RollupSize, time.Since(began))
	for name, sql := range map[string]string{
		"avg by device and minute":  "select device, bucket('1m', time), avg(temperature) from env group by 1, 2",
		"minmax by device and hour": "select device, bucket('1h', time), min(temperature), max(humidity), avg(pressure) from env group by 1, 2",
		"median by hour":            "select bucket('1h', time), median(temperature), quantile(humidity, 0.99) from env group by 1",
		"last by device":            "select device, last(temperature), last(status) from env group by device",
		"one device by minute":      "select bucket('1m', time), avg(temperature) from env where device = 'd00042' group by 1",
	} {
		for kind, o := range map[string]query.Options{"rollups": {}, "readings": {RawOnly: true}} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				for range b.N {
					rows, err := query.New(s, o).Query(context.Background(), telemetry.DefaultTenant, sql)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := rows.All(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
