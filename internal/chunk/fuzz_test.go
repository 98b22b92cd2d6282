package chunk

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sampleSection has every type, with nulls, and repeats.
func sampleSection(rows int) *telemetry.Section {
	table := &telemetry.Table{Name: "sample", Version: 3, Tags: []string{"site"}, Identity: telemetry.IdentityTimeValues, Columns: []telemetry.Column{
		{Name: "f", Type: telemetry.Float, Unit: "Cel"},
		{Name: "i", Type: telemetry.Int},
		{Name: "b", Type: telemetry.Bool},
		{Name: "s", Type: telemetry.String},
		{Name: "j", Type: telemetry.JSON},
		{Name: "full", Type: telemetry.Float},
	}}
	sec := &telemetry.Section{}
	sec.Reset(table)
	values := make([]telemetry.Value, 6)
	for i := range rows {
		noise := uint64(i) * 0x9e3779b97f4a7c15
		values[0].Bits = math.Float64bits(float64(2000+noise>>40%30) / 100)
		values[1] = telemetry.Value{Bits: noise >> 50, Null: i%5 == 0}
		values[2].Bits = noise >> 63
		values[3].Text = []byte([]string{"ok", "warn", "fail"}[noise>>40%3])
		values[4] = telemetry.Value{Text: []byte(`{"n":` + string(rune('0'+i%10)) + `}`), Null: i%7 == 0}
		values[5].Bits = math.Float64bits(float64(noise) / 3)
		if values[1].Null {
			values[1].Bits = 0
		}
		if values[4].Null {
			values[4].Text = nil
		}
		sec.AppendRow(telemetry.SeriesRef(i/100), int64(1_750_000_000_000_000_000)+int64(i%100)*1_000_000_000, 1_750_000_001_000_000_000+int64(i/10), values)
	}
	return sec
}

func FuzzPage(f *testing.F) {
	sec := sampleSection(300)
	s := getScratch()
	for i := range sec.Columns {
		for _, fast := range []bool{true, false} {
			body := s.appendColumn(nil, &sec.Columns[i], 300, effort{fast: fast})
			f.Add(body, uint16(300), uint8(sec.Columns[i].Type-1))
		}
	}
	for _, c := range columns() {
		v, e := c.vector(600)
		f.Add(s.appendColumn(nil, v, 600, e), uint16(600), uint8(c.typ-1))
	}
	f.Add(s.appendInts(nil, asBits(sec.Time), effort{}), uint16(300), uint8(telemetry.Int-1))
	f.Fuzz(func(t *testing.T, body []byte, rows uint16, typ uint8) {
		ct := telemetry.ColumnType(typ%5 + 1)
		n := int(rows)
		var v telemetry.Vector
		_ = decodeInts(make([]uint64, n), body, make([]int64, n))
		if decodeColumn(&v, ct, body, n) != nil || n == 0 {
			return
		}
		// What decodes is whole, and encodes to something that decodes the same.
		checkVector(t, &v, n)
		var again telemetry.Vector
		s := getScratch()
		if err := decodeColumn(&again, ct, s.appendColumn(nil, &v, n, effort{fast: rows%2 == 0}), n); err != nil {
			t.Fatal(err)
		}
		putScratch(s)
		for i := range n {
			if v.Nulls.Get(i) != again.Nulls.Get(i) {
				t.Fatalf("row %d: null %v became %v", i, v.Nulls.Get(i), again.Nulls.Get(i))
			}
			if v.Nulls.Get(i) {
				continue
			}
			if ct.Textual() && !bytes.Equal(v.Text(i), again.Text(i)) || !ct.Textual() && v.Bits[i] != again.Bits[i] {
				t.Fatalf("row %d changed", i)
			}
		}
	})
}

func checkVector(t *testing.T, v *telemetry.Vector, rows int) {
	sec := telemetry.Section{Series: make([]telemetry.SeriesRef, rows), Time: make([]int64, rows), Received: make([]int64, rows), Columns: []telemetry.Vector{*v}}
	if err := checkSection("check", &sec); err != nil {
		t.Fatal(err)
	}
}

