package chunk_test

import (
	"testing"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func frameOf(t testing.TB, secs ...*telemetry.Section) []byte {
	t.Helper()
	var in []chunk.FrameSection
	for i, s := range secs {
		in = append(in, chunk.FrameSection{TableID: uint32(i + 7), Section: s})
	}
	b, err := chunk.AppendFrame(nil, in, chunk.FrameOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFrame(t *testing.T) {
	t.Run("GivesBackTheRowsOfW1", func(t *testing.T) {
		g := newW1(1000, 700)
		secs := g.sections(12_000, 5000)
		b := frameOf(t, secs...)
		t.Logf("%.2f bytes a row", float64(len(b))/12_000)
		f, err := chunk.OpenFrame(b, chunk.FrameOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got telemetry.Section
		for i, want := range secs {
			m := f.Sections()[i]
			if m.TableID != uint32(i+7) || m.Rows != want.Rows() || m.MinSeries != 0 || m.MaxSeries != 999 {
				t.Fatalf("section %d is described as %+v", i, m)
			}
			if _, err := f.ReadSection(i, &got, g.table, chunk.AllColumns(g.table), true); err != nil {
				t.Fatal(err)
			}
			same(t, &got, want)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	const rows = 5000
	g := newW1(1000, 700)
	sec := &telemetry.Section{}
	g.fill(sec, rows)
	in := []chunk.FrameSection{{TableID: 1, Section: sec}}
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		var dst []byte
		for b.Loop() {
			dst, _ = chunk.AppendFrame(dst[:0], in, chunk.FrameOptions{})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		b.ReportMetric(float64(len(dst))/rows, "bytes/row")
	})
	dst, _ := chunk.AppendFrame(nil, in, chunk.FrameOptions{})
	b.Run("Read", func(b *testing.B) {
		b.ReportAllocs()
		var out telemetry.Section
		cols := chunk.AllColumns(g.table)
		for b.Loop() {
			f, err := chunk.OpenFrame(dst, chunk.FrameOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.ReadSection(0, &out, g.table, cols, true); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
	})
}
