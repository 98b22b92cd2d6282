package wire

import "encoding/binary"

// Publish is a PUBLISH packet. After ParsePublish its slices point into the
// packet.
type Publish struct {
	Topic      []byte
	Payload    []byte
	PacketID   uint16 // 0 at QoS 0
	QoS        uint8
	Dup        bool
	Retain     bool
	Alias      uint16     // MQTT 5 topic alias, 0 where there is none
	Properties Properties // MQTT 5; includes TopicAlias as well
}

// The flags of a PUBLISH's first byte.
const (
	flagRetain = 0x01
	flagDup    = 0x08
)

// ParsePublish parses a PUBLISH in place. body may end before the packet does
// (the payload is then the part of it that is there), so that an oversized one
// is parsed from its beginning.
//
// The characters of the topic are not judged here: a bridge may forward a topic
// that the standard forbids, and closing the connection over it would bring the
// same message again for ever. Whoever wants them judged asks ValidTopicName.
func ParsePublish(p *Publish, v Version, first byte, body []byte) error {
	p.QoS = first >> 1 & 3
	p.Dup = first&flagDup != 0
	p.Retain = first&flagRetain != 0
	p.PacketID = 0
	p.Alias = 0
	if p.QoS == 3 {
		return ErrQoS
	}
	if len(body) < 2 {
		return ErrTruncated
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if n > len(body) {
		return ErrTruncated
	}
	p.Topic = body[2:n:n]
	if p.QoS > 0 {
		if n+2 > len(body) {
			return ErrTruncated
		}
		p.PacketID = binary.BigEndian.Uint16(body[n:])
		if p.PacketID == 0 {
			return ErrPacketIDZero
		}
		n += 2
	} else if p.Dup {
		return ErrDupQoS0
	}
	if v < V5 {
		p.Payload = body[n:]
		return nil
	}
	if n < len(body) && body[n] == 0 { // no properties: the usual case
		p.Properties.Reset()
		p.Payload = body[n+1:]
	} else {
		c := cursor{b: body[n:]}
		p.Properties.parse(&c, PUBLISH)
		if c.err != nil {
			return c.err
		}
		p.Payload = c.b
		if a, ok := p.Properties.Uint(TopicAlias); ok {
			if a == 0 {
				return ErrTopicAliasZero
			}
			p.Alias = uint16(a)
		}
	}
	if len(p.Topic) == 0 && p.Alias == 0 {
		return ErrTopicAliasUnknown
	}
	return nil
}

// AppendPublish appends a PUBLISH. Alias decides about the topic alias property,
// which is set or removed accordingly.
func AppendPublish(dst []byte, v Version, p *Publish) []byte {
	first := byte(PUBLISH)<<4 | p.QoS<<1
	if p.Dup {
		first |= flagDup
	}
	if p.Retain {
		first |= flagRetain
	}
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v >= V5 {
		p.Properties.Remove(TopicAlias)
		if p.Alias != 0 {
			p.Properties.SetUint(TopicAlias, uint32(p.Alias))
		}
		props := p.Properties.size(PUBLISH)
		n += sizeVarint(props) + props
	}
	dst = AppendHeader(dst, first, n)
	dst = appendText(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v >= V5 {
		dst = p.Properties.append(dst, PUBLISH)
	}
	return append(dst, p.Payload...)
}
