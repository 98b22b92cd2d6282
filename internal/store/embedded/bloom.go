package embedded

import (
	"math/bits"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// bloom is a blocked Bloom filter of row keys: about sixteen bits a key in blocks
// of a cache line. It spares look-ups the decoding of frames that do not hold a
// key; one in about three hundred it lets through in vain.
type bloom []uint64

// bloomOf returns the filter of a section's rows.
func bloomOf(sec *telemetry.Section) bloom {
	b := newBloom(sec.Rows())
	for row, ref := range sec.Series {
		b.add(rowKey{ref, sec.Time[row]}.hash())
	}
	return b
}

const bloomWords = 8 // of a block

func newBloom(keys int) bloom {
	blocks := max(keys*16/(bloomWords*64), 1)
	return make(bloom, blocks*bloomWords)
}

func (k rowKey) hash() uint64 {
	h := (uint64(k.time) ^ uint64(k.series)<<40 ^ uint64(k.series)) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>32
}

// block returns the words of a hash's block and the bits to set in two of them.
func (b bloom) block(h uint64) []uint64 {
	hi, _ := bits.Mul64(h, uint64(len(b)/bloomWords))
	return b[hi*bloomWords : hi*bloomWords+bloomWords]
}

func (b bloom) add(h uint64) {
	w := b.block(h)
	w[h&7] |= 1<<(h>>3&63) | 1<<(h>>9&63)
	w[h>>15&7] |= 1<<(h>>18&63) | 1<<(h>>24&63)
}

func (b bloom) has(h uint64) bool {
	w := b.block(h)
	m := uint64(1)<<(h>>3&63) | 1<<(h>>9&63)
	n := uint64(1)<<(h>>18&63) | 1<<(h>>24&63)
	return w[h&7]&m == m && w[h>>15&7]&n == n
}
