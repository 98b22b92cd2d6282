package pipeline

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// topicCache remembers, for one lane, the route and the series of a topic; and,
// under keys made of a topic's place and tag values, the series of topics whose
// payload has tags. It holds no pointers to keys, so that a million topics cost
// the garbage collector nothing.
//
// An entry stands in an arena of chunks, aligned to 8 bytes:
//
//	series uint32 | route uint16 | length and kind uint16 | key
//
// and is found by an open table of 8-byte slots (32 bits of the hash, 32 of the
// place), at most 13/16 full, that grows by half: a topic of 45 bytes takes 56
// bytes and 10 to 15 of table.
//
// Devices report in turn, and so entries are asked for in the order in which they
// were made: a cursor guesses the next entry, and where the guess is right there
// is neither hash nor table, and memory is read in its order.
//
// When the budget is spent the content is frozen: whatever cycles through more
// topics than fit hits as often as there are entries, where replacing the oldest
// would never hit. If less than half of the lookups hit, the content has had its
// day and is dropped as a whole.
type topicCache struct {
	seed   maphash.Seed
	shared *cacheBudget
	bytes  atomic.Int64 // of the shared budget; written by the lane only

	slots []uint64 // hash<<32 | place+1; 0 is empty
	count int

	chunks [][]byte // each of chunkBytes capacity; len is what is used
	last   int      // the chunk that is being filled

	frozen bool
	window topicWindow
	stale  bool        // frozen content has had its day: drop everything
	asked  atomic.Bool // another lane needs room: drop everything
}

// topicWindow decides when frozen content is given up.
type topicWindow struct {
	start  uint64 // messages of the lane when it began
	misses uint64
	wait   uint64 // how long the window is at least
}

const (
	chunkBits  = 16
	chunkBytes = 1 << chunkBits
	placeBits  = chunkBits - 3 // places count 8 bytes
	placeMask  = 1<<placeBits - 1

	entryHeader = 8
	// maxTopicKey bounds what is cached; longer topics are looked up each time.
	maxTopicKey = 2048

	// kindTags marks keys of tag values, which must not be taken for topics.
	kindTags = 1 << 15

	// noSeries stands for a series that is not known, or not one.
	noSeries = telemetry.SeriesRef(1<<32 - 1)
	// noPlace is the place of what is not in the cache.
	noPlace = 1<<32 - 1
)

// entry is the header of an entry.
type entry uint64

func (e entry) series() telemetry.SeriesRef { return telemetry.SeriesRef(uint32(e)) }
func (e entry) route() uint16               { return uint16(e >> 32) }

func makeEntry(series telemetry.SeriesRef, route uint16) entry {
	return entry(uint64(series) | uint64(route)<<32)
}

// cacheBudget bounds the caches of all lanes.
type cacheBudget struct {
	limit int64
	share int64 // what every lane may have in any case
	used  atomic.Int64
	lanes []*lane
}

// grow takes n bytes for a cache. Where the budget is spent by a lane that has more
// than its share, and this one has less, that lane is asked to start again.
func (b *cacheBudget) grow(t *topicCache, n int64) bool {
	if b.used.Add(n) <= b.limit {
		t.bytes.Add(n)
		return true
	}
	b.used.Add(-n)
	if t.bytes.Load()+n <= b.share {
		for _, l := range b.lanes {
			if &l.topics != t && l.topics.bytes.Load() > b.share {
				l.topics.asked.Store(true)
				break
			}
		}
	}
	return false
}

// init makes an empty cache. It takes no memory until the first topic.
func (t *topicCache) init(shared *cacheBudget) {
	t.seed, t.shared = maphash.MakeSeed(), shared
}

// cursor is where someone found what it asked for last.
type cursor struct {
	at    uint32
	wrong uint32 // guesses in a row that were
}

func newCursor() cursor { return cursor{at: noPlace} }

// Who asks in no order is guessed for only now and then: a wrong guess reads memory
// in vain.
const (
	guessPatience = 16
	guessPause    = 256
)

