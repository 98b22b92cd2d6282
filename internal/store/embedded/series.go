package embedded

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The series of a tenant live in pointer-free memory, so that a million of them
// cost the garbage collector nothing: an arena of records (the key, with its
// length), a page table from ref to record, and hash slots from key to ref.
// Lookups take no lock; they read slots and pages that are only ever added to.
const (
	arenaPageBits = 18 // 256 KB
	arenaAlign    = 4  // records start at multiples, so that 32 bits address 16 GB
	maxSeriesKey  = 1<<arenaPageBits - 8
	refPageBits   = 13
	seriesShards  = 64
)

type (
	arenaPage [1 << arenaPageBits]byte
	refPage   [1 << refPageBits]uint32
)

// seriesIndex issues refs densely from 0 and finds them again.
type seriesIndex struct {
	mu    sync.Mutex // held while a series is added
	pages atomic.Pointer[[]*arenaPage]
	refs  atomic.Pointer[[]*refPage]
	count atomic.Uint32
	used  int    // bytes used of the last arena page
	keys  uint64 // bytes of all keys
	shard [seriesShards]seriesShard
}

// seriesShard is one part of the hash table. A slot holds 32 bits of the key's
// hash and the ref + 1; 0 is empty.
type seriesShard struct {
	slots atomic.Pointer[[]atomic.Uint64]
	n     int
}

func newSeriesIndex() *seriesIndex {
	x := &seriesIndex{used: 1 << arenaPageBits}
	x.pages.Store(new([]*arenaPage))
	x.refs.Store(new([]*refPage))
	return x
}

// appendSeriesKey appends what tells a series from all others of its tenant.
func appendSeriesKey(dst []byte, group uint32, topic []byte, tags [][]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(group))
	dst = binary.AppendUvarint(dst, uint64(len(topic)))
	dst = append(dst, topic...)
	for _, t := range tags {
		if t == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(t))+1)
		dst = append(dst, t...)
	}
	return dst
}

// decodeSeriesKey is the inverse of appendSeriesKey; ok is false for bytes that
// are no key. The words share one copy of the key, because a scan asks for every
// series of its table.
func decodeSeriesKey(key []byte) (group uint32, info store.SeriesInfo, ok bool) {
	words, at := string(key), 0
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(key[at:])
		at += max(n, 0)
		return v, n > 0
	}
	word := func(size uint64) (string, bool) {
		if size > uint64(len(key)-at) {
			return "", false
		}
		w := words[at : at+int(size)]
		at += int(size)
		return w, true
	}
	g, ok := next()
	if !ok || g > 1<<32-1 {
		return 0, info, false
	}
	size, ok := next()
	if !ok {
		return 0, info, false
	}
	if info.Topic, ok = word(size); !ok {
		return 0, info, false
	}
	info.Tags = make([]store.Tag, 0, 4)
	for at < len(key) {
		size, ok := next()
		if !ok {
			return 0, info, false
		}
		if size == 0 {
			info.Tags = append(info.Tags, store.Tag{Null: true})
			continue
		}
		value, ok := word(size - 1)
		if !ok {
			return 0, info, false
		}
		info.Tags = append(info.Tags, store.Tag{Value: value})
	}
	return uint32(g), info, true
}

// find returns the ref of a key that is known.
func (x *seriesIndex) find(key []byte, hash uint64) (telemetry.SeriesRef, bool) {
	slots := x.shard[hash>>58].slots.Load()
	if slots == nil {
		return 0, false
	}
	s := *slots
	mask := uint64(len(s) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		v := s[i].Load()
		if v == 0 {
			return 0, false
		}
		if uint32(v>>32) == uint32(hash) {
			ref := telemetry.SeriesRef(uint32(v) - 1)
			if string(x.key(ref)) == string(key) {
				return ref, true
			}
		}
	}
}

// key returns the key of an issued ref; it must not be changed.
func (x *seriesIndex) key(ref telemetry.SeriesRef) []byte {
	at := uint64((*x.refs.Load())[ref>>refPageBits][ref&(1<<refPageBits-1)]) * arenaAlign
	rec := (*x.pages.Load())[at>>arenaPageBits][at&(1<<arenaPageBits-1):]
	if n := rec[0]; n < 0x80 {
		return rec[1 : 1+int(n) : 1+int(n)]
	}
	n, w := binary.Uvarint(rec)
	return rec[w : w+int(n) : w+int(n)]
}

