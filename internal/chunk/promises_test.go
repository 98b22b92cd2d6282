package chunk_test

import (
	"bytes"
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// w1Segment makes a segment as compaction does: frames, decoded, merged.
func w1Segment(t testing.TB, rows, devices, burst int) ([]byte, []*telemetry.Section) {
	t.Helper()
	g := newW1(devices, burst)
	secs := g.sections(rows, 5000)
	m := chunk.NewMerger(g.table)
	for _, s := range secs {
		f, err := chunk.OpenFrame(frameOf(t, s), chunk.FrameOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sec := &telemetry.Section{}
		if _, err := f.ReadSection(0, sec, g.table, chunk.AllColumns(g.table), true); err != nil {
			t.Fatal(err)
		}
		m.Add(sec)
	}
	var file bytes.Buffer
	w := chunk.NewSegmentWriter(&file, 1, g.table, chunk.SegmentOptions{Arrivals: m.Arrivals()})
	if err := m.Merge(w.Append); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), secs
}

func TestW1TakesLessThanTwoBytesAReading(t *testing.T) {
	const rows = 200_000
	file, secs := w1Segment(t, rows, 100, 700)
	size := float64(len(file)) / rows
	t.Logf("%.3f bytes a reading", size)
	if size > 1.92 {
		t.Errorf("W1 takes %.3f bytes a reading; its entropy is 1.82", size)
	}
	same(t, readSegment(t, openSegment(t, file)), sorted(secs))
}

func TestReceivedIsNearlyFreeInBursts(t *testing.T) {
	g := newW1(100, 700)
	secs := g.sections(200_000, 5000)
	want := sorted(secs)
	with := len(segmentOf(t, g.table, chunk.SegmentOptions{Arrivals: arrivalsOf(secs)}, want))
	for _, s := range secs {
		for i := range s.Received {
			s.Received[i] = 0
		}
	}
	without := len(segmentOf(t, g.table, chunk.SegmentOptions{}, sorted(secs)))
	if cost := float64(with-without) / 200_000; cost > 0.02 {
		t.Errorf("received_at takes %.3f bytes a reading", cost)
	}
}

func TestNothingIsAllocatedARow(t *testing.T) {
	g := newW1(100, 700)
	sec := &telemetry.Section{}
	g.fill(sec, 5000)
	in := []chunk.FrameSection{{TableID: 1, Section: sec}}
	var dst []byte
	spare := 0.0 // allocations that a forgetful pool causes
	if chunk.RaceEnabled {
		spare = 100
	}
	if n := testing.AllocsPerRun(50, func() { dst, _ = chunk.AppendFrame(dst[:0], in, chunk.FrameOptions{}) }); n > 2+spare {
		t.Errorf("AppendFrame allocates %v times", n)
	}
	f, err := chunk.OpenFrame(dst, chunk.FrameOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out telemetry.Section
	cols := chunk.AllColumns(g.table)
	if n := testing.AllocsPerRun(50, func() { _, err = f.ReadSection(0, &out, g.table, cols, true) }); n > 8+spare || err != nil {
		t.Errorf("ReadSection allocates %v times, %v", n, err)
	}
	file, _ := w1Segment(t, 50_000, 10, 700)
	s := openSegment(t, file)
	if n := testing.AllocsPerRun(50, func() { _, err = s.ReadBlock(1, &out, cols, true) }); n > 8+spare || err != nil {
		t.Errorf("ReadBlock allocates %v times, %v", n, err)
	}
	if n := testing.AllocsPerRun(50, func() { _, err = s.ReadBlock(1, &out, cols[:1], false) }); n > 2+spare || err != nil {
		t.Errorf("ReadBlock of one column allocates %v times, %v", n, err)
	}
}

func TestBlocksAreReadConcurrently(t *testing.T) {
	file, secs := w1Segment(t, 100_000, 20, 700)
	want := sorted(secs)
	s := openSegment(t, file)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var sec telemetry.Section
			at := 0
			for i, m := range s.Blocks() {
				if _, err := s.ReadBlock(i, &sec, []int{4, 0}, true); err != nil {
					t.Error(err)
					return
				}
				for r := g; r < m.Rows; r += 97 {
					w := at + r
					if sec.Series[r] != want.Series[w] || sec.Time[r] != want.Time[w] || sec.Received[r] != want.Received[w] ||
						string(sec.Columns[0].Text(r)) != string(want.Columns[4].Text(w)) || sec.Columns[1].Bits[r] != want.Columns[0].Bits[w] {
						t.Errorf("row %d differs", w)
						return
					}
				}
				at += m.Rows
			}
		})
	}
	wg.Wait()
}