// find looks a key up.
func (t *topicCache) find(c *cursor, key []byte, kind int) (uint32, entry, bool) {
	if c.wrong < guessPatience {
		if next, ok := t.after(c.at); ok {
			if e, ok := t.match(next, key, kind); ok {
				c.at, c.wrong = next, 0
				return next, e, true
			}
		}
		if e, ok := t.match(c.at, key, kind); ok {
			c.wrong = 0
			return c.at, e, true
		}
	} else if c.wrong == guessPause {
		c.wrong = guessPatience - 2
	}
	c.wrong++
	if t.count == 0 {
		return noPlace, 0, false
	}
	hash := uint32(maphash.Bytes(t.seed, key))
	for i := t.home(hash); ; {
		s := t.slots[i]
		if s == 0 {
			return noPlace, 0, false
		}
		if uint32(s>>32) == hash {
			at := uint32(s) - 1
			if e, ok := t.match(at, key, kind); ok {
				c.at = at
				return at, e, true
			}
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

// home is where the search for a hash begins: its share of the table, which need
// not be a power of two, and keeps the order of hashes when the table grows.
func (t *topicCache) home(hash uint32) int {
	return int(uint64(hash) * uint64(len(t.slots)) >> 32)
}

// match compares the key of the entry at a place. Any place is allowed, so that a
// cursor survives the end of what it pointed to.
func (t *topicCache) match(at uint32, key []byte, kind int) (entry, bool) {
	c := at >> placeBits
	if int(c) >= len(t.chunks) {
		return 0, false
	}
	chunk := t.chunks[c]
	off := int(at&placeMask) << 3
	if off+entryHeader+len(key) > len(chunk) {
		return 0, false
	}
	h := binary.LittleEndian.Uint64(chunk[off:])
	if int(h>>48) != len(key)|kind {
		return 0, false
	}
	return entry(h), string(chunk[off+entryHeader:off+entryHeader+len(key)]) == string(key)
}

// after is the place of the entry that was made after the one at a place.
func (t *topicCache) after(at uint32) (uint32, bool) {
	c := int(at >> placeBits)
	if c >= len(t.chunks) {
		return 0, false
	}
	chunk := t.chunks[c]
	off := int(at&placeMask) << 3
	if off+entryHeader > len(chunk) {
		return 0, false
	}
	off += entrySize(int(binary.LittleEndian.Uint16(chunk[off+6:])) &^ kindTags)
	if off < len(chunk) {
		return at&^placeMask | uint32(off>>3), true
	}
	return uint32(c+1) << placeBits, c+1 < len(t.chunks)
}

func entrySize(key int) int { return (entryHeader + key + 7) &^ 7 }

// insert remembers a key that find did not find. It returns noPlace where there is
// no room. now counts the lane's messages.
func (t *topicCache) insert(key []byte, kind int, e entry, now uint64) uint32 {
	if len(key) > maxTopicKey {
		return noPlace
	}
	if t.frozen {
		t.watch(now)
		return noPlace
	}
	if t.count*16 >= len(t.slots)*13 && !t.growTable() {
		t.freeze(now)
		return noPlace
	}
	size := entrySize(len(key))
	if t.last >= len(t.chunks) || len(t.chunks[t.last])+size > chunkBytes {
		if !t.growArena() {
			t.freeze(now)
			return noPlace
		}
	}
	chunk := t.chunks[t.last]
	off := len(chunk)
	chunk = chunk[:off+size]
	binary.LittleEndian.PutUint64(chunk[off:], uint64(e)&(1<<48-1)|uint64(len(key)|kind)<<48)
	copy(chunk[off+entryHeader:], key)
	t.chunks[t.last] = chunk

	at := uint32(t.last)<<placeBits | uint32(off>>3)
	hash := uint32(maphash.Bytes(t.seed, key))
	t.place(uint64(hash)<<32 | uint64(at+1))
	t.count++
	return at
}

func (t *topicCache) place(slot uint64) {
	i := t.home(uint32(slot >> 32))
	for t.slots[i] != 0 {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	t.slots[i] = slot
}

func (t *topicCache) growTable() bool {
	size := max(64, len(t.slots)+len(t.slots)/2)
	if !t.shared.grow(t, int64(size-len(t.slots))*8) {
		return false
	}
	old := t.slots
	t.slots = make([]uint64, size)
	for _, s := range old {
		if s != 0 {
			t.place(s)
		}
	}
	return true
}

func (t *topicCache) growArena() bool {
	if t.last+1 < len(t.chunks) {
		t.last++ // kept from before the last reset
		return true
	}
	if len(t.chunks) == 1<<(32-placeBits)-1 || !t.shared.grow(t, chunkBytes) {
		return false
	}
	t.chunks = append(t.chunks, make([]byte, 0, chunkBytes))
	t.last = len(t.chunks) - 1
	return true
}

// setSeries enters the series of an entry.
func (t *topicCache) setSeries(at uint32, series telemetry.SeriesRef) {
	if at != noPlace {
		binary.LittleEndian.PutUint32(t.chunks[at>>placeBits][int(at&placeMask)<<3:], uint32(series))
	}
}

// key returns the key of the entry at a place.
func (t *topicCache) key(at uint32) []byte {
	chunk, off := t.chunks[at>>placeBits], int(at&placeMask)<<3
	n := int(binary.LittleEndian.Uint16(chunk[off+6:])) &^ kindTags
	return chunk[off+entryHeader : off+entryHeader+n]
}

// each calls f for every entry, in the order in which they were made.
func (t *topicCache) each(f func(at uint32, e entry, kind int)) {
	for c, chunk := range t.chunks {
		for off := 0; off < len(chunk); {
			h := binary.LittleEndian.Uint64(chunk[off:])
			n := int(h >> 48)
			f(uint32(c)<<placeBits|uint32(off>>3), entry(h), n&kindTags)
			off += entrySize(n &^ kindTags)
		}
	}
}

// freeze begins to watch whether the content still serves.
func (t *topicCache) freeze(now uint64) {
	if t.frozen {
		return
	}
	t.frozen = true
	t.window.wait = max(t.window.wait, uint64(t.count))
	t.window.start, t.window.misses = now, 0
}

// watch is told of every miss of frozen content, and finds it stale when more than
// half of the lookups of a window missed. A window is as long as the cache has
// entries, and doubles each time, so that a working set that never fits does not
// pay for refilling over and over.
func (t *topicCache) watch(now uint64) {
	t.window.misses++
	passed := now - t.window.start
	if passed < t.window.wait {
		return
	}
	if t.window.misses*2 > passed {
		t.window.wait *= 2
		t.stale = true
	}
	t.window.start, t.window.misses = now, 0
}

// tidy does between bursts what must not happen while places are in use.
func (t *topicCache) tidy() {
	if t.stale {
		t.reset()
	}
	if t.asked.Load() {
		t.release()
	}
}

// reset forgets all entries and keeps the memory.
func (t *topicCache) reset() {
	clear(t.slots)
	for i := range t.chunks {
		t.chunks[i] = t.chunks[i][:0]
	}
	t.count, t.last, t.frozen, t.stale = 0, 0, false, false
}

// release forgets all entries and gives the memory back.
func (t *topicCache) release() {
	t.slots, t.chunks, t.count, t.last, t.frozen, t.stale = nil, nil, 0, 0, false, false
	t.window = topicWindow{}
	t.shared.used.Add(-t.bytes.Swap(0))
	t.asked.Store(false)
}