// add issues a ref for a key, or returns the one it has. ok is false when the
// budget is spent.
func (x *seriesIndex) add(key []byte, hash uint64, budget int) (ref telemetry.SeriesRef, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ref, ok := x.find(key, hash); ok {
		return ref, true
	}
	n := x.count.Load()
	if int(n) >= budget {
		return 0, false
	}
	at, ok := x.reserve(len(key))
	if !ok {
		return 0, false
	}
	refs := *x.refs.Load()
	if int(n>>refPageBits) == len(refs) {
		refs = append(refs[:len(refs):len(refs)], new(refPage))
		x.refs.Store(&refs)
	}
	refs[n>>refPageBits][n&(1<<refPageBits-1)] = uint32(at / arenaAlign)
	pages := *x.pages.Load()
	rec := pages[at>>arenaPageBits][at&(1<<arenaPageBits-1):]
	w := binary.PutUvarint(rec, uint64(len(key)))
	copy(rec[w:], key)
	x.keys += uint64(len(key))

	sh := &x.shard[hash>>58]
	sh.insert(hash, n)
	x.count.Store(n + 1)
	return telemetry.SeriesRef(n), true
}

// reserve finds room for a record; it fails when the arena is full.
func (x *seriesIndex) reserve(key int) (at uint64, ok bool) {
	size := key + 1
	for v := key; v >= 0x80; v >>= 7 {
		size++
	}
	pages := *x.pages.Load()
	if x.used+size > 1<<arenaPageBits {
		if len(pages) >= 1<<(32-arenaPageBits)*arenaAlign {
			return 0, false
		}
		pages = append(pages[:len(pages):len(pages)], new(arenaPage))
		x.pages.Store(&pages)
		x.used = 0
	}
	at = uint64(len(pages)-1)<<arenaPageBits | uint64(x.used)
	x.used += (size + arenaAlign - 1) &^ (arenaAlign - 1)
	return at, true
}

func (sh *seriesShard) insert(hash uint64, ref uint32) {
	slots := sh.slots.Load()
	if slots == nil || (sh.n+1)*5 > len(*slots)*4 {
		size := 16
		if slots != nil {
			size = 2 * len(*slots)
		}
		grown := make([]atomic.Uint64, size)
		if slots != nil {
			for i := range *slots {
				if v := (*slots)[i].Load(); v != 0 {
					putSlot(grown, v)
				}
			}
		}
		slots = &grown
		defer sh.slots.Store(slots)
	}
	putSlot(*slots, hash<<32|uint64(ref+1))
	sh.n++
}

// putSlot puts a slot value at its hash's place or the next free one.
func putSlot(slots []atomic.Uint64, v uint64) {
	mask := uint64(len(slots) - 1)
	i := (v >> 32) & mask
	for slots[i].Load() != 0 {
		i = (i + 1) & mask
	}
	slots[i].Store(v)
}

// appendRecords appends the records of refs from up to and without to, as they
// stand in the catalog: each key with its length.
func (x *seriesIndex) appendRecords(dst []byte, from, to uint32) []byte {
	for ref := from; ref < to; ref++ {
		key := x.key(telemetry.SeriesRef(ref))
		dst = binary.AppendUvarint(dst, uint64(len(key)))
		dst = append(dst, key...)
	}
	return dst
}

// load adds count records that appendRecords wrote.
func (x *seriesIndex) load(data []byte, count int) error {
	for range count {
		n, w := binary.Uvarint(data)
		if w <= 0 || n > uint64(len(data)-w) || n > maxSeriesKey {
			return telemetry.Errorf(telemetry.CodeDamaged, "load series", "record %d of a block is cut off", x.count.Load())
		}
		key := data[w : w+int(n)]
		data = data[w+int(n):]
		before := x.count.Load()
		if ref, ok := x.add(key, xxhash.Sum64(key), math.MaxInt); !ok || uint32(ref) != before {
			return telemetry.Errorf(telemetry.CodeDamaged, "load series", "series %d stands twice", before)
		}
	}
	if len(data) != 0 {
		return telemetry.Errorf(telemetry.CodeDamaged, "load series", "%d bytes follow the last record", len(data))
	}
	return nil
}

// memory returns about how many bytes the index holds.
func (x *seriesIndex) memory() int64 {
	n := int64(len(*x.pages.Load()))<<arenaPageBits + int64(len(*x.refs.Load()))<<(refPageBits+2)
	for i := range x.shard {
		if s := x.shard[i].slots.Load(); s != nil {
			n += int64(len(*s)) * 8
		}
	}
	return n
}
