package wire

// Subscription is one topic filter of a SUBSCRIBE.
type Subscription struct {
	Filter            string
	QoS               uint8
	NoLocal           bool  // MQTT 5
	RetainAsPublished bool  // MQTT 5
	RetainHandling    uint8 // MQTT 5: 0 send retained, 1 only if the subscription is new, 2 never
}

// Subscribe is a SUBSCRIBE packet.
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription
	Properties    Properties
}

// AppendSubscribe appends a SUBSCRIBE; the options that 3.1.1 does not have are
// left out there.
func AppendSubscribe(dst []byte, v Version, s *Subscribe) []byte {
	mark := len(dst)
	dst = appendUint16(dst, s.PacketID)
	if v >= V5 {
		dst = s.Properties.append(dst, SUBSCRIBE)
	}
	for i := range s.Subscriptions {
		f := &s.Subscriptions[i]
		dst = appendText(dst, f.Filter)
		options := f.QoS
		if v >= V5 {
			if f.NoLocal {
				options |= 0x04
			}
			if f.RetainAsPublished {
				options |= 0x08
			}
			options |= f.RetainHandling << 4
		}
		dst = append(dst, options)
	}
	return finish(dst, mark, byte(SUBSCRIBE)<<4|2)
}

// ParseSubscribe parses a SUBSCRIBE. Filters are checked as text only; a server
// answers a wrong one in its SUBACK (see ValidTopicFilter).
func ParseSubscribe(s *Subscribe, v Version, first byte, body []byte) error {
	if first != byte(SUBSCRIBE)<<4|2 { // [MQTT-3.8.1-1]
		return ErrFlags
	}
	f := cursor{b: body}
	s.PacketID = f.packetID()
	s.Properties.Reset()
	if v >= V5 {
		s.Properties.parse(&f, SUBSCRIBE)
	}
	s.Subscriptions = s.Subscriptions[:0]
	for len(f.b) > 0 {
		filter := string(f.text())
		o := f.byte()
		if f.err != nil {
			return f.err
		}
		if o&3 == 3 || o>>4 == 3 || o&0xc0 != 0 || v < V5 && o > 2 {
			return ErrSubscribeOptions
		}
		s.Subscriptions = append(s.Subscriptions, Subscription{
			Filter: filter, QoS: o & 3, NoLocal: o&4 != 0, RetainAsPublished: o&8 != 0, RetainHandling: o >> 4 & 3,
		})
	}
	if err := f.end(); err != nil {
		return err
	}
	if len(s.Subscriptions) == 0 {
		return ErrSubscribeEmpty
	}
	return nil
}

// Suback is a SUBACK or UNSUBACK packet, with one reason code per filter. In
// 3.1.1 a SUBACK knows 0, 1, 2 and 0x80, and an UNSUBACK has no codes.
type Suback struct {
	PacketID   uint16
	Reasons    []ReasonCode
	Properties Properties
}

// AppendSuback appends a SUBACK.
func AppendSuback(dst []byte, v Version, s *Suback) []byte {
	mark := len(dst)
	dst = appendUint16(dst, s.PacketID)
	if v >= V5 {
		dst = s.Properties.append(dst, SUBACK)
	}
	for _, r := range s.Reasons {
		if v < V5 && r.Failed() {
			r = UnspecifiedError
		}
		dst = append(dst, byte(r))
	}
	return finish(dst, mark, byte(SUBACK)<<4)
}

// ParseSuback parses a SUBACK.
func ParseSuback(s *Suback, v Version, first byte, body []byte) error {
	if first != byte(SUBACK)<<4 {
		return ErrFlags
	}
	if err := s.parse(v, SUBACK, body); err != nil {
		return err
	}
	if len(s.Reasons) == 0 {
		return ErrSubackEmpty
	}
	return nil
}

func (s *Suback) parse(v Version, t PacketType, body []byte) error {
	f := cursor{b: body}
	s.PacketID = f.packetID()
	s.Properties.Reset()
	if v >= V5 {
		s.Properties.parse(&f, t)
	}
	s.Reasons = s.Reasons[:0]
	for _, r := range f.b {
		s.Reasons = append(s.Reasons, ReasonCode(r))
	}
	return f.err
}

// Unsubscribe is an UNSUBSCRIBE packet.
type Unsubscribe struct {
	PacketID   uint16
	Filters    []string
	Properties Properties
}

// AppendUnsubscribe appends an UNSUBSCRIBE.
func AppendUnsubscribe(dst []byte, v Version, u *Unsubscribe) []byte {
	mark := len(dst)
	dst = appendUint16(dst, u.PacketID)
	if v >= V5 {
		dst = u.Properties.append(dst, UNSUBSCRIBE)
	}
	for _, f := range u.Filters {
		dst = appendText(dst, f)
	}
	return finish(dst, mark, byte(UNSUBSCRIBE)<<4|2)
}

// ParseUnsubscribe parses an UNSUBSCRIBE.
func ParseUnsubscribe(u *Unsubscribe, v Version, first byte, body []byte) error {
	if first != byte(UNSUBSCRIBE)<<4|2 { // [MQTT-3.10.1-1]
		return ErrFlags
	}
	f := cursor{b: body}
	u.PacketID = f.packetID()
	u.Properties.Reset()
	if v >= V5 {
		u.Properties.parse(&f, UNSUBSCRIBE)
	}
	u.Filters = u.Filters[:0]
	for len(f.b) > 0 {
		filter := f.text()
		if f.err == nil {
			u.Filters = append(u.Filters, string(filter))
		}
	}
	if err := f.end(); err != nil {
		return err
	}
	if len(u.Filters) == 0 {
		return ErrSubscribeEmpty
	}
	return nil
}

// AppendUnsuback appends an UNSUBACK.
func AppendUnsuback(dst []byte, v Version, s *Suback) []byte {
	mark := len(dst)
	dst = appendUint16(dst, s.PacketID)
	if v >= V5 {
		dst = s.Properties.append(dst, UNSUBACK)
		for _, r := range s.Reasons {
			dst = append(dst, byte(r))
		}
	}
	return finish(dst, mark, byte(UNSUBACK)<<4)
}

// ParseUnsuback parses an UNSUBACK.
func ParseUnsuback(s *Suback, v Version, first byte, body []byte) error {
	if first != byte(UNSUBACK)<<4 {
		return ErrFlags
	}
	if err := s.parse(v, UNSUBACK, body); err != nil {
		return err
	}
	if v < V5 && len(s.Reasons) > 0 {
		return ErrTrailingBytes
	}
	return nil
}
