package bench

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/16 wide relative to
// their value, so that a percentile is within 6% of the truth.
type histogram struct {
	counts [64 * 16]uint64
	n      uint64
	max    time.Duration
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 1))
	exp := bits.Len64(v) - 1
	if exp < 4 {
		return int(v)
	}
	return exp*16 + int(v>>(exp-4)&15)
}

func bucketStart(b int) time.Duration {
	if b < 64 {
		return time.Duration(b)
	}
	return time.Duration((16 + uint64(b&15)) << (b/16 - 4))
}

func (h *histogram) add(d time.Duration, n uint64) {
	h.counts[bucketOf(d)] += n
	h.n += n
	h.max = max(h.max, d)
}

// percentile returns the upper edge of the bucket that holds the q-quantile.
func (h *histogram) percentile(q float64) time.Duration {
	want := uint64(float64(h.n) * q)
	var seen uint64
	for b, n := range h.counts {
		if seen += n; n > 0 && seen > want {
			return min(bucketStart(b+1), h.max)
		}
	}
	return h.max
}
