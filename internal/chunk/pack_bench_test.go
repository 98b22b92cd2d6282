package chunk

import (
	"fmt"
	"testing"
)

// BenchmarkDigits shows what a value costs by its base: words of few digits
// need a word's arithmetic more often, words of many wait longer for it.
func BenchmarkDigits(b *testing.B) {
	const rows = 5000
	v := make([]uint64, rows)
	var table [tableSpan]uint64
	for _, n := range []uint64{3, 10, 20, 30, 40, 100, 1000} {
		for i := range v {
			v[i] = uint64(i) * 0x9e3779b97f4a7c15 >> 20 % n
		}
		packed := packDigits(nil, v, 0, n)
		r := radixOf(n)
		got := make([]uint64, rows)
		b.Run(fmt.Sprintf("%d/%din%d", n, r.digits, r.width), func(b *testing.B) {
			for b.Loop() {
				if err := unpackDigits(got, packed, r, &table); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
	for _, width := range []uint{1, 5, 11, 20, 53} {
		packed := packWidth(nil, v, 0, width)
		got := make([]uint64, rows)
		b.Run(fmt.Sprintf("bits/%d", width), func(b *testing.B) {
			for b.Loop() {
				unpackWidth(got, packed, width)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}
