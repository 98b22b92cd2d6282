package embedded

import (
	"encoding/binary"
	"slices"

	"github.com/weir-telemetry/weir/internal/store"
)

// tagFilter knows what ScanRequest.TagIs means for the keys of each series group,
// so that a series which cannot match costs a look at its key and no words.
type tagFilter struct {
	conditions []store.TagIs
	at         map[uint32][]int // by group: where in the key the tag of each condition stands, or -1
}

func (sc *scan) tagFilter() *tagFilter {
	f := &tagFilter{conditions: sc.req.TagIs, at: map[uint32][]int{}}
	for group, places := range sc.tagAt {
		var at []int
		for _, c := range f.conditions {
			// A tag that the table does not have is null, and a condition is not met.
			j := slices.Index(sc.tags, c.Tag)
			if j >= 0 {
				j = slices.Index(places, j)
			}
			at = append(at, j)
		}
		f.at[group] = at
	}
	return f
}

// passes reports whether a key, of which the group was taken off, may match.
func (f *tagFilter) passes(group uint32, key []byte) bool {
	at := f.at[group]
	for i, c := range f.conditions {
		if at[i] < 0 || !tagEquals(key, at[i], c.Value) {
			return false
		}
	}
	return true
}

// tagEquals compares one tag of a key after its group: topic, then tags, each
// with its length in front; 0 is null, others are one more than the length.
func tagEquals(key []byte, tag int, value string) bool {
	size, n := binary.Uvarint(key)
	if n <= 0 || size > uint64(len(key)-n) {
		return false
	}
	key = key[n+int(size):]
	for ; ; tag-- {
		size, n := binary.Uvarint(key)
		if n <= 0 {
			return false
		}
		key = key[n:]
		length := max(size, 1) - 1
		if length > uint64(len(key)) {
			return false
		}
		if tag == 0 {
			return size > 0 && string(key[:length]) == value
		}
		key = key[length:]
	}
}
