package bench

import (
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestQueriesThatWouldMeasureNothingAreRefused(t *testing.T) {
	for _, c := range []struct {
		workload string
		count    int64
		series   int
		runs     int
	}{
		{"w1", -5, 1000, 1},
		{"w1", 1000, 1000, 0},
		{"w1", 1000, 500, 1},
		{"w1", 1000, -1, 1},
		{"w2", 0, 1000, 1},
	} {
		o := Options{Workload: c.workload, Count: c.count, Series: c.series}
		if err := Queries(t.Context(), o, c.runs); telemetry.CodeOf(err) != telemetry.CodeInvalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
