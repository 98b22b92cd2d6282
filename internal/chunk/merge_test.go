package chunk_test

import (
	"fmt"
	"testing"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// merged returns all rows that a Merger gives for the sections.
func merged(t testing.TB, table *telemetry.Table, secs ...*telemetry.Section) *telemetry.Section {
	t.Helper()
	m := chunk.NewMerger(table)
	for _, s := range secs {
		m.Add(s)
	}
	return drain(t, table, m.Merge)
}

func drain(t testing.TB, table *telemetry.Table, merge func(func(*telemetry.Section) error) error) *telemetry.Section {
	t.Helper()
	out := &telemetry.Section{}
	out.Reset(table)
	err := merge(func(s *telemetry.Section) error {
		var rows []rowsOf
		for i := range s.Series {
			rows = append(rows, rowsOf{s, i})
		}
		part := collect(table, rows)
		values := make([]telemetry.Value, len(table.Columns))
		for i := range part.Series {
			rowValues(values, part, i)
			out.AppendRow(part.Series[i], part.Time[i], part.Received[i], values)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMerger(t *testing.T) {
	t.Run("SortsTheFramesOfW1", func(t *testing.T) {
		g := newW1(100, 700)
		secs := g.sections(50_000, 3000)
		same(t, merged(t, g.table, secs...), sorted(secs))
	})
}

func BenchmarkMerger(b *testing.B) {
	for _, rows := range []int{50_000, 500_000, 2_000_000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) { benchmarkMerger(b, rows) })
	}
}

func benchmarkMerger(b *testing.B, rows int) {
	g := newW1(1000, 700)
	var secs []*telemetry.Section
	for _, s := range g.sections(rows, 5000) {
		f, err := chunk.OpenFrame(frameOf(b, s), chunk.FrameOptions{})
		if err != nil {
			b.Fatal(err)
		}
		sec := &telemetry.Section{}
		if _, err := f.ReadSection(0, sec, g.table, chunk.AllColumns(g.table), true); err != nil {
			b.Fatal(err)
		}
		secs = append(secs, sec)
	}
	m := chunk.NewMerger(g.table)
	b.ReportAllocs()
	for b.Loop() {
		m.Reset()
		for _, s := range secs {
			m.Add(s)
		}
		n := 0
		if err := m.Merge(func(s *telemetry.Section) error { n += s.Rows(); return nil }); err != nil || n != rows {
			b.Fatal(n, err)
		}
		m.Arrivals()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
}

func BenchmarkMergeSources(b *testing.B) {
	const parts, each = 4, 100_000
	g := newW1(100, 700)
	var segs []*chunk.Segment
	for range parts {
		secs := g.sections(each, 5000)
		segs = append(segs, openSegment(b, segmentOf(b, g.table, chunk.SegmentOptions{Arrivals: arrivalsOf(secs)}, sorted(secs))))
	}
	b.ReportAllocs()
	for b.Loop() {
		var sources []chunk.Source
		for _, s := range segs {
			sources = append(sources, s.Source())
		}
		n := 0
		if err := chunk.MergeSources(g.table, sources, func(s *telemetry.Section) error { n += s.Rows(); return nil }); err != nil || n != parts*each {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/parts/each, "ns/row")
}
