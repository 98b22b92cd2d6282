package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// PropertyID identifies an MQTT 5 property (section 2.2.2.2).
type PropertyID byte

// The properties.
const (
	PayloadFormat          PropertyID = 0x01
	MessageExpiry          PropertyID = 0x02
	ContentType            PropertyID = 0x03
	ResponseTopic          PropertyID = 0x08
	CorrelationData        PropertyID = 0x09
	SubscriptionIdentifier PropertyID = 0x0B
	SessionExpiry          PropertyID = 0x11
	AssignedClientID       PropertyID = 0x12
	ServerKeepAlive        PropertyID = 0x13
	AuthMethod             PropertyID = 0x15
	AuthData               PropertyID = 0x16
	RequestProblemInfo     PropertyID = 0x17
	WillDelay              PropertyID = 0x18
	RequestResponseInfo    PropertyID = 0x19
	ResponseInformation    PropertyID = 0x1A
	ServerReference        PropertyID = 0x1C
	ReasonString           PropertyID = 0x1F
	ReceiveMaximum         PropertyID = 0x21
	TopicAliasMaximum      PropertyID = 0x22
	TopicAlias             PropertyID = 0x23
	MaximumQoS             PropertyID = 0x24
	RetainAvailable        PropertyID = 0x25
	UserProperty           PropertyID = 0x26
	MaximumPacketSize      PropertyID = 0x27
	WildcardAvailable      PropertyID = 0x28
	SubscriptionIDAvail    PropertyID = 0x29
	SharedAvailable        PropertyID = 0x2A

	propertyLimit = 0x2B
)

type propertyKind byte

const (
	kindNone propertyKind = iota
	kindFlag              // a byte that is 0 or 1
	kindUint16
	kindUint32
	kindVarint
	kindText
	kindBinary
	kindPair
)

// in gives the bit of each packet that a property may stand in.
func in(types ...PacketType) (m uint32) {
	for _, t := range types {
		m |= 1 << t
	}
	return m
}

// will stands for the will properties inside CONNECT; packet type 0 is reserved.
const will PacketType = 0

type propertyRule struct {
	kind propertyKind
	in   uint32
	zero bool // may it be zero
	text int  // index into Properties.text
}

const textSlots = 9

// rules is the table of section 2.2.2.2.
var rules = [propertyLimit]propertyRule{
	PayloadFormat:          {kindFlag, in(PUBLISH, will), true, 0},
	MessageExpiry:          {kindUint32, in(PUBLISH, will), true, 0},
	ContentType:            {kindText, in(PUBLISH, will), true, 0},
	ResponseTopic:          {kindText, in(PUBLISH, will), true, 1},
	CorrelationData:        {kindBinary, in(PUBLISH, will), true, 2},
	SubscriptionIdentifier: {kindVarint, in(PUBLISH, SUBSCRIBE), false, 0},
	SessionExpiry:          {kindUint32, in(CONNECT, CONNACK, DISCONNECT), true, 0},
	AssignedClientID:       {kindText, in(CONNACK), true, 3},
	ServerKeepAlive:        {kindUint16, in(CONNACK), true, 0},
	AuthMethod:             {kindText, in(CONNECT, CONNACK, AUTH), true, 4},
	AuthData:               {kindBinary, in(CONNECT, CONNACK, AUTH), true, 5},
	RequestProblemInfo:     {kindFlag, in(CONNECT), true, 0},
	WillDelay:              {kindUint32, in(will), true, 0},
	RequestResponseInfo:    {kindFlag, in(CONNECT), true, 0},
	ResponseInformation:    {kindText, in(CONNACK), true, 6},
	ServerReference:        {kindText, in(CONNACK, DISCONNECT), true, 7},
	ReasonString:           {kindText, in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH), true, 8},
	ReceiveMaximum:         {kindUint16, in(CONNECT, CONNACK), false, 0},
	TopicAliasMaximum:      {kindUint16, in(CONNECT, CONNACK), true, 0},
	TopicAlias:             {kindUint16, in(PUBLISH), true, 0}, // zero has an error of its own
	MaximumQoS:             {kindFlag, in(CONNACK), true, 0},
	RetainAvailable:        {kindFlag, in(CONNACK), true, 0},
	UserProperty: {kindPair, in(CONNECT, CONNACK, PUBLISH, will, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK,
		UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH), true, 0},
	MaximumPacketSize:   {kindUint32, in(CONNECT, CONNACK), false, 0},
	WildcardAvailable:   {kindFlag, in(CONNACK), true, 0},
	SubscriptionIDAvail: {kindFlag, in(CONNACK), true, 0},
	SharedAvailable:     {kindFlag, in(CONNACK), true, 0},
}

