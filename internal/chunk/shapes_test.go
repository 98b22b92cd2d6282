package chunk

import (
	"bytes"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// everyShape is a section with a column of each shape, so that a segment of it
// has every form of version 2.
func everyShape(rows int) *telemetry.Section {
	table := &telemetry.Table{Name: "shapes", Version: 1, Identity: telemetry.IdentityNone}
	sec := &telemetry.Section{Table: table}
	for row := range rows {
		sec.Series = append(sec.Series, telemetry.SeriesRef(row/200))
		sec.Time = append(sec.Time, 1_750_000_000_000_000_000+int64(row%200)*1_000_000_000)
		sec.Received = append(sec.Received, sec.Time[row]+int64(row%7))
	}
	for _, c := range columns() {
		table.Columns = append(table.Columns, telemetry.Column{Name: c.name, Type: c.typ})
		v, _ := c.vector(rows)
		sec.Columns = append(sec.Columns, *v)
	}
	return sec
}

func writeShapes(t testing.TB, sec *telemetry.Section, o SegmentOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewSegmentWriter(&b, 9, sec.Table, o)
	if err := w.Append(sec); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readShapes(t *testing.T, file []byte, o OpenOptions, want *telemetry.Section) {
	t.Helper()
	s, err := OpenSegment(bytes.NewReader(file), int64(len(file)), o)
	if err != nil {
		t.Fatal(err)
	}
	if d := s.Verify(); len(d) > 0 {
		t.Fatal(d)
	}
	var got telemetry.Section
	at := 0
	for i := range s.Blocks() {
		if _, err := s.ReadBlock(i, &got, AllColumns(s.Table()), true); err != nil {
			t.Fatal(err)
		}
		if err := sameRows(&got, want, at); err != nil {
			t.Fatal(err)
		}
		at += got.Rows()
	}
	if at != want.Rows() {
		t.Fatalf("%d rows of %d", at, want.Rows())
	}
}

// TestEveryFormIsSealed holds the forms to the sealer: they open with it, none
// without, and the file has no text of the readings.
func TestEveryFormIsSealed(t *testing.T) {
	sec := everyShape(2000)
	file := writeShapes(t, sec, SegmentOptions{Sealer: flipper{}, Identity: []byte("id"), BlockRows: 900})
	readShapes(t, file, OpenOptions{Sealer: flipper{}, Identity: []byte("id")}, sec)
	for _, text := range []string{"order-", "rssi", "warn", "shapes", "OrderNumbers"} {
		if bytes.Contains(file, []byte(text)) {
			t.Errorf("%q stands in the sealed file", text)
		}
	}
	if _, err := OpenSegment(bytes.NewReader(file), int64(len(file)), OpenOptions{Identity: []byte("id")}); err == nil {
		t.Error("it opens without a key")
	}
	if _, err := OpenSegment(bytes.NewReader(file), int64(len(file)), OpenOptions{Sealer: flipper{}, Identity: []byte("ie")}); err == nil {
		t.Error("it opens in another place")
	}
}

// flipper is a sealer that inverts every bit, which is enough to hide texts.
type flipper struct{ marker }

func (flipper) Seal(dst, plain, additional []byte) []byte {
	from := len(dst)
	dst = marker{}.Seal(dst, plain, additional)
	for i := range dst[from:] {
		dst[from+i] = ^dst[from+i]
	}
	return dst
}

func (flipper) Open(dst, sealed, additional []byte) ([]byte, error) {
	plain := bytes.Clone(sealed)
	for i := range plain {
		plain[i] = ^plain[i]
	}
	return marker{}.Open(dst, plain, additional)
}

// TestVersion2StillOpens reads a file that the second version wrote: a change of a
// form that it has needs a version of its own.
func TestVersion2StillOpens(t *testing.T) {
	sec := everyShape(700)
	readShapes(t, golden(t, "segment-v2.bin", writeShapes(t, sec, SegmentOptions{BlockRows: 500})), OpenOptions{}, sec)
}
