package chunk_test

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// overwritten returns the sorted rows without those that a later arrival of the
// same series and time overwrites, where the table says so.
func overwritten(sec *telemetry.Section) *telemetry.Section {
	if sec.Table.Identity != telemetry.IdentityTime {
		return sec
	}
	var rows []rowsOf
	for i := range sec.Series {
		if i+1 < sec.Rows() && sec.Series[i] == sec.Series[i+1] && sec.Time[i] == sec.Time[i+1] {
			continue
		}
		rows = append(rows, rowsOf{sec, i})
	}
	return collect(sec.Table, rows)
}

// gatherer collects what a merge yields, copying it.
type gatherer struct {
	out    *telemetry.Section
	values []telemetry.Value
}

func newGatherer(table *telemetry.Table) *gatherer {
	g := &gatherer{out: &telemetry.Section{}, values: make([]telemetry.Value, len(table.Columns))}
	g.out.Reset(table)
	return g
}

func (g *gatherer) add(s *telemetry.Section) error {
	if s.Rows() == 0 {
		return fmt.Errorf("an empty section was given")
	}
	for i := range s.Series {
		rowValues(g.values, s, i)
		g.out.AppendRow(s.Series[i], s.Time[i], s.Received[i], g.values)
	}
	return nil
}

func between(sec *telemetry.Section, from, to int64) *telemetry.Section {
	var rows []rowsOf
	for i, t := range sec.Time {
		if t >= from && t <= to {
			rows = append(rows, rowsOf{sec, i})
		}
	}
	return collect(sec.Table, rows)
}

// throughFrame gives a section as compaction meets it.
func throughFrame(t *rapid.T, sec *telemetry.Section) *telemetry.Section {
	b, err := chunk.AppendFrame(nil, []chunk.FrameSection{{Section: sec}}, chunk.FrameOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := chunk.OpenFrame(b, chunk.FrameOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := &telemetry.Section{}
	if _, err := f.ReadSection(0, out, sec.Table, chunk.AllColumns(sec.Table), true); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMergerSortsAnyRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable(t)
		m := chunk.NewMerger(table)
		for range 2 { // a Merger is reused
			m.Reset()
			var parts []*telemetry.Section
			from, to := int64(-1<<63), int64(1<<63-1)
			if rapid.Bool().Draw(t, "between") {
				from, to = -5, 1e18
			}
			for range rapid.IntRange(1, 5).Draw(t, "sections") {
				sec := anySection(t, table, 200)
				if rapid.Bool().Draw(t, "framed") {
					m.AddBetween(throughFrame(t, sec), from, to)
				} else {
					m.AddBetween(sec, from, to)
				}
				parts = append(parts, between(sec, from, to))
			}
			want := overwritten(sorted(parts))
			for range 2 { // and its rows may be read again
				got := newGatherer(table)
				if err := m.Merge(got.add); err != nil {
					t.Fatal(err)
				}
				if err := differ(got.out, want, true); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestMergerSortsALongSeries(t *testing.T) {
	for _, identity := range []telemetry.Identity{telemetry.IdentityTimeValues, telemetry.IdentityTime} {
		table := &telemetry.Table{Name: "long", Columns: []telemetry.Column{{Name: "n", Type: telemetry.Int}}, Identity: identity}
		var secs []*telemetry.Section
		m := chunk.NewMerger(table)
		for i := range 30 {
			sec := &telemetry.Section{}
			sec.Reset(table)
			for j := range 5000 {
				// Every section goes over some times of the one before again.
				sec.AppendRow(3, int64(i*4000+j)%130_000, int64(i), []telemetry.Value{{Bits: uint64(i*5000 + j)}})
			}
			sec.AppendRow(9, int64(i/2), int64(i), []telemetry.Value{{Bits: uint64(i)}})
			secs = append(secs, sec)
			m.Add(sec)
		}
		got := newGatherer(table)
		if err := m.Merge(got.add); err != nil {
			t.Fatal(err)
		}
		same(t, got.out, overwritten(sorted(secs)))
	}
}

func TestMergeSourcesJoinsSegmentsAndFreshRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable(t)
		var all []*telemetry.Section
		var sources []chunk.Source
		var segs []*chunk.Segment
		for range rapid.IntRange(0, 4).Draw(t, "segments") {
			sec := anySection(t, table, 150)
			all = append(all, sec)
			var file bytes.Buffer
			o := chunk.SegmentOptions{BlockRows: 16}
			if rapid.Bool().Draw(t, "arrivals") {
				o.Arrivals = arrivalsOf([]*telemetry.Section{sec})
			}
			w := chunk.NewSegmentWriter(&file, 1, table, o)
			if err := w.Append(sorted([]*telemetry.Section{sec})); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			s, err := chunk.OpenSegment(bytes.NewReader(file.Bytes()), int64(file.Len()), chunk.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			segs = append(segs, s)
			sources = append(sources, s.Source())
		}
		fresh := anySection(t, table, 150)
		all = append(all, fresh)
		m := chunk.NewMerger(table)
		m.Add(fresh)
		sources = append(sources, m.Source())
		got := newGatherer(table)
		if err := chunk.MergeSources(table, sources, got.add); err != nil {
			t.Fatal(err)
		}
		if err := differ(got.out, overwritten(sorted(all)), true); err != nil {
			t.Fatal(err)
		}
		if _, err := chunk.MergeArrivals(segs, m.Arrivals()); err != nil {
			t.Fatal(err)
		}
	})
}
