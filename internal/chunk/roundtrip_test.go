package chunk_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// gcm is a sealer for tests; its nonces count, which is enough for one file.
type gcm struct {
	aead cipher.AEAD
	n    uint64
}

func newGCM() *gcm {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &gcm{aead: aead}
}

func (g *gcm) KeyID() uint32 { return 9 }

func (g *gcm) Seal(dst, plain, additional []byte) []byte {
	g.n++
	nonce := binary.BigEndian.AppendUint64(make([]byte, 4), g.n)
	dst = append(dst, nonce...)
	return g.aead.Seal(dst, nonce, plain, additional)
}

func (g *gcm) Open(dst, sealed, additional []byte) ([]byte, error) {
	if len(sealed) < 12 {
		return nil, errors.New("too short")
	}
	return g.aead.Open(dst, sealed[:12], sealed[12:], additional)
}

// someColumns draws columns in any order, also none and some twice.
func someColumns(t *rapid.T, table *telemetry.Table) []int {
	if len(table.Columns) == 0 {
		return nil
	}
	return rapid.SliceOfN(rapid.IntRange(0, len(table.Columns)-1), 0, 5).Draw(t, "cols")
}

// project returns the rows with these columns only.
func project(sec *telemetry.Section, cols []int) *telemetry.Section {
	out := &telemetry.Section{Table: sec.Table, Series: sec.Series, Time: sec.Time, Received: sec.Received}
	for _, c := range cols {
		out.Columns = append(out.Columns, sec.Columns[c])
	}
	return out
}

func TestFrameGivesBackAnyRows(t *testing.T) {
	var dst telemetry.Section // reused, so that what is left over would show
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable(t)
		secs := []*telemetry.Section{anySection(t, table, 600), anySection(t, table, 50)}
		o := chunk.FrameOptions{Identity: []byte("tenant/1")}
		if rapid.Bool().Draw(t, "sealed") {
			o.Sealer = newGCM()
		}
		prefix := []byte("in front")
		b, err := chunk.AppendFrame(prefix, []chunk.FrameSection{{TableID: 1, Section: secs[0]}, {TableID: 2, Section: secs[1]}}, o)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, prefix) {
			t.Fatal("what stood in front of the frame is gone")
		}
		f, err := chunk.OpenFrame(b[len(prefix):], o)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{1, 0, 1} { // in any order
			cols := someColumns(t, table)
			if _, err := f.ReadSection(i, &dst, table, cols, true); err != nil {
				t.Fatal(err)
			}
			if err := differ(&dst, project(secs[i], cols), true); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestFrameLeavesDuplicatesOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable(t)
		sec := anySection(t, table, 100)
		var kept []rowsOf
		for i := range sec.Series {
			if rapid.Bool().Draw(t, "duplicate") {
				sec.Duplicates = append(sec.Duplicates, int32(i))
			} else {
				kept = append(kept, rowsOf{sec, i})
			}
		}
		b, err := chunk.AppendFrame(nil, []chunk.FrameSection{{Section: sec}}, chunk.FrameOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := chunk.OpenFrame(b, chunk.FrameOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) == 0 {
			if len(f.Sections()) != 0 {
				t.Fatal("a section without rows was written")
			}
			return
		}
		var got telemetry.Section
		if _, err := f.ReadSection(0, &got, table, chunk.AllColumns(table), true); err != nil {
			t.Fatal(err)
		}
		if err := differ(&got, collect(table, kept), true); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSegmentGivesBackAnyRows(t *testing.T) {
	var dst telemetry.Section
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable(t)
		secs := []*telemetry.Section{anySection(t, table, 700), anySection(t, table, 300)}
		want := sorted(secs)
		o := chunk.SegmentOptions{BlockRows: rapid.SampledFrom([]int{1, 7, 100, 8192}).Draw(t, "block rows"), Identity: []byte("s1")}
		if rapid.Bool().Draw(t, "arrivals") {
			o.Arrivals = arrivalsOf(secs)
		}
		open := chunk.OpenOptions{Identity: []byte("s1")}
		if rapid.Bool().Draw(t, "sealed") {
			o.Sealer = newGCM()
			open.Sealer = o.Sealer
		}
		var file bytes.Buffer
		w := chunk.NewSegmentWriter(&file, 5, table, o)
		if err := w.Append(want); err != nil {
			t.Fatal(err)
		}
		meta, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		s, err := chunk.OpenSegment(bytes.NewReader(file.Bytes()), int64(file.Len()), open)
		if err != nil {
			t.Fatal(err)
		}
		if s.Meta() != meta {
			t.Fatalf("the reader says %+v, the writer %+v", s.Meta(), meta)
		}
		if s.Table().Name != table.Name || s.Table().Version != table.Version || s.Table().Identity != table.Identity ||
			s.Table().TimeInPayload != table.TimeInPayload || !slices.Equal(s.Table().Columns, table.Columns) || !slices.Equal(s.Table().Tags, table.Tags) {
			t.Fatalf("the table came back as %+v", s.Table())
		}
		if d := s.Verify(); len(d) != 0 {
			t.Fatalf("verify: %+v", d)
		}
		cols := someColumns(t, table)
		at := 0
		for i, m := range s.Blocks() {
			if _, err := s.ReadBlock(i, &dst, cols, true); err != nil {
				t.Fatal(err)
			}
			if dst.Rows() != m.Rows {
				t.Fatalf("block %d has %d rows, its meta says %d", i, dst.Rows(), m.Rows)
			}
			var rows []rowsOf
			for r := at; r < at+m.Rows; r++ {
				rows = append(rows, rowsOf{want, r})
			}
			part := collect(table, rows)
			if err := differ(&dst, project(part, cols), true); err != nil {
				t.Fatalf("block %d: %v", i, err)
			}
			checkHead(t, s, i, part)
			at += m.Rows
		}
		if at != want.Rows() {
			t.Fatalf("blocks hold %d rows of %d", at, want.Rows())
		}
		for c := range table.Columns {
			if total, ok := s.Total(c); ok {
				checkStats(t, total, &want.Columns[c], 0, want.Rows())
			} else if table.Columns[c].Type == telemetry.Int {
				t.Fatalf("column %d of integers has no total", c)
			}
		}
	})
}