// User is one user property. It may point into the packet.
type User struct{ Key, Value []byte }

// Properties are the properties of one packet. The zero value has none. Parsed
// text points into the packet, and the memory is used again by the next parse.
type Properties struct {
	set  uint64 // bit per PropertyID that is present once
	num  [propertyLimit]uint32
	text [textSlots][]byte
	// Users and SubscriptionIDs are the two that may stand several times, in
	// the order of the packet.
	Users           []User
	SubscriptionIDs []uint32
}

// Reset removes all properties and keeps the memory.
func (p *Properties) Reset() {
	p.set = 0
	p.Users = p.Users[:0]
	p.SubscriptionIDs = p.SubscriptionIDs[:0]
}

// Has reports whether a property that may stand once is present.
func (p *Properties) Has(id PropertyID) bool { return p.set>>id&1 != 0 }

// Uint returns a numeric property.
func (p *Properties) Uint(id PropertyID) (uint32, bool) {
	if !p.Has(id) {
		return 0, false
	}
	return p.num[id], true
}

// UintOr returns a numeric property, or what holds where it is absent.
func (p *Properties) UintOr(id PropertyID, absent uint32) uint32 {
	if v, ok := p.Uint(id); ok {
		return v
	}
	return absent
}

// Text returns a string or binary property, nil where it is absent.
func (p *Properties) Text(id PropertyID) []byte {
	if !p.Has(id) {
		return nil
	}
	return p.text[rules[id].text]
}

// SetUint sets a numeric property that may stand once.
func (p *Properties) SetUint(id PropertyID, v uint32) {
	p.num[id] = v
	p.set |= 1 << id
}

// SetText sets a string or binary property.
func (p *Properties) SetText(id PropertyID, v []byte) {
	p.text[rules[id].text] = v
	p.set |= 1 << id
}

// Remove removes a property that may stand once.
func (p *Properties) Remove(id PropertyID) { p.set &^= 1 << id }

// Empty reports whether there are none.
func (p *Properties) Empty() bool {
	return p.set == 0 && len(p.Users) == 0 && len(p.SubscriptionIDs) == 0
}

// Equal reports whether both hold the same properties.
func (p *Properties) Equal(q *Properties) bool {
	if p.set != q.set || !slices.Equal(p.SubscriptionIDs, q.SubscriptionIDs) ||
		!slices.EqualFunc(p.Users, q.Users, func(a, b User) bool {
			return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
		}) {
		return false
	}
	for id := PropertyID(1); id < propertyLimit; id++ {
		if !p.Has(id) {
			continue
		}
		switch rules[id].kind {
		case kindText, kindBinary:
			if !bytes.Equal(p.Text(id), q.Text(id)) {
				return false
			}
		default:
			if p.num[id] != q.num[id] {
				return false
			}
		}
	}
	return true
}

// parse reads the property length and the properties off the cursor.
func (p *Properties) parse(c *cursor, packet PacketType) {
	p.Reset()
	n := c.varint()
	if n == 0 || c.err != nil {
		return
	}
	if n > len(c.b) {
		c.fail(ErrTruncated)
		return
	}
	f := cursor{b: c.b[:n]}
	c.b = c.b[n:]
	for len(f.b) > 0 {
		p.parseOne(&f, packet)
	}
	if f.err != nil {
		c.fail(f.err)
	}
}

