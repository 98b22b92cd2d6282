package mqtt

import (
	"sync"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// ring remembers which acknowledgement each token stands for. The reader
// pushes, the commit loop acknowledges, the writer takes. It outlives
// connections; tokens of an earlier one are forgotten by reset.
//
// A slot is written before its token is handed to the sink, and read after the
// sink acknowledged the token: the sink's own locking orders the two.
type ring struct {
	// Ack's side.
	acked atomic.Uint64
	wake  chan struct{}

	// written is the token below which everything is taken for writing or
	// forgotten; sent is where it was really written, for those who ask from
	// outside.
	written atomic.Uint64
	sent    atomic.Uint64
	space   chan struct{} // signalled when written advanced

	// The reader's side.
	next  uint64 // the next token
	known uint64 // written, as last seen
	limit int

	mu    sync.Mutex // held while slots are taken or replaced
	slots []uint32   // packet id, and the acknowledgement's type above it
}

const (
	ringStart = 1 << 10
	// ringLimit is above what a peer can have in flight that keeps the standard:
	// 65,535 identifiers. Mosquitto was seen to exceed its limit; beyond this one
	// the socket is not read until acknowledgements are written.
	ringLimit = 1 << 17
)

func newRing() *ring {
	r := &ring{
		wake: make(chan struct{}, 1), space: make(chan struct{}, 1),
		next: 1, known: 1, limit: ringLimit, slots: make([]uint32, ringStart),
	}
	r.written.Store(1)
	return r
}

// Ack implements telemetry.Acker.
func (r *ring) Ack(upTo uint64) {
	for {
		old := r.acked.Load()
		if upTo <= old {
			return
		}
		if r.acked.CompareAndSwap(old, upTo) {
			break
		}
	}
	signal(r.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push returns the token of an acknowledgement to come, or false while the
// ring is full.
func (r *ring) push(t wire.PacketType, packetID uint16) (token uint64, ok bool) {
	token = r.next
	if token-r.known >= uint64(len(r.slots)) && !r.room() {
		return 0, false
	}
	r.slots[token&uint64(len(r.slots)-1)] = uint32(t)<<16 | uint32(packetID)
	r.next++
	return token, true
}

// room looks again how far the writer is, and grows the ring if it must.
func (r *ring) room() bool {
	r.known = r.written.Load()
	if r.next-r.known < uint64(len(r.slots)) {
		return true
	}
	if len(r.slots) >= r.limit {
		return false
	}
	bigger := make([]uint32, 2*len(r.slots))
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := r.known; t < r.next; t++ {
		bigger[t&uint64(len(bigger)-1)] = r.slots[t&uint64(len(r.slots)-1)]
	}
	r.slots = bigger
	return true
}

// take appends the packets of at most limit acknowledged tokens.
func (r *ring) take(dst []byte, limit int) []byte {
	acked := r.acked.Load()
	from := r.written.Load()
	if acked < from {
		return dst
	}
	r.mu.Lock()
	to := min(acked+1, from+uint64(limit))
	mask := uint64(len(r.slots) - 1)
	for t := from; t < to; t++ {
		e := r.slots[t&mask]
		dst = wire.AppendAck(dst, wire.PacketType(e>>16), uint16(e))
	}
	r.mu.Unlock()
	r.written.Store(to)
	signal(r.space)
	return dst
}

// reset forgets what is not yet written. Only while no writer runs.
func (r *ring) reset() {
	r.written.Store(r.next)
	r.sent.Store(r.next)
	r.known = r.next
	if len(r.slots) > ringStart {
		r.mu.Lock()
		r.slots = make([]uint32, ringStart)
		r.mu.Unlock()
	}
}

// pending reports whether acknowledged tokens wait to be written.
func (r *ring) pending() bool { return r.acked.Load() >= r.written.Load() }