func FuzzFrame(f *testing.F) {
	sec := sampleSection(300)
	b, err := AppendFrame(nil, []FrameSection{{TableID: 1, Section: sec}, {TableID: 2, Section: sec}}, FrameOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:frameHeader])
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = OpenFrame(data, FrameOptions{})
		if len(data) < frameHeader {
			return
		}
		// The same with a checksum that fits, so that the fuzzer gets past it.
		data = bytes.Clone(data)
		n := binary.LittleEndian.Uint32(data[12:])
		if int64(n)+frameHeader > int64(len(data)) {
			return
		}
		binary.LittleEndian.PutUint32(data[16:], checksumFrame(data[:16], data[frameHeader:frameHeader+n]))
		fr, err := OpenFrame(data, FrameOptions{})
		if err != nil {
			return
		}
		var dst telemetry.Section
		for i, m := range fr.Sections() {
			table := &telemetry.Table{}
			for _, typ := range m.Types {
				table.Columns = append(table.Columns, telemetry.Column{Type: typ})
			}
			if _, err := fr.ReadSection(i, &dst, table, AllColumns(table), true); err != nil && telemetry.CodeOf(err) != telemetry.CodeDamaged {
				t.Fatalf("%T %v", err, err)
			}
		}
	})
}

// forge makes a file of fuzzed parts whose checksums fit.
func forge(blocks, head, pages, footer []byte) []byte {
	le := binary.LittleEndian
	file := append([]byte(segmentMagic), segmentVersion, 0, 0, 0, 0, 0, 0, 0)
	file = le.AppendUint32(file, checksum(file))
	file = append(file, blocks...)
	file = append(file, head...)
	file = le.AppendUint32(file, checksum(head))
	file = append(file, pages...)
	trailer := le.AppendUint64(nil, uint64(len(file)))
	trailer = le.AppendUint32(trailer, uint32(len(footer)))
	trailer = le.AppendUint32(trailer, checksum(footer))
	trailer = le.AppendUint32(trailer, checksum(trailer))
	return append(append(append(file, footer...), trailer...), segmentEnd...)
}

func FuzzSegment(f *testing.F) {
	sec := sampleSection(900)
	arrivals := &Arrivals{}
	arrivals.Add(sec)
	arrivals.Seal()
	for _, o := range []SegmentOptions{{BlockRows: 200}, {Arrivals: arrivals}} {
		var b bytes.Buffer
		w := NewSegmentWriter(&b, 1, sec.Table, o)
		if err := w.Append(sec); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			f.Fatal(err)
		}
		s, err := OpenSegment(bytes.NewReader(b.Bytes()), int64(b.Len()), OpenOptions{})
		if err != nil {
			f.Fatal(err)
		}
		last := s.blocks[len(s.blocks)-1]
		data := b.Bytes()
		f.Add(data[segmentHeader:last.Offset], data[last.Offset:last.Offset+int64(last.head)-4],
			data[last.Offset+int64(last.head):s.footer], data[s.footer:len(data)-segmentTrailer])
	}
	f.Fuzz(func(t *testing.T, blocks, head, pages, footer []byte) {
		data := forge(blocks, head, pages, footer)
		s, err := OpenSegment(bytes.NewReader(data), int64(len(data)), OpenOptions{})
		if err != nil {
			if telemetry.CodeOf(err) != telemetry.CodeDamaged {
				t.Fatal(err)
			}
			return
		}
		if len(s.blocks) > 20 {
			s.blocks = s.blocks[:20]
		}
		s.Verify()
		var dst telemetry.Section
		for i := range s.blocks {
			if _, err := s.ReadBlock(i, &dst, AllColumns(s.table), true); err == nil {
				if err := checkSection("check", &dst); err != nil {
					t.Fatal(err)
				}
			}
			if h, err := s.Head(i); err == nil {
				for c := range s.table.Columns {
					h.RunStats(c)
					h.Stats(c)
				}
			}
		}
		s.Find(3)
	})
}
