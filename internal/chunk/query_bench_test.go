package chunk_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// BenchmarkHourByDevice is what a query of hourly averages of every device has
// to do with blocks, by two workers, without using the statistics.
func BenchmarkHourByDevice(b *testing.B) {
	const rows = 1_000_000
	file, _ := w1Segment(b, rows, 200, 700)
	s := openSegment(b, file)
	var secs [2]telemetry.Section
	for b.Loop() {
		var next atomic.Int64
		var wg sync.WaitGroup
		var sums [2]float64
		for worker := range secs {
			wg.Go(func() {
				sec := &secs[worker]
				for i := int(next.Add(1)) - 1; i < len(s.Blocks()); i = int(next.Add(1)) - 1 {
					if _, err := s.ReadBlock(i, sec, []int{0}, false); err != nil {
						b.Error(err)
						return
					}
					hour, sum := int64(-1), 0.0
					values := sec.Columns[0]
					for row, t := range sec.Time {
						if h := t / 3_600_000_000_000; h != hour {
							sums[worker] += sum
							hour, sum = h, 0
						}
						sum += values.Float(row)
					}
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)*5, "ms/5M")
}

// BenchmarkOneDevice reads the 5,000 points of one device out of 1,000,000 rows.
func BenchmarkOneDevice(b *testing.B) {
	file, _ := w1Segment(b, 1_000_000, 200, 700)
	s := openSegment(b, file)
	var sec telemetry.Section
	b.ReportAllocs()
	for b.Loop() {
		first, last := s.Find(77)
		for i := first; i < last; i++ {
			if _, err := s.ReadBlock(i, &sec, []int{0}, false); err != nil {
				b.Fatal(err)
			}
		}
	}
}
