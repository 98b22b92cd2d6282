package chunk

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestDictionaryRefusesCodesWithoutEntry(t *testing.T) {
	s := getScratch()
	defer putScratch(s)
	for code := range uint64(4) {
		body := []byte{formDict, 2, 1, 'a', 1, 'b'}
		body = s.planner.appendStream(body, []uint64{0, code, 1}, nil, true)
		var v telemetry.Vector
		err := decodeColumn(&v, telemetry.String, body, 3)
		if (err == nil) != (code < 2) {
			t.Errorf("code %d of 2 entries: %v", code, err)
		}
	}
}

func TestPageFormsFitTheirTypes(t *testing.T) {
	s := getScratch()
	defer putScratch(s)
	sec := sampleSection(50)
	for i := range sec.Columns {
		body := s.appendColumn(nil, &sec.Columns[i], 50, effort{})
		for typ := telemetry.Float; typ <= telemetry.JSON; typ++ {
			var v telemetry.Vector
			err := decodeColumn(&v, typ, body, 50)
			fits := typ == sec.Columns[i].Type || typ.Textual() && sec.Columns[i].Type.Textual() ||
				!typ.Textual() && typ != telemetry.Float && !sec.Columns[i].Type.Textual() && sec.Columns[i].Type != telemetry.Float
			if (err == nil) != fits {
				t.Errorf("a page of %s read as %s: %v", sec.Columns[i].Type, typ, err)
			}
		}
	}
}

func TestPagesEndWithTheirLastField(t *testing.T) {
	s := getScratch()
	defer putScratch(s)
	sec := sampleSection(50)
	for i := range sec.Columns {
		body := s.appendColumn(nil, &sec.Columns[i], 50, effort{})
		for n := range body {
			var v telemetry.Vector
			if decodeColumn(&v, sec.Columns[i].Type, body[:n], 50) == nil {
				t.Errorf("column %d cut off at %d of %d is taken", i, n, len(body))
			}
		}
		var v telemetry.Vector
		if decodeColumn(&v, sec.Columns[i].Type, append(body, 0), 50) == nil {
			t.Errorf("column %d with a byte too many is taken", i)
		}
	}
}

// marker is a sealer that shows what it was given.
type marker struct{}

func (marker) KeyID() uint32 { return 1 }
func (marker) Seal(dst, plain, additional []byte) []byte {
	return append(append(append(dst, byte(len(additional))), additional...), plain...)
}

func (marker) Open(dst, sealed, additional []byte) ([]byte, error) {
	if len(sealed) < 1+len(additional) || !bytes.Equal(sealed[1:1+len(additional)], additional) {
		return nil, errors.New("sealed for another place")
	}
	return append(dst, sealed[1+len(additional):]...), nil
}

func TestASealedPageOpensOnlyInItsPlace(t *testing.T) {
	s := getScratch()
	defer putScratch(s)
	at := place{sealer: marker{}, identity: []byte("id"), kind: 'S', part: 1, page: 2}
	stored, e := s.storePage([]byte("body"), 0, nil, at)
	stored = bytes.Clone(stored)
	if body, err := s.openPage(stored, e, at); err != nil || string(body) != "body" {
		t.Fatal(string(body), err)
	}
	for _, other := range []place{
		{sealer: marker{}, identity: []byte("ie"), kind: 'S', part: 1, page: 2},
		{marker{}, []byte("id"), 'F', 1, 2},
		{marker{}, []byte("id"), 'S', 2, 2},
		{marker{}, []byte("id"), 'S', 1, 3},
	} {
		if _, err := s.openPage(stored, e, other); err == nil {
			t.Errorf("a page opens as %+v", other)
		}
	}
}

func TestRadixDigitsComeBackForEveryBase(t *testing.T) {
	for n := uint64(3); n <= maxRadix; n += 1 + n/97 {
		// The greatest digits make the greatest words, where a fraction that
		// is rounded wrongly shows first.
		v := make([]uint64, 70)
		for i := range v {
			switch {
			case i < 25:
				v[i] = n - 1
			case i < 40:
				v[i] = 0
			default:
				v[i] = (uint64(i) * 0x9e3779b97f4a7c15 >> 20) % n
			}
		}
		r := radixOf(n)
		packed := packDigits(nil, v, 0, n)
		got := make([]uint64, len(v))
		if err := unpackDigits(got, packed, r, nil); err != nil {
			t.Fatalf("base %d: %v", n, err)
		}
		for i := range v {
			if got[i] != v[i] {
				t.Fatalf("base %d, digit %d: got %d, want %d", n, i, got[i], v[i])
			}
		}
		if n > tableSpan {
			continue
		}
		var table [tableSpan]uint64
		for i := range table {
			table[i] = uint64(i) * 3
		}
		if err := unpackDigits(got, packed, r, &table); err != nil {
			t.Fatalf("base %d: %v", n, err)
		}
		for i := range v {
			if got[i] != v[i]*3 {
				t.Fatalf("base %d through a table, digit %d: got %d, want %d", n, i, got[i], v[i]*3)
			}
		}
	}
}

func TestBitsComeBackForEveryWidth(t *testing.T) {
	for width := uint(1); width <= 64; width++ {
		for _, rows := range []int{1, 2, 7, 8, 9, 63, 64, 65, 200} {
			mask := ^uint64(0) >> (64 - width)
			v := make([]uint64, rows)
			for i := range v {
				v[i] = (uint64(i+1) * 0x9e3779b97f4a7c15) & mask
				if i%3 == 0 {
					v[i] = mask
				}
			}
			packed := packWidth(nil, v, 0, width)
			if len(packed) != (rows*int(width)+7)/8 {
				t.Fatalf("%d numbers of %d bits take %d bytes", rows, width, len(packed))
			}
			got := make([]uint64, rows)
			unpackWidth(got, packed, width)
			for i := range v {
				if got[i] != v[i] {
					t.Fatalf("width %d, number %d of %d: got %x, want %x", width, i, rows, got[i], v[i])
				}
			}
		}
	}
}
