package chunk

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

var update = flag.Bool("update", false, "write testdata/segment-v2.bin anew; only for a format that was never released")

func sampleSegment(t testing.TB, rows, blockRows int) ([]byte, *telemetry.Section) {
	t.Helper()
	sec := sampleSection(rows)
	a := &Arrivals{}
	a.Add(sec)
	a.Seal()
	var b bytes.Buffer
	w := NewSegmentWriter(&b, 7, sec.Table, SegmentOptions{BlockRows: blockRows, Arrivals: a})
	if err := w.Append(sec); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), sec
}

func open(data []byte) (*Segment, error) {
	return OpenSegment(bytes.NewReader(data), int64(len(data)), OpenOptions{Name: "s1"})
}

func TestSegmentNamesTheDamageOfEveryByte(t *testing.T) {
	data, _ := sampleSegment(t, 450, 150)
	whole, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	blocks := whole.Blocks()
	if len(blocks) < 3 {
		t.Fatalf("%d blocks are too few for this test", len(blocks))
	}
	stride := 1
	if RaceEnabled {
		stride = 13
	}
	for at := 0; at < len(data); at += stride {
		data[at] ^= 0x10
		s, err := open(data)
		hit := -1
		for i, b := range blocks {
			if int64(at) >= b.Offset && int64(at) < b.Offset+b.Length {
				hit = i
			}
		}
		switch {
		case err != nil:
			if telemetry.CodeOf(err) != telemetry.CodeDamaged || hit >= 0 {
				t.Fatalf("byte %d: %v", at, err)
			}
		default:
			found := s.Verify()
			if len(found) == 0 {
				t.Fatalf("byte %d is damaged and Verify finds nothing", at)
			}
			d := found[0]
			if d.Block != hit || int64(at) < d.Offset || int64(at) >= d.Offset+d.Length {
				t.Fatalf("byte %d of block %d is damaged, and Verify says %+v", at, hit, d)
			}
			if e := d.Err.Error(); telemetry.CodeOf(d.Err) != telemetry.CodeDamaged || !strings.Contains(e, "s1") || !strings.Contains(e, d.Part) {
				t.Fatalf("byte %d: the error does not name the place: %v", at, e)
			}
			if hit >= 0 {
				onlyBlockIsLost(t, s, hit, d)
			}
		}
		data[at] ^= 0x10
	}
}

// onlyBlockIsLost reads the other blocks, and the other columns of the block.
func onlyBlockIsLost(t *testing.T, s *Segment, hit int, d Damage) {
	var dst telemetry.Section
	for i := range s.Blocks() {
		_, err := s.ReadBlock(i, &dst, AllColumns(s.Table()), true)
		if (err != nil) != (i == hit) {
			t.Fatalf("%s of block %d is damaged, and block %d says %v", d.Part, hit, i, err)
		}
	}
	if c := s.Table().ColumnIndex(d.Part); c >= 0 {
		if _, err := s.ReadBlock(hit, &dst, []int{(c + 1) % len(s.Table().Columns)}, true); err != nil {
			t.Fatalf("column %s is damaged, and another cannot be read: %v", d.Part, err)
		}
	}
}

func TestSegmentCutOffIsDamaged(t *testing.T) {
	data, _ := sampleSegment(t, 300, 150)
	for n := range data {
		if _, err := open(data[:n]); telemetry.CodeOf(err) != telemetry.CodeDamaged {
			t.Fatalf("cut off at %d: %v", n, err)
		}
		// The same with the length of the whole, as a sparse tail gives it.
		if _, err := OpenSegment(bytes.NewReader(data[:n]), int64(len(data)), OpenOptions{}); telemetry.CodeOf(err) != telemetry.CodeDamaged {
			t.Fatalf("shorter than its size, %d: %v", n, err)
		}
	}
}

type badDisk struct{ io.ReaderAt }

func (badDisk) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

func TestSegmentTellsABadDiskFromDamage(t *testing.T) {
	if _, err := OpenSegment(badDisk{}, 1000, OpenOptions{}); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
		t.Fatal(err)
	}
}

func TestFrameRefusesTheDamageOfEveryByte(t *testing.T) {
	sec := sampleSection(200)
	data, err := AppendFrame(nil, []FrameSection{{TableID: 1, Section: sec}}, FrameOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var dst telemetry.Section
	read := func(b []byte) error {
		f, err := OpenFrame(b, FrameOptions{})
		if err != nil {
			return err
		}
		_, err = f.ReadSection(0, &dst, sec.Table, AllColumns(sec.Table), true)
		return err
	}
	for at := range data {
		data[at] ^= 0x04
		if err := read(data); telemetry.CodeOf(err) != telemetry.CodeDamaged {
			t.Fatalf("byte %d: %v", at, err)
		}
		data[at] ^= 0x04
		if err := read(data[:at]); telemetry.CodeOf(err) != telemetry.CodeDamaged {
			t.Fatalf("cut off at %d: %v", at, err)
		}
	}
	if err := read(append(data, 0)); telemetry.CodeOf(err) != telemetry.CodeDamaged {
		t.Fatalf("a byte too many: %v", err)
	}
	if err := read(data); err != nil {
		t.Fatal(err)
	}
}

// golden returns the bytes of a file in testdata, which it writes with -update.
func golden(t *testing.T, name string, now []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update && name == "segment-v2.bin" { // what the first version wrote, it wrote
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameRows(got, want *telemetry.Section, from int) error {
	for i := range got.Series {
		w := from + i
		if got.Series[i] != want.Series[w] || got.Time[i] != want.Time[w] || got.Received[i] != want.Received[w] {
			return fmt.Errorf("row %d: series %d at %d", w, got.Series[i], got.Time[i])
		}
		for c := range want.Columns {
			g, v := &got.Columns[c], &want.Columns[c]
			if g.Nulls.Get(i) != v.Nulls.Get(w) {
				return fmt.Errorf("row %d column %d: null is %v", w, c, g.Nulls.Get(i))
			}
			if v.Nulls.Get(w) {
				continue
			}
			if v.Type.Textual() && !bytes.Equal(g.Text(i), v.Text(w)) || !v.Type.Textual() && g.Bits[i] != v.Bits[w] {
				return fmt.Errorf("row %d column %d differs", w, c)
			}
		}
	}
	return nil
}

// TestVersion1StillOpens reads files that the first version wrote.
func TestVersion1StillOpens(t *testing.T) {
	var dst telemetry.Section
	t.Run("Frame", func(t *testing.T) {
		sec := sampleSection(250)
		now, err := AppendFrame(nil, []FrameSection{{TableID: 1, Section: sec}}, FrameOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := OpenFrame(golden(t, "frame-v1.bin", now), FrameOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadSection(0, &dst, sec.Table, AllColumns(sec.Table), true); err != nil {
			t.Fatal(err)
		}
		if err := sameRows(&dst, sec, 0); err != nil || dst.Rows() != 250 {
			t.Fatal(dst.Rows(), err)
		}
	})
	t.Run("Segment", func(t *testing.T) {
		now, sec := sampleSegment(t, 1000, 400)
		s, err := open(golden(t, "segment-v1.bin", now))
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for i := range s.Blocks() {
			if _, err := s.ReadBlock(i, &dst, AllColumns(s.Table()), true); err != nil {
				t.Fatal(err)
			}
			if err := sameRows(&dst, sec, at); err != nil {
				t.Fatal(err)
			}
			at += dst.Rows()
		}
		if at != 1000 {
			t.Fatal(at)
		}
	})
}
