package embedded

import "github.com/weir-telemetry/weir/internal/telemetry"

// watermarks hold, for each series, a time at or above that of every stored or
// staged row. A row above it is new without a look-up. A mark that is too high
// costs look-ups, never correctness, so marks are not lowered when a staged
// commit is aborted, and after a restart they start at bounds that are cheap to
// know (see readMarks).
type watermarks struct {
	pages [][]int64
}

const (
	markPageBits = 13
	minTime      = -1 << 63
	maxTime      = 1<<63 - 1
)

// grow makes room for refs below n.
func (w *watermarks) grow(n uint32, floor int64) {
	for int(n) > len(w.pages)<<markPageBits {
		p := make([]int64, 1<<markPageBits)
		for i := range p {
			p[i] = floor
		}
		w.pages = append(w.pages, p)
	}
}

// raise lifts the mark of a series to at least t.
func (w *watermarks) raise(ref telemetry.SeriesRef, t int64) {
	if int(ref) >= len(w.pages)<<markPageBits {
		w.grow(uint32(ref)+1, minTime)
	}
	p := &w.pages[ref>>markPageBits][ref&(1<<markPageBits-1)]
	*p = max(*p, t)
}

// raiseAll lifts the marks of refs below n to at least t.
func (w *watermarks) raiseAll(n uint32, t int64) {
	for i := range n {
		w.raise(telemetry.SeriesRef(i), t)
	}
}