func (p *Properties) parseOne(f *cursor, packet PacketType) {
	// The identifier is a variable byte integer whose defined values all take
	// one byte (section 2.2.2.2).
	id := PropertyID(f.byte())
	if id >= propertyLimit || rules[id].in>>packet&1 == 0 {
		f.fail(ErrPropertyUnknown)
		return
	}
	rule := &rules[id]
	var v uint32
	switch rule.kind {
	case kindFlag:
		if v = uint32(f.byte()); v > 1 {
			f.fail(ErrPropertyValue)
		}
	case kindUint16:
		v = uint32(f.uint16())
	case kindUint32:
		v = f.uint32()
	case kindVarint:
		v = uint32(f.varint())
		if v == 0 && f.err == nil {
			f.fail(ErrPropertyValue)
		}
		if packet == SUBSCRIBE && len(p.SubscriptionIDs) > 0 {
			f.fail(ErrPropertyTwice)
		}
		if f.err == nil {
			p.SubscriptionIDs = append(p.SubscriptionIDs, v)
		}
		return
	case kindText:
		p.text[rule.text] = f.text()
	case kindBinary:
		p.text[rule.text] = f.binary()
	case kindPair:
		u := User{Key: f.text(), Value: f.text()}
		if f.err == nil {
			p.Users = append(p.Users, u)
		}
		return
	}
	if f.err != nil {
		return
	}
	if p.Has(id) {
		f.fail(ErrPropertyTwice)
		return
	}
	if v == 0 && !rule.zero {
		f.fail(ErrPropertyValue)
		return
	}
	p.num[id] = v
	p.set |= 1 << id
}

// size returns the bytes of the properties without their length.
func (p *Properties) size(packet PacketType) (n int) {
	for id := PropertyID(1); id < propertyLimit; id++ {
		if !p.Has(id) || rules[id].in>>packet&1 == 0 {
			continue
		}
		switch rules[id].kind {
		case kindFlag:
			n += 2
		case kindUint16:
			n += 3
		case kindUint32:
			n += 5
		case kindText, kindBinary:
			n += 3 + len(p.text[rules[id].text])
		}
	}
	if rules[SubscriptionIdentifier].in>>packet&1 != 0 {
		for _, v := range p.SubscriptionIDs {
			n += 1 + sizeVarint(int(v))
		}
	}
	for _, u := range p.Users {
		n += 5 + len(u.Key) + len(u.Value)
	}
	return n
}

// append writes the property length and those properties that may stand in the
// packet, in ascending order of their identifiers.
func (p *Properties) append(dst []byte, packet PacketType) []byte {
	if p == nil || p.Empty() {
		return append(dst, 0)
	}
	dst = appendVarint(dst, p.size(packet))
	for id := PropertyID(1); id < propertyLimit; id++ {
		if rules[id].in>>packet&1 == 0 {
			continue
		}
		switch id {
		case SubscriptionIdentifier:
			for _, v := range p.SubscriptionIDs {
				dst = appendVarint(append(dst, byte(id)), int(v))
			}
			continue
		case UserProperty:
			for _, u := range p.Users {
				dst = appendText(appendText(append(dst, byte(id)), u.Key), u.Value)
			}
			continue
		}
		if !p.Has(id) {
			continue
		}
		dst = append(dst, byte(id))
		switch rules[id].kind {
		case kindFlag:
			dst = append(dst, byte(p.num[id]))
		case kindUint16:
			dst = appendUint16(dst, uint16(p.num[id]))
		case kindUint32:
			dst = binary.BigEndian.AppendUint32(dst, p.num[id])
		case kindText, kindBinary:
			dst = appendText(dst, p.text[rules[id].text])
		}
	}
	return dst
}
