package chunk_test

import (
	"bytes"
	"testing"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func segmentOf(t testing.TB, table *telemetry.Table, o chunk.SegmentOptions, secs ...*telemetry.Section) []byte {
	t.Helper()
	var b bytes.Buffer
	w := chunk.NewSegmentWriter(&b, 42, table, o)
	for _, s := range secs {
		if err := w.Append(s); err != nil {
			t.Fatal(err)
		}
	}
	m, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if m.Bytes != int64(b.Len()) || m.TableID != 42 {
		t.Fatalf("meta is %+v for %d bytes", m, b.Len())
	}
	return b.Bytes()
}

func openSegment(t testing.TB, b []byte) *chunk.Segment {
	t.Helper()
	s, err := chunk.OpenSegment(bytes.NewReader(b), int64(len(b)), chunk.OpenOptions{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readSegment returns all rows of a segment.
func readSegment(t testing.TB, s *chunk.Segment) *telemetry.Section {
	t.Helper()
	var parts []*telemetry.Section
	for i := range s.Blocks() {
		sec := &telemetry.Section{}
		if _, err := s.ReadBlock(i, sec, chunk.AllColumns(s.Table()), true); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, sec)
	}
	var rows []rowsOf
	for _, p := range parts {
		for i := range p.Series {
			rows = append(rows, rowsOf{p, i})
		}
	}
	return collect(s.Table(), rows)
}

func arrivalsOf(secs []*telemetry.Section) *chunk.Arrivals {
	a := &chunk.Arrivals{}
	for _, s := range secs {
		a.Add(s)
	}
	a.Seal()
	return a
}

func TestSegment(t *testing.T) {
	t.Run("GivesBackTheRowsOfW1", func(t *testing.T) {
		g := newW1(100, 700)
		secs := g.sections(200_000, 5000)
		want := sorted(secs)
		b := segmentOf(t, g.table, chunk.SegmentOptions{Arrivals: arrivalsOf(secs)}, want)
		t.Logf("%.3f bytes a row", float64(len(b))/200_000)
		s := openSegment(t, b)
		same(t, readSegment(t, s), want)
		if d := s.Verify(); len(d) != 0 {
			t.Fatal(d)
		}
	})
}

func BenchmarkSegment(b *testing.B) {
	const rows, devices = 500_000, 100
	g := newW1(devices, 700)
	secs := g.sections(rows, 5000)
	want := sorted(secs)
	arr := arrivalsOf(secs)
	var file []byte
	b.Run("Write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			file = segmentOf(b, g.table, chunk.SegmentOptions{Arrivals: arr}, want)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		b.ReportMetric(float64(len(file))/rows, "bytes/row")
	})
	file = segmentOf(b, g.table, chunk.SegmentOptions{Arrivals: arr}, want)
	read := func(name string, cols []int, received bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := openSegment(b, file)
			var sec telemetry.Section
			for b.Loop() {
				for i := range s.Blocks() {
					if _, err := s.ReadBlock(i, &sec, cols, received); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
	read("ReadTime", nil, false)
	read("ReadTemperature", []int{0}, false)
	read("ReadHumidity", []int{1}, false)
	read("ReadAll", []int{0, 1, 2, 3, 4}, true)
}