func TestFindNarrowsToTheBlocksOfASeries(t *testing.T) {
	file, _ := w1Segment(t, 100_000, 20, 700)
	s := openSegment(t, file)
	for ref := range telemetry.SeriesRef(22) {
		first, last := s.Find(ref)
		for i := range s.Blocks() {
			runs, err := s.Runs(i)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range runs {
				if r.Series == ref && (i < first || i >= last) {
					t.Fatalf("series %d stands in block %d, outside of %d to %d", ref, i, first, last)
				}
			}
		}
		if ref >= 20 && first != last {
			t.Fatalf("series %d, which the segment lacks, has blocks %d to %d", ref, first, last)
		}
		if last-first > 2 {
			t.Fatalf("5,000 rows of series %d lie in blocks %d to %d", ref, first, last)
		}
	}
}

func TestWriterRefusesWhatContradictsItself(t *testing.T) {
	table := &telemetry.Table{Name: "t", Columns: []telemetry.Column{{Name: "s", Type: telemetry.String}}}
	good := func() *telemetry.Section {
		return &telemetry.Section{
			Table: table, Series: []telemetry.SeriesRef{1, 1}, Time: []int64{5, 6}, Received: []int64{0, 0},
			Columns: []telemetry.Vector{{Type: telemetry.String, Dict: []string{"a"}, Bits: []uint64{0, 0}}},
		}
	}
	cases := map[string]func(*telemetry.Section){
		"ACodeWithoutEntry": func(s *telemetry.Section) { s.Columns[0].Bits[1] = 1 },
		"TooFewCodes":       func(s *telemetry.Section) { s.Columns[0].Bits = s.Columns[0].Bits[:1] },
		"TooFewTimes":       func(s *telemetry.Section) { s.Time = s.Time[:1] },
		"TooFewReceived":    func(s *telemetry.Section) { s.Received = nil },
		"AnUnknownType":     func(s *telemetry.Section) { s.Columns[0].Type = 9 },
		"EndsThatFall": func(s *telemetry.Section) {
			s.Columns[0] = telemetry.Vector{Type: telemetry.String, Ends: []uint32{1, 0}, Bytes: []byte("a")}
		},
		"EndsPastTheBytes": func(s *telemetry.Section) {
			s.Columns[0] = telemetry.Vector{Type: telemetry.String, Ends: []uint32{1, 2}, Bytes: []byte("a")}
		},
		"ADuplicateThatIsNoRow": func(s *telemetry.Section) { s.Duplicates = []int32{2} },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			s := good()
			spoil(s)
			b, err := chunk.AppendFrame([]byte("x"), []chunk.FrameSection{{Section: s}}, chunk.FrameOptions{})
			if telemetry.CodeOf(err) != telemetry.CodeRefused || string(b) != "x" {
				t.Errorf("AppendFrame: %q, %v", b, err)
			}
			w := chunk.NewSegmentWriter(&bytes.Buffer{}, 1, table, chunk.SegmentOptions{})
			if err := w.Append(s); telemetry.CodeOf(err) != telemetry.CodeRefused {
				t.Errorf("Append: %v", err)
			}
		})
	}
	t.Run("RowsOutOfOrder", func(t *testing.T) {
		s := good()
		s.Time[0], s.Time[1] = 6, 5
		w := chunk.NewSegmentWriter(&bytes.Buffer{}, 1, table, chunk.SegmentOptions{})
		if err := w.Append(s); telemetry.CodeOf(err) != telemetry.CodeInvalid {
			t.Error(err)
		}
		w = chunk.NewSegmentWriter(&bytes.Buffer{}, 1, table, chunk.SegmentOptions{})
		if err := errors.Join(w.Append(good()), w.Append(good())); telemetry.CodeOf(err) != telemetry.CodeInvalid {
			t.Error("rows that go back between two calls were taken")
		}
	})
}

func TestASegmentMayBeEmpty(t *testing.T) {
	s := openSegment(t, segmentOf(t, w1Table(), chunk.SegmentOptions{}))
	if s.Meta().Rows != 0 || len(s.Blocks()) != 0 || len(s.Verify()) != 0 {
		t.Fatalf("%+v", s.Meta())
	}
}

func TestALargeSectionBecomesSeveral(t *testing.T) {
	g := newW1(100, 700)
	sec := &telemetry.Section{}
	g.fill(sec, chunk.MaxFrameRows*2+5)
	f, err := chunk.OpenFrame(frameOf(t, sec), chunk.FrameOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Sections()); n != 3 {
		t.Fatalf("%d sections", n)
	}
	var got telemetry.Section
	at := 0
	for i, m := range f.Sections() {
		if _, err := f.ReadSection(i, &got, g.table, nil, true); err != nil {
			t.Fatal(err)
		}
		for r := range got.Series {
			if got.Series[r] != sec.Series[at] || got.Time[r] != sec.Time[at] || got.Time[r] > m.MaxTime {
				t.Fatalf("row %d differs", at)
			}
			at++
		}
	}
	if at != sec.Rows() {
		t.Fatalf("%d rows of %d", at, sec.Rows())
	}
}

