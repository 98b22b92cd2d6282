package uplink

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// FuzzParse: what a device sends, or somebody in its name, never panics, and what
// is parsed holds what later code relies on.
func FuzzParse(f *testing.F) {
	f.Add([]byte{kindHello, form, 1, 0, 0, 0, 0, 0, 0, 0, 5, 9, 0, 0, 0, 0})
	f.Add([]byte{kindRecords, form, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0, 1, 0, 1, 3, 2, 0x10, 0x20, 0})
	f.Add([]byte{kindLost, form, 1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 4, 1})
	f.Add([]byte{kindStatus, form, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 1, 1, 2})
	f.Fuzz(func(t *testing.T, body []byte) {
		what, err := parse(seal(bytes.Clone(body)))
		if err != nil {
			return
		}
		if b, ok := what.(*batch); ok {
			if len(b.records) == 0 || b.first == 0 || b.epoch == 0 {
				t.Fatalf("%+v", b)
			}
			for _, r := range b.records {
				if r.uptime > maxUptime {
					t.Fatalf("uptime %d", r.uptime)
				}
			}
		}
	})
}

func TestAMessageThatIsDamagedAnywhereIsNone(t *testing.T) {
	m := []byte{kindRecords, form}
	m = binary.LittleEndian.AppendUint64(m, 7)
	m = append(m, 1, 9, 0, 1, 0, 1, 3, 2, 0x10, 0x20, 0)
	m = seal(m)
	if _, err := parse(m); err != nil {
		t.Fatal(err)
	}
	for i := range m {
		for bit := range 8 {
			bad := bytes.Clone(m)
			bad[i] ^= 1 << bit
			if _, err := parse(bad); err == nil {
				t.Fatalf("bit %d of byte %d was turned, and nobody saw it", bit, i)
			}
		}
		if _, err := parse(m[:i]); err == nil {
			t.Fatalf("the first %d bytes were taken for the whole", i)
		}
	}
}

// TestSpans compares the set with a plain list of booleans.
func TestSpans(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		var s spans
		var model [200]bool
		for range random.IntN(30) {
			first := 1 + random.Uint64N(180)
			n := span{first, first + random.Uint64N(15)}
			s = s.add(n)
			for i := n.first; i < n.end; i++ {
				model[i] = true
			}
		}
		for i := uint64(1); i < 200; i++ {
			if s.has(i) != model[i] {
				t.Fatalf("%v: has(%d) is %v", s, i, s.has(i))
			}
		}
		for i := 1; i < len(s); i++ {
			if s[i].first <= s[i-1].end {
				t.Fatalf("not disjoint and apart: %v", s)
			}
		}
		end := uint64(1)
		for model[end] {
			end++
		}
		if s.contiguous() != end {
			t.Fatalf("%v: contiguous %d, want %d", s, s.contiguous(), end)
		}
		var lacks [200]bool
		for _, h := range s.holes(200, random.IntN(2) == 0, 1000) {
			for i := h.first; i < h.end; i++ {
				lacks[i] = true
			}
		}
		for i := uint64(1); i < 200; i++ {
			if lacks[i] == model[i] {
				t.Fatalf("%v: %d is both or neither", s, i)
			}
		}
	}
}

// marks is a session's memory of marks.
type marks map[uint16]uint64

func (m marks) Mark(id uint16, value uint64) { m[id] = value }
func (m marks) Unmark(id uint16)             { delete(m, id) }
