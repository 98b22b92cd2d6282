package mqtt

import (
	"context"
	"encoding/binary"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// maxProperties bounds the properties of a PUBLISH that are held. Larger ones
// are drained together with the payload.
const maxProperties = 64 << 10

// oversized is a PUBLISH whose payload is over the limit. Its beginning is kept
// here while the rest is drained from the socket, and it is delivered when its
// last byte came: what breaks off in between is as if it never came.
type oversized struct {
	active  bool
	id      uint16
	qos     uint8
	dup     bool
	retain  bool
	size    int // of the payload
	skip    int // bytes still to be drained
	topic   []byte
	payload []byte
}

// beginLarge looks whether the packet at l.start is over the limit; large is
// true once that is certain and its beginning was taken over. While too few
// bytes are there to tell, it leaves in l.need how many it wants.
func (l *link) beginLarge(h wire.Header, headerSize int) (large bool, err error) {
	b := l.buf[l.start+headerSize : l.end]
	b = b[:min(len(b), h.Remaining)]
	layout, ok, err := layoutOf(l.version, h, b)
	if err != nil {
		return false, err
	}
	if !ok {
		l.need = headerSize + min(layout.known, h.Remaining)
		return false, nil
	}
	size := h.Remaining - layout.payload
	if size < 0 {
		return false, wire.ErrTruncated
	}
	if size <= l.s.cfg.MaxPayload && layout.properties <= maxProperties {
		return false, nil
	}
	if layout.properties > maxProperties {
		return true, l.beginWithoutProperties(h, headerSize, layout, b, size)
	}
	keep := min(size, l.s.cfg.KeepOversized)
	if l.need = headerSize + layout.payload + keep; len(b) < layout.payload+keep {
		return false, nil
	}
	p := &l.packet
	if err := wire.ParsePublish(p, l.version, h.First, b[:layout.payload+keep]); err != nil {
		return false, err
	}
	if p.Alias != 0 {
		if err := l.aliases.resolve(p); err != nil {
			return false, err
		}
	}
	l.large.take(p, size, headerSize+h.Remaining)
	return true, nil
}

// beginWithoutProperties is for properties that are themselves too large to be
// held. The topic cannot come from an alias then.
func (l *link) beginWithoutProperties(h wire.Header, headerSize int, layout layout, b []byte, size int) error {
	topic := b[2 : 2+layout.topic]
	if len(topic) == 0 {
		return wire.ErrPacketTooLarge
	}
	p := &l.packet
	p.Properties.Reset()
	p.Topic, p.Payload, p.Alias = topic, nil, 0
	p.QoS, p.Dup, p.Retain = h.First>>1&3, h.First&8 != 0, h.First&1 != 0
	p.PacketID = 0
	switch {
	case p.QoS == 3:
		return wire.ErrQoS
	case p.QoS > 0:
		p.PacketID = binary.BigEndian.Uint16(b[2+layout.topic:])
		if p.PacketID == 0 {
			return wire.ErrPacketIDZero
		}
	}
	// One byte more than the limit, so that the sink sees that it is too large
	// even where the payload itself is not.
	l.large.take(p, max(size, l.s.cfg.MaxPayload+1), headerSize+h.Remaining)
	return nil
}

func (o *oversized) take(p *wire.Publish, size, skip int) {
	o.active = true
	o.size, o.skip = size, skip
	o.topic = append(o.topic[:0], p.Topic...)
	o.payload = append(o.payload[:0], p.Payload...)
	o.id, o.qos, o.dup, o.retain = p.PacketID, p.QoS, p.Dup, p.Retain
}

// drain drops what is in the buffer, and reports whether the packet is over.
func (o *oversized) drain(l *link) bool {
	n := min(o.skip, l.end-l.start)
	l.start += n
	o.skip -= n
	l.need = 0
	return o.skip == 0
}

func (l *link) deliverLarge(ctx context.Context) error {
	o := &l.large
	o.active = false
	p := &l.packet
	p.Topic, p.Payload, p.Alias = o.topic, o.payload, 0
	p.PacketID, p.QoS, p.Dup, p.Retain = o.id, o.qos, o.dup, o.retain
	l.count.oversized++
	err := l.deliver(ctx, o.size)
	if cap(o.payload) > 64<<10 {
		o.payload = nil
	}
	return err
}

// layout is where the parts of a PUBLISH body stand.
type layout struct {
	topic      int // bytes of the topic
	properties int // bytes of the properties, without their length
	payload    int // offset of the payload
	known      int // where ok is false: bytes of the body that are needed to go on
}

// layoutOf reads a PUBLISH body as far as the property length. ok is false
// while b does not reach that far.
func layoutOf(v wire.Version, h wire.Header, b []byte) (at layout, ok bool, err error) {
	if at.known = 2; len(b) < at.known {
		return at, false, shortBody(h, at.known)
	}
	at.topic = int(binary.BigEndian.Uint16(b))
	at.payload = 2 + at.topic
	if h.First>>1&3 > 0 {
		at.payload += 2
	}
	if at.known = at.payload; len(b) < at.known {
		return at, false, shortBody(h, at.known)
	}
	if v < wire.V5 {
		return at, true, nil
	}
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return at, false, wire.ErrPropertyLength
		}
		if at.known = at.payload + 1; len(b) < at.known {
			return at, false, shortBody(h, at.known)
		}
		c := b[at.payload]
		at.properties |= int(c&0x7f) << shift
		at.payload++
		if c < 0x80 {
			at.payload += at.properties
			return at, true, nil
		}
	}
}

// shortBody is an error if the packet, once complete, would still be too short.
func shortBody(h wire.Header, need int) error {
	if h.Remaining < need {
		return wire.ErrTruncated
	}
	return nil
}