func TestSealedBytesOpenOnlyWhereTheyStand(t *testing.T) {
	g := newW1(10, 700)
	sec := &telemetry.Section{}
	g.fill(sec, 200)
	sealer := newGCM()
	o := chunk.FrameOptions{Sealer: sealer, Identity: []byte("tenant/1")}
	b, err := chunk.AppendFrame(nil, []chunk.FrameSection{{Section: sec}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("warn")) {
		t.Error("a text stands in clear")
	}
	if _, err := chunk.OpenFrame(b, chunk.FrameOptions{}); telemetry.CodeOf(err) != telemetry.CodeInvalid {
		t.Error("without a key:", err)
	}
	if _, err := chunk.OpenFrame(b, chunk.FrameOptions{Sealer: sealer, Identity: []byte("tenant/2")}); telemetry.CodeOf(err) != telemetry.CodeDamaged {
		t.Error("as another tenant's:", err)
	}
	file := segmentOf(t, g.table, chunk.SegmentOptions{Sealer: sealer, Identity: []byte("s1")}, sorted([]*telemetry.Section{sec}))
	for _, clear := range []string{"warn", "temperature", "env"} {
		if bytes.Contains(file, []byte(clear)) {
			t.Errorf("%q stands in clear", clear)
		}
	}
	open := func(o chunk.OpenOptions) error {
		_, err := chunk.OpenSegment(bytes.NewReader(file), int64(len(file)), o)
		return err
	}
	if err := open(chunk.OpenOptions{Sealer: sealer, Identity: []byte("s1")}); err != nil {
		t.Error(err)
	}
	if err := open(chunk.OpenOptions{Sealer: sealer, Identity: []byte("s2")}); telemetry.CodeOf(err) != telemetry.CodeDamaged {
		t.Error("as another segment:", err)
	}
	if err := open(chunk.OpenOptions{}); telemetry.CodeOf(err) != telemetry.CodeInvalid {
		t.Error("without a key:", err)
	}
}

func TestStatisticsOfDecimalsAreExact(t *testing.T) {
	file, secs := w1Segment(t, 20_000, 4, 700)
	want := sorted(secs)
	s := openSegment(t, file)
	at := 0
	for i := range s.Blocks() {
		h, err := s.Head(i)
		if err != nil {
			t.Fatal(err)
		}
		stats := h.RunStats(0)
		if len(stats) != len(h.Runs()) {
			t.Fatalf("%d statistics for %d runs", len(stats), len(h.Runs()))
		}
		for k, r := range h.Runs() {
			sum := int64(0)
			for row := at + r.Start; row < at+r.Start+r.Rows; row++ {
				sum += int64(math.Round(want.Columns[0].Float(row) * 100))
			}
			if stats[k].Sum != float64(sum)/100 {
				t.Errorf("run %+v: sum %v, want %v", r, stats[k].Sum, float64(sum)/100)
			}
		}
		at += s.Blocks()[i].Rows
	}
}

func TestLongTextsAreSplitOrRefused(t *testing.T) {
	table := &telemetry.Table{Name: "t", Columns: []telemetry.Column{{Name: "s", Type: telemetry.JSON}}}
	text := func(n int, seed byte) []byte {
		b := make([]byte, n)
		x := uint32(seed) + 1
		for i := range b {
			x = x*1664525 + 1013904223
			b[i] = 'a' + byte(x>>28)
		}
		return b
	}
	sec := &telemetry.Section{}
	sec.Reset(table)
	for i := range 7 {
		sec.AppendRow(1, int64(i), 0, []telemetry.Value{{Text: text(3_000_000+i, byte(i))}})
	}
	f, err := chunk.OpenFrame(frameOf(t, sec), chunk.FrameOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Sections()); n != 2 {
		t.Errorf("21 MB of text make %d sections", n)
	}
	m := chunk.NewMerger(table)
	for i := range f.Sections() {
		part := &telemetry.Section{}
		if _, err := f.ReadSection(i, part, table, []int{0}, true); err != nil {
			t.Fatal(err)
		}
		m.Add(part)
	}
	same(t, drain(t, table, m.Merge), sec)
	s := openSegment(t, segmentOf(t, table, chunk.SegmentOptions{}, sec))
	if n := len(s.Blocks()); n < 3 {
		t.Errorf("21 MB of text make %d blocks", n)
	}
	same(t, readSegment(t, s), sec)

	sec.Reset(table)
	sec.AppendRow(1, 0, 0, []telemetry.Value{{Text: text(17<<20, 0)}})
	if _, err := chunk.AppendFrame(nil, []chunk.FrameSection{{Section: sec}}, chunk.FrameOptions{}); telemetry.CodeOf(err) != telemetry.CodeRefused {
		t.Error("17 MB in one text:", err)
	}
}
