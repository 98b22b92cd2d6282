package chunk_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// shape is a workload of one column, sorted as a segment wants it.
type shape struct {
	name   string
	typ    telemetry.ColumnType
	series int
	each   int // rows of a series
	value  func(r *rand.Rand, series, row int) telemetry.Value
	time   func(r *rand.Rand, series, row int) int64
}

func floatValue(v float64) telemetry.Value { return telemetry.Value{Bits: math.Float64bits(v)} }

func regular(_ *rand.Rand, _, row int) int64 {
	return 1_750_000_000_000_000_000 + int64(row)*1_000_000_000
}

func jittered(r *rand.Rand, _, row int) int64 {
	return 1_750_000_000_000_000_000 + int64(row)*1_000_000_000 + r.Int64N(40)*1_000_000
}

func shapes() []shape {
	walk := 0
	return []shape{
		{
			"OneRowASeries", telemetry.Float, 300_000, 1, func(r *rand.Rand, _, _ int) telemetry.Value { return floatValue(float64(r.IntN(1000)) / 10) },
			func(r *rand.Rand, _, _ int) int64 { return 1_750_000_000_000_000_000 + r.Int64N(3600_000)*1_000_000 },
		},
		{"FullPrecision", telemetry.Float, 100, 3000, func(r *rand.Rand, _, _ int) telemetry.Value { return floatValue(20 + r.NormFloat64()) }, regular},
		{"Float32", telemetry.Float, 100, 3000, func(r *rand.Rand, _, _ int) telemetry.Value {
			return floatValue(float64(float32(20 + r.NormFloat64())))
		}, regular},
		{"Bell", telemetry.Float, 100, 3000, func(r *rand.Rand, _, _ int) telemetry.Value {
			return floatValue(math.Round(2000+r.NormFloat64()*15) / 100)
		}, jittered},
		{"Walk", telemetry.Float, 100, 3000, func(r *rand.Rand, _, row int) telemetry.Value {
			if row == 0 {
				walk = 2000
			}
			if r.IntN(3) == 0 {
				walk += r.IntN(3) - 1
			}
			return floatValue(float64(walk) / 100)
		}, regular},
		{"Counter", telemetry.Int, 100, 3000, func(r *rand.Rand, series, row int) telemetry.Value {
			return telemetry.Value{Bits: uint64(series*1000 + row)}
		}, regular},
		{"RareSwitch", telemetry.Bool, 100, 3000, func(r *rand.Rand, _, row int) telemetry.Value {
			return telemetry.Value{Bits: uint64(row/500) & 1}
		}, regular},
		{"States", telemetry.String, 100, 3000, func(r *rand.Rand, _, row int) telemetry.Value {
			if r.IntN(50) == 0 {
				return telemetry.Value{Text: []byte("warn")}
			}
			return telemetry.Value{Text: []byte("ok")}
		}, regular},
		{"UniqueTexts", telemetry.String, 100, 3000, func(r *rand.Rand, _, row int) telemetry.Value {
			return telemetry.Value{Text: fmt.Appendf(nil, "order-%06d/%x", row, r.Uint32())}
		}, regular},
		{"HalfNull", telemetry.Float, 100, 3000, func(r *rand.Rand, _, row int) telemetry.Value {
			if r.IntN(2) == 0 {
				return telemetry.Value{Null: true}
			}
			return floatValue(float64(r.IntN(100)) / 10)
		}, regular},
	}
}

func (s shape) section() *telemetry.Section {
	table := &telemetry.Table{Name: s.name, Columns: []telemetry.Column{{Name: "v", Type: s.typ}}, Identity: telemetry.IdentityNone}
	sec := &telemetry.Section{}
	sec.Reset(table)
	r := rand.New(rand.NewPCG(3, 4))
	for ref := range s.series {
		for row := range s.each {
			v := s.value(r, ref, row)
			at := s.time(r, ref, row)
			sec.AppendRow(telemetry.SeriesRef(ref), at, at, []telemetry.Value{v})
		}
	}
	return sec
}

// BenchmarkShapes prints what one column of each shape costs, time and series
// included and received_at equal to the time.
func BenchmarkShapes(b *testing.B) {
	for _, s := range shapes() {
		sec := s.section()
		rows := float64(sec.Rows())
		var file []byte
		b.Run(s.name+"/Write", func(b *testing.B) {
			for b.Loop() {
				file = segmentOf(b, sec.Table, chunk.SegmentOptions{}, sec)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
			b.ReportMetric(float64(len(file))/rows, "bytes/row")
		})
		b.Run(s.name+"/Read", func(b *testing.B) {
			seg := openSegment(b, file)
			var dst telemetry.Section
			for b.Loop() {
				for i := range seg.Blocks() {
					if _, err := seg.ReadBlock(i, &dst, []int{0}, false); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}

// TestShapesComeBack holds every shape to the rows it was made of.
func TestShapesComeBack(t *testing.T) {
	for _, s := range shapes() {
		s.series = min(s.series, 20_000)
		s.each = min(s.each, 500)
		sec := s.section()
		same(t, readSegment(t, openSegment(t, segmentOf(t, sec.Table, chunk.SegmentOptions{BlockRows: 4096}, sec))), sec)
	}
}
