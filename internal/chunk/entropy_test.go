package chunk

import (
	"math/rand/v2"
	"testing"
)

func TestUnevenResidualsComeBackFromTheirCode(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	g := &planner{}
	for name, c := range map[string]struct {
		pack uint8
		draw func() uint64
	}{
		"Huffman": {packHuffman, func() uint64 { return uint64(r.ExpFloat64()*6) % 200 }},
		"TANS":    {packTANS, func() uint64 { return uint64(r.ExpFloat64() / 2) }},
	} {
		t.Run(name, func(t *testing.T) {
			v := make([]uint64, 3000)
			for i := range v {
				v[i] = c.draw() + 1000
			}
			packed := g.appendStream(nil, v, nil, true)
			coded := g.appendStream(nil, v, nil, false)
			if len(coded) > len(packed)*85/100 {
				t.Errorf("the code takes %d bytes, packed bits take %d", len(coded), len(packed))
			}
			got := make([]uint64, len(v))
			rest, err := decodeStream(got, coded, transform{kind: formInts})
			if err != nil || len(rest) != 0 {
				t.Fatal(len(rest), err)
			}
			for i := range v {
				if got[i] != v[i] {
					t.Fatalf("row %d: got %d, want %d", i, got[i], v[i])
				}
			}
			if kinds := kinds(t, coded); !kinds[c.pack] {
				t.Errorf("the stream has packings %v", kinds)
			}
			for n := range coded {
				if rest, err := decodeStream(got, coded[:n], transform{kind: formInts}); err == nil {
					t.Fatalf("cut off at %d of %d it decodes, with %d bytes left", n, len(coded), len(rest))
				}
			}
		})
	}
}

// kinds lists the packings of a stream's first group.
func kinds(t *testing.T, stream []byte) map[uint8]bool {
	t.Helper()
	r := reader{b: stream}
	r.uvarint() // groups
	r.uvarint() // rows
	return map[uint8]bool{r.byte() >> 4: true}
}
