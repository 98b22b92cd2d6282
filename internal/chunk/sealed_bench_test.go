package chunk_test

import (
	"fmt"
	"testing"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// BenchmarkSealedFrame compares frames in clear with sealed ones: of a commit of
// one reading, of a commit at middling rates, and of one at full rate.
func BenchmarkSealedFrame(b *testing.B) {
	ring, err := seal.OpenRing(b.TempDir(), seal.Holding(seal.NewMaster()), seal.RingOptions{})
	if err != nil {
		b.Fatal(err)
	}
	key, err := ring.Current("bench")
	if err != nil {
		b.Fatal(err)
	}
	for _, rows := range []int{1, 100, 8192} {
		g := newW1(1000, 700)
		sec := &telemetry.Section{}
		g.fill(sec, rows)
		for _, o := range []struct {
			name string
			o    chunk.FrameOptions
		}{{"clear", chunk.FrameOptions{}}, {"sealed", chunk.FrameOptions{Sealer: key, Identity: make([]byte, 16)}}} {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, o.name), func(b *testing.B) {
				b.ReportAllocs()
				var buf []byte
				for b.Loop() {
					var err error
					if buf, err = chunk.AppendFrame(buf[:0], []chunk.FrameSection{{Section: sec}}, o.o); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(buf)), "bytes")
			})
		}
	}
}
