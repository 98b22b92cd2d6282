package wire

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Type       PacketType
	PacketID   uint16
	Reason     ReasonCode // MQTT 5
	Properties Properties // MQTT 5
}

// ackFirst is the first byte of an acknowledgement: PUBREL has the flags 0010
// [MQTT-3.6.1-1].
func ackFirst(t PacketType) byte {
	if t == PUBREL {
		return byte(PUBREL)<<4 | 2
	}
	return byte(t) << 4
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP that says success. It is
// the same four bytes in both versions (sections 3.4.2.1 and following).
func AppendAck(dst []byte, t PacketType, packetID uint16) []byte {
	return append(dst, ackFirst(t), 2, byte(packetID>>8), byte(packetID))
}

// AppendAckReason appends an acknowledgement with a reason code and properties,
// which exist in MQTT 5 only.
func AppendAckReason(dst []byte, a *Ack) []byte {
	if a.Properties.Empty() {
		if a.Reason == Success {
			return AppendAck(dst, a.Type, a.PacketID)
		}
		return append(dst, ackFirst(a.Type), 3, byte(a.PacketID>>8), byte(a.PacketID), byte(a.Reason))
	}
	mark := len(dst)
	dst = append(appendUint16(dst, a.PacketID), byte(a.Reason))
	dst = a.Properties.append(dst, a.Type)
	return finish(dst, mark, ackFirst(a.Type))
}

// ParseAck parses a PUBACK, PUBREC, PUBREL or PUBCOMP.
func ParseAck(a *Ack, v Version, first byte, body []byte) error {
	a.Type = PacketType(first >> 4)
	if first != ackFirst(a.Type) {
		return ErrFlags
	}
	a.Reason = Success
	a.Properties.Reset()
	if len(body) == 2 { // the usual case
		a.PacketID = uint16(body[0])<<8 | uint16(body[1])
		if a.PacketID == 0 {
			return ErrPacketIDZero
		}
		return nil
	}
	f := cursor{b: body}
	a.PacketID = f.packetID()
	if v >= V5 && len(f.b) > 0 {
		a.Reason = ReasonCode(f.byte())
		if len(f.b) > 0 {
			a.Properties.parse(&f, a.Type)
		}
	}
	return f.end()
}

// Disconnect is a DISCONNECT or an AUTH packet.
type Disconnect struct {
	Reason     ReasonCode // MQTT 5
	Properties Properties // MQTT 5
}

// AppendDisconnect appends a DISCONNECT; 3.1.1 has no place for the reason.
func AppendDisconnect(dst []byte, v Version, d *Disconnect) []byte {
	return appendReasoned(dst, v, DISCONNECT, d)
}

func appendReasoned(dst []byte, v Version, t PacketType, d *Disconnect) []byte {
	first := byte(t) << 4
	switch {
	case v < V5 || d.Reason == Success && d.Properties.Empty():
		return append(dst, first, 0)
	case d.Properties.Empty():
		return append(dst, first, 1, byte(d.Reason))
	}
	mark := len(dst)
	dst = d.Properties.append(append(dst, byte(d.Reason)), t)
	return finish(dst, mark, first)
}

// ParseDisconnect parses a DISCONNECT, or an AUTH in MQTT 5.
func ParseDisconnect(d *Disconnect, v Version, first byte, body []byte) error {
	t := PacketType(first >> 4)
	if first&15 != 0 {
		return ErrFlags
	}
	if t == AUTH && v < V5 {
		return ErrPacketType
	}
	d.Reason = Success
	d.Properties.Reset()
	f := cursor{b: body}
	if v >= V5 && len(body) > 0 {
		d.Reason = ReasonCode(f.byte())
		if len(f.b) > 0 {
			d.Properties.parse(&f, t)
		}
	}
	return f.end()
}

// AppendPingreq appends a PINGREQ.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

// ParsePing checks a PINGREQ or PINGRESP, which have nothing but a header.
func ParsePing(first byte, body []byte) error {
	if first&15 != 0 {
		return ErrFlags
	}
	if len(body) > 0 {
		return ErrTrailingBytes
	}
	return nil
}
