package mqtt

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

const (
	bufferStart = 16 << 10
	// shrinkAfter is how long the buffer must have been mostly empty before it
	// is given back.
	shrinkAfter = 5 * time.Second
	// maxControl bounds packets other than PUBLISH: a SUBACK of 60,000 filters.
	maxControl = 64 << 10
)

// burstCounts are added to the shared counters once per burst.
type burstCounts struct {
	messages   [3]uint64
	duplicates uint64
	oversized  uint64
}

// serve reads until the connection ends; it returns why.
func (l *link) serve(ctx context.Context) error {
	for {
		err := l.burst(ctx)
		l.endBurst()
		if err != nil {
			return err
		}
		l.makeRoom()
		l.w.waiting.Store(true)
		n, err := l.nc.Read(l.buf[l.end:])
		l.w.reads.Add(1)
		l.w.waiting.Store(false)
		l.end += n
		l.s.stats.bytesIn.Add(uint64(n))
		if n > 0 {
			continue // an error comes again
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if cause := l.w.failure(); cause != nil {
			return cause
		}
		if err != nil {
			return fmt.Errorf("read from the broker: %w", err)
		}
	}
}

// makeRoom moves what is left of the burst to the front, and fits the buffer to
// the load.
func (l *link) makeRoom() {
	if l.end == len(l.buf) && l.start > 0 && len(l.buf) < l.s.cfg.ReadBuffer {
		l.resize(min(2*len(l.buf), l.s.cfg.ReadBuffer)) // the last read filled it
	}
	if l.end-l.start > len(l.buf)/4 || l.end > len(l.buf)/4 {
		l.busy = l.now
	}
	left := copy(l.buf, l.buf[l.start:l.end])
	l.start, l.end = 0, left
	switch {
	case left == len(l.buf):
		// One packet needs more: grow as its bytes come, not as its header says.
		l.resize(min(2*len(l.buf), max(l.need, len(l.buf)+bufferStart)))
	case len(l.buf) > bufferStart && left == 0 && l.now.Sub(l.busy) > shrinkAfter:
		l.buf = make([]byte, bufferStart)
	}
}

func (l *link) resize(size int) {
	bigger := make([]byte, size)
	l.end = copy(bigger, l.buf[l.start:l.end])
	l.start = 0
	l.buf = bigger
}

// burst handles every complete packet in the buffer.
func (l *link) burst(ctx context.Context) error {
	maxPayload := l.s.cfg.MaxPayload
	l.now = time.Now()
	l.message.Received = l.s.cfg.Now()
	for {
		if l.large.active {
			done := l.large.drain(l)
			if !done {
				return nil
			}
			if err := l.deliverLarge(ctx); err != nil {
				return err
			}
		}
		b := l.buf[l.start:l.end]
		h, n, err := wire.ReadHeader(b)
		if err != nil {
			return err
		}
		if n == 0 {
			l.need = 2
			return nil
		}
		total := n + h.Remaining
		if h.Type() == wire.PUBLISH {
			if h.Remaining > maxPayload {
				large, err := l.beginLarge(h, n)
				if err != nil {
					return err
				}
				if large {
					continue
				}
			}
			if total > len(b) {
				l.need = max(l.need, total)
				return nil
			}
			l.need = 0
			if err := wire.ParsePublish(&l.packet, l.version, h.First, b[n:total]); err != nil {
				return err
			}
			if err := l.deliver(ctx, len(l.packet.Payload)); err != nil {
				return err
			}
			l.start += total
			continue
		}
		if total > maxControl {
			return wire.ErrPacketTooLarge
		}
		if total > len(b) {
			l.need = total
			return nil
		}
		l.need = 0
		if err := l.handle(ctx, h, b[n:total]); err != nil {
			return err
		}
		l.start += total
	}
}

// deliver hands l.packet to the session; size is its payload's full size.
func (l *link) deliver(ctx context.Context, size int) error {
	p := &l.packet
	if p.Alias != 0 {
		if err := l.aliases.resolve(p); err != nil {
			return err
		}
	}
	if !l.room {
		if err := l.begin(ctx); err != nil {
			return err
		}
	}
	m := &l.message
	m.Token = 0
	if p.QoS > 0 {
		t := wire.PUBACK
		if p.QoS == 2 {
			t = wire.PUBREC
		}
		token, ok := l.s.ring.push(t, p.PacketID)
		if !ok {
			var err error
			if token, err = l.waitForToken(ctx, t, p.PacketID); err != nil {
				return err
			}
		}
		m.Token = token
	}
	m.Topic = p.Topic
	m.Payload = p.Payload
	m.Size = size
	m.PacketID = p.PacketID
	m.QoS = p.QoS
	m.Dup = p.Dup
	m.Retained = p.Retain
	l.room = l.session.Add(m)
	l.count.messages[p.QoS]++
	if p.Dup {
		l.count.duplicates++
	}
	return nil
}

// release ends a QoS 2 packet id.
func (l *link) release(ctx context.Context, packetID uint16) error {
	if !l.room {
		if err := l.begin(ctx); err != nil {
			return err
		}
	}
	token, ok := l.s.ring.push(wire.PUBCOMP, packetID)
	if !ok {
		var err error
		if token, err = l.waitForToken(ctx, wire.PUBCOMP, packetID); err != nil {
			return err
		}
	}
	l.session.Release(packetID, token)
	return nil
}

// waitForToken reserves an acknowledgement where the ring is full: the socket is
// not read until there is room. The burst is another one afterwards.
func (l *link) waitForToken(ctx context.Context, t wire.PacketType, packetID uint16) (uint64, error) {
	for {
		l.endBurst()
		if err := l.waitForSpace(ctx); err != nil {
			return 0, err
		}
		if err := l.begin(ctx); err != nil {
			return 0, err
		}
		if token, ok := l.s.ring.push(t, packetID); ok {
			return token, nil
		}
	}
}

func (l *link) waitForSpace(ctx context.Context) error {
	l.s.stalled.Store(true)
	defer l.s.stalled.Store(false)
	select {
	case <-l.s.ring.space:
		return nil
	case <-l.w.done:
		return l.w.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin opens a burst, after it closed one that is full.
func (l *link) begin(ctx context.Context) error {
	l.endBurst()
	l.s.stalled.Store(true)
	err := l.session.Begin(ctx)
	l.s.stalled.Store(false)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &sinkStopped{err}
	}
	l.open, l.room = true, true
	return nil
}

// sinkStopped ends the source: nothing takes its messages any more.
type sinkStopped struct{ err error }

func (e *sinkStopped) Error() string { return "the pipeline has stopped: " + e.err.Error() }
func (e *sinkStopped) Unwrap() error { return e.err }

// endBurst lets the commit loop see what came, and confirms what is known to
// have arrived.
func (l *link) endBurst() {
	if l.open {
		l.session.End()
	}
	l.open, l.room = false, false
	if l.confirm > 0 {
		l.session.Confirm(l.confirm)
		l.confirm = 0
	}
	stats, c := &l.s.stats, &l.count
	for q := range c.messages {
		if c.messages[q] > 0 {
			stats.messages[q].Add(c.messages[q])
		}
	}
	if c.duplicates > 0 {
		stats.duplicates.Add(c.duplicates)
	}
	if c.oversized > 0 {
		stats.oversized.Add(c.oversized)
	}
	l.count = burstCounts{}
	stats.received.Store(l.s.ring.next)
}

// handle takes a packet that is not a PUBLISH.
func (l *link) handle(ctx context.Context, h wire.Header, body []byte) error {
	switch t := h.Type(); t {
	case wire.PUBREL:
		var a wire.Ack
		if err := wire.ParseAck(&a, l.version, h.First, body); err != nil {
			return err
		}
		return l.release(ctx, a.PacketID)
	case wire.PINGRESP:
		if err := wire.ParsePing(h.First, body); err != nil {
			return err
		}
		if p, ok := l.w.pingAnswered(); ok && p.confirm {
			l.confirm = max(l.confirm, p.upTo)
		}
	case wire.SUBACK:
		var a wire.Suback
		if err := wire.ParseSuback(&a, l.version, h.First, body); err != nil {
			return err
		}
		return l.s.subscribed(l, &a)
	case wire.UNSUBACK:
		var a wire.Suback
		if err := wire.ParseUnsuback(&a, l.version, h.First, body); err != nil {
			return err
		}
		return l.s.unsubscribed(l, &a)
	case wire.DISCONNECT:
		var d wire.Disconnect
		if err := wire.ParseDisconnect(&d, l.version, h.First, body); err != nil {
			return err
		}
		return &disconnected{d.Reason, explanation(&d.Properties)}
	case wire.PUBACK, wire.PUBREC, wire.PUBCOMP:
		// Nothing was published, so nothing is answered; harmless.
		var a wire.Ack
		return wire.ParseAck(&a, l.version, h.First, body)
	default:
		return &wire.Error{Reason: wire.ProtocolError, Clause: "2.1.2", Text: t.String() + " does not come from a server here"}
	}
	return nil
}
