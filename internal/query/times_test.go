package query

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTimesOfADayAreWrittenAsAnyTime holds the remembered date to the way without.
func TestTimesOfADayAreWrittenAsAnyTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var d dayText
	at := int64(1_750_000_000_123_456_789)
	for i := range 5000 {
		switch i % 4 {
		case 0:
			at = int64(r.Uint64())
		case 1:
			at += r.Int64N(86400e9)
		case 2:
			at -= r.Int64N(7200e9)
		case 3:
			at = []int64{math.MinInt64, math.MaxInt64, 0, -1, 86400e9 - 1, 86400e9}[r.IntN(6)]
		}
		whole := r.IntN(2) == 0
		if got, want := string(d.appendTime(nil, at, whole)), string(appendBucket(nil, at, whole)); got != want {
			t.Fatalf("%d is %q, want %q", at, got, want)
		}
	}
}
