package chunk_test

import (
	"math"
	"math/big"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// checkStats computes the statistics the plain way, the sum exactly.
func checkStats(t *rapid.T, st chunk.ColumnStats, v *telemetry.Vector, from, to int) {
	var want chunk.ColumnStats
	exact, magnitude := new(big.Float).SetPrec(2200), 0.0
	infinite := false
	for i := from; i < to; i++ {
		if v.Nulls.Get(i) {
			continue
		}
		x := math.Float64frombits(v.Bits[i])
		if v.Type == telemetry.Int {
			x = float64(int64(v.Bits[i]))
		}
		if math.IsNaN(x) {
			t.Fatalf("a column with NaN has statistics %+v", st)
		}
		if want.Count == 0 {
			want.Min, want.Max = x, x
		}
		want.Count++
		want.Min, want.Max = min(want.Min, x), max(want.Max, x)
		magnitude += math.Abs(x)
		if math.IsInf(x, 0) {
			infinite = true
			continue
		}
		exact.Add(exact, new(big.Float).SetFloat64(x))
	}
	if st.Count != want.Count || st.Min != want.Min || st.Max != want.Max {
		t.Fatalf("statistics are %+v, want %+v", st, want)
	}
	sum, _ := exact.Float64()
	if want.Count > 0 && !infinite && !math.IsInf(magnitude, 0) && math.Abs(st.Sum-sum) > magnitude*1e-14 {
		t.Fatalf("sum is %v, want %v", st.Sum, sum)
	}
}
