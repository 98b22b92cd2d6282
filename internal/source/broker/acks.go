package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// ackEntry is one acknowledgement that waits for its turn: it may be written when
// the sink has acknowledged token. Entries that the sink does not know of carry
// the token before them.
type ackEntry struct {
	token  uint32 // the lower half: compared by difference
	id     uint16
	kind   uint8 // PUBACK, PUBREC or PUBCOMP, and flags
	reason wire.ReasonCode
}

const (
	ackGated   = 0x80 // it also waits for the journal, see acks.gates
	ackCounted = 0x40 // a PUBCOMP that gives back a slot of the receive maximum
	ackKind    = 0x0f
)

// acks is the queue of them, in the order of arrival.
type acks struct {
	durable atomic.Uint64 // the token up to which the sink acknowledged
	ring    []ackEntry
	head    int
	waiting int
	gates   []uint64 // journal positions that gated entries wait for, in their order
}

// push appends the entries of a burst.
func (a *acks) push(entries []ackEntry) {
	for a.waiting+len(entries) > len(a.ring) {
		grown := make([]ackEntry, max(16, 2*len(a.ring)))
		for i := range a.waiting {
			grown[i] = a.ring[(a.head+i)&(len(a.ring)-1)]
		}
		a.ring, a.head = grown, 0
	}
	for _, e := range entries {
		a.ring[(a.head+a.waiting)&(len(a.ring)-1)] = e
		a.waiting++
	}
}

// Ack implements telemetry.Acker: it only notes the token and lets the writer run.
func (c *conn) Ack(upTo uint64) {
	for {
		old := c.durable.Load()
		if old >= upTo {
			return
		}
		if c.durable.CompareAndSwap(old, upTo) {
			break
		}
	}
	c.kick()
}

// takeAcks appends the acknowledgements whose turn has come. mu is held.
func (c *conn) takeAcks() {
	upTo := uint32(c.durable.Load())
	given := int32(0)
	for c.waiting > 0 {
		e := c.ring[c.head]
		if int32(upTo-e.token) < 0 {
			break
		}
		if e.kind&ackGated != 0 {
			if !c.b.journal.durable(c.gates[0], c) {
				break
			}
			c.gates = c.gates[1:]
		}
		kind := wire.PacketType(e.kind & ackKind)
		if e.reason == wire.Success {
			c.out = wire.AppendAck(c.outLocked(), kind, e.id)
		} else if c.speaks5 {
			c.out = wire.AppendAckReason(c.outLocked(), &wire.Ack{Type: kind, PacketID: e.id, Reason: e.reason})
		} else {
			c.out = wire.AppendAck(c.outLocked(), kind, e.id)
		}
		if kind == wire.PUBACK || e.kind&ackCounted != 0 || kind == wire.PUBREC && e.reason.Failed() {
			given++
		}
		c.head = (c.head + 1) & (len(c.ring) - 1)
		c.waiting--
	}
	if given > 0 {
		c.inflight.Add(-given)
	}
	if c.waiting == 0 && len(c.ring) > 1024 {
		c.ring, c.head = nil, 0 // a burst of thousands is over
	}
}

// outLocked returns the output to append to. mu is held.
func (c *conn) outLocked() []byte {
	if c.out == nil {
		c.out = borrowWrite()
	}
	return c.out
}

// append adds packets to the output and lets the writer run.
func (c *conn) append(f func(out []byte) []byte) {
	c.mu.Lock()
	c.out = f(c.outLocked())
	c.mu.Unlock()
	c.kick()
}

// kick makes sure that a writer runs and sees what was done before the call.
// There is no writer while there is nothing to write.
func (c *conn) kick() {
	if c.work.Add(1) == 1 {
		c.b.tasks.Add(1)
		go c.write()
	}
}

// wake lets everybody look again who waits for the connection.
func (c *conn) wake() {
	c.mu.Lock()
	c.cond.Broadcast()
	c.mu.Unlock()
}

// write writes until there is nothing more to write. It alone writes to the
// socket, and it closes it: packets never mix, and the last ones go out.
func (c *conn) write() {
	defer c.b.tasks.Done()
	for {
		seen := c.work.Load()
		closing := c.closing.Load()
		c.mu.Lock()
		c.takeAcks()
		buf := c.out
		c.out = nil
		c.mu.Unlock()
		if len(buf) == 0 {
			if closing {
				c.shut()
				return // work stays above zero: nobody starts a writer again
			}
			if c.work.CompareAndSwap(seen, 0) {
				return
			}
			continue
		}
		if !closing {
			_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		n, err := c.nc.Write(buf)
		c.b.stats.bytesOut.Add(uint64(n))
		returnWrite(buf)
		if err != nil {
			c.shut()
			return
		}
		if s := c.owner.Load(); s != nil {
			s.pump()
		}
		c.wake()
	}
}

// shut closes the socket.
func (c *conn) shut() {
	c.closing.Store(true)
	c.cancel()
	_ = c.nc.Close()
	c.mu.Lock()
	c.broken = true
	returnWrite(c.out)
	c.out = nil
	c.cond.Broadcast()
	c.mu.Unlock()
}

// awaitWritten waits until the socket is closed.
func (c *conn) awaitWritten() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.broken {
		c.cond.Wait()
	}
}

// awaitRoom waits, before the socket is read, while the client does not take
// what is sent to it, or has as many messages in flight as it may.
func (c *conn) awaitRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	if c.halted {
		c.cond.Broadcast()
	}
	for (c.halted || len(c.out) > outputLimit || c.waiting >= c.b.cfg.MaxInflight && !c.speaks5) && !c.closing.Load() {
		c.cond.Wait()
	}
	if c.closing.Load() {
		return errClosed
	}
	return nil
}

// resumeReading says that bytes were read. While the broker stops they are not
// handled: their messages are not acknowledged, and their clients send them again.
func (c *conn) resumeReading() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.halted && !c.closing.Load() {
		c.cond.Wait()
	}
	if c.closing.Load() {
		return errClosed
	}
	c.reading = true
	return nil
}

// stopReading lets no more bytes be handled.
func (c *conn) stopReading() {
	c.mu.Lock()
	c.halted = true
	c.mu.Unlock()
}

// awaitAcks waits until everything that was read is acknowledged, and returns how
// many messages are not when ctx ended or the connection broke.
func (c *conn) awaitAcks(ctx context.Context) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (c.reading || c.waiting > 0 || len(c.out) > 0) && !c.closing.Load() && ctx.Err() == nil {
		c.cond.Wait()
	}
	return c.waiting
}
