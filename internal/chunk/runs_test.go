package chunk_test

import (
	"testing"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestLongRunsEndAtFullHours holds the cuts of runs: where an hour has many rows
// none crosses one, where it has few a run is one series; and both ways to find a
// run agree with the rows.
func TestLongRunsEndAtFullHours(t *testing.T) {
	const hour = int64(3600e9)
	for _, c := range []struct {
		name  string
		step  int64
		hours bool
	}{{"EverySecond", 1e9, true}, {"EveryTenSeconds", 10e9, true}, {"EveryMinute", 60e9, false}, {"BeforeTheEpoch", -1e9, true}} {
		t.Run(c.name, func(t *testing.T) {
			table := &telemetry.Table{Name: "t", Version: 1, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Int}}, Identity: telemetry.IdentityNone}
			sec := &telemetry.Section{}
			sec.Reset(table)
			for ref := range telemetry.SeriesRef(2) {
				for i := range int64(8000) {
					at := 1_750_000_000_000_000_000 + i*c.step
					if c.step < 0 {
						at = -5*hour - 7 - i*c.step
					}
					sec.AppendRow(ref, at, at, []telemetry.Value{{Bits: uint64(i)}})
				}
			}
			s := openSegment(t, segmentOf(t, table, chunk.SegmentOptions{BlockRows: 3000}, sec))
			cut, at := 0, 0
			for b, m := range s.Blocks() {
				h, err := s.Head(b)
				if err != nil {
					t.Fatal(err)
				}
				for i, r := range h.Runs() {
					if c.hours && (r.MinTime+10*hour)/hour != (r.MaxTime+10*hour)/hour {
						t.Errorf("run %+v crosses an hour", r)
					}
					if i > 0 && h.Runs()[i-1].Series == r.Series {
						cut++
					}
				}
				for row := at; row < at+m.Rows; row += 13 {
					run, ok := h.FindRun(sec.Series[row], sec.Time[row])
					if !ok || row-at < run.Start || row-at >= run.Start+run.Rows {
						t.Fatalf("block %d, row %d: found %+v, %v", b, row-at, run, ok)
					}
				}
				for ref := m.MinSeries; ref <= m.MaxSeries; ref++ {
					run, ok := h.LastRun(ref)
					next := run.Start + run.Rows
					if !ok || run.Series != ref || next < m.Rows && sec.Series[at+next] == ref {
						t.Errorf("block %d: the last run of series %d is %+v, %v", b, ref, run, ok)
					}
				}
				if _, ok := h.FindRun(m.MaxSeries+1, m.MinTime); ok {
					t.Error("a series that is not there was found")
				}
				if _, ok := h.FindRun(m.MinSeries, m.MaxTime+1); ok {
					t.Error("a time that is not there was found")
				}
				at += m.Rows
			}
			if c.hours != (cut > 0) {
				t.Errorf("%d runs were cut", cut)
			}
		})
	}
}
