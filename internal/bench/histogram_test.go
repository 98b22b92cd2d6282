package bench

import (
	"testing"
	"time"
)

func TestHistogramPercentilesAreWithinOneSixteenth(t *testing.T) {
	var h histogram
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i)*time.Microsecond, 1)
	}
	for _, q := range []float64{0.01, 0.5, 0.99, 0.999} {
		got, want := float64(h.percentile(q)), q*100_000*1000
		if got < want*0.99 || got > want*1.07 {
			t.Errorf("percentile(%v) = %v, want about %v", q, time.Duration(got), time.Duration(want))
		}
	}
	if h.percentile(1) != 100*time.Millisecond {
		t.Errorf("percentile(1) = %v", h.percentile(1))
	}
}