// checkHead compares runs and statistics with the rows.
func checkHead(t *rapid.T, s *chunk.Segment, block int, rows *telemetry.Section) {
	h, err := s.Head(block)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	m := s.Blocks()[block]
	for i, r := range h.Runs() {
		if r.Start != at || r.Rows < 1 {
			t.Fatalf("run %d begins at %d, not %d", i, r.Start, at)
		}
		for k := at; k < at+r.Rows; k++ {
			if rows.Series[k] != r.Series || rows.Time[k] < r.MinTime || rows.Time[k] > r.MaxTime ||
				rows.Time[k] < m.MinTime || rows.Time[k] > m.MaxTime || r.Series < m.MinSeries || r.Series > m.MaxSeries {
				t.Fatalf("row %d of series %d at %d is outside of run %+v or block %+v", k, rows.Series[k], rows.Time[k], r, m)
			}
		}
		if rows.Time[at] != r.MinTime || rows.Time[at+r.Rows-1] != r.MaxTime {
			t.Fatalf("run %+v does not begin and end with its times", r)
		}
		at += r.Rows
	}
	if at != rows.Rows() {
		t.Fatalf("runs hold %d rows of %d", at, rows.Rows())
	}
	for c := range rows.Columns {
		v := &rows.Columns[c]
		if st, ok := h.Stats(c); ok {
			checkStats(t, st, v, 0, rows.Rows())
		} else if v.Type == telemetry.Int {
			t.Fatalf("column %d of integers has no statistics", c)
		}
		for i, st := range h.RunStats(c) {
			r := h.Runs()[i]
			checkStats(t, st, v, r.Start, r.Start+r.Rows)
		}
	}
}
