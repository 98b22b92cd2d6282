package wire

import "math"

// Connect is a CONNECT packet.
type Connect struct {
	Version    Version
	Clean      bool // clean session (3.1.1) or clean start (5)
	KeepAlive  uint16
	ClientID   string
	Username   string
	Password   []byte
	HasUser    bool
	HasPass    bool
	Will       *Will // nil: none
	Properties Properties
}

// Will is the message that the server publishes for a client that is gone.
type Will struct {
	Topic      []byte
	Payload    []byte
	QoS        uint8
	Retain     bool
	Properties Properties
}

// The connect flags (section 3.1.2.3).
const (
	connectReserved = 0x01
	connectClean    = 0x02
	connectWill     = 0x04
	connectRetain   = 0x20
	connectPassword = 0x40
	connectUser     = 0x80
)

// AppendConnect appends a CONNECT of c.Version.
func AppendConnect(dst []byte, c *Connect) []byte {
	mark := len(dst)
	if c.Version == V31 {
		dst = appendText(dst, "MQIsdp")
	} else {
		dst = appendText(dst, "MQTT")
	}
	var flags byte
	if c.Clean {
		flags |= connectClean
	}
	if c.Will != nil {
		flags |= connectWill | c.Will.QoS<<3
		if c.Will.Retain {
			flags |= connectRetain
		}
	}
	if c.HasPass {
		flags |= connectPassword
	}
	if c.HasUser {
		flags |= connectUser
	}
	dst = append(dst, byte(c.Version), flags)
	dst = appendUint16(dst, c.KeepAlive)
	if c.Version >= V5 {
		dst = c.Properties.append(dst, CONNECT)
	}
	dst = appendText(dst, c.ClientID)
	if c.Will != nil {
		if c.Version >= V5 {
			dst = c.Will.Properties.append(dst, will)
		}
		dst = appendText(dst, c.Will.Topic)
		dst = appendText(dst, c.Will.Payload)
	}
	if c.HasUser {
		dst = appendText(dst, c.Username)
	}
	if c.HasPass {
		dst = appendText(dst, c.Password)
	}
	return finish(dst, mark, byte(CONNECT)<<4)
}

// ParseConnect parses a CONNECT; c.Version says in which version the client
// wants to speak, also when ErrProtocolVersion is returned.
func ParseConnect(c *Connect, first byte, body []byte) error {
	if first != byte(CONNECT)<<4 {
		return ErrFlags
	}
	f := cursor{b: body}
	name := string(f.text())
	c.Version = Version(f.byte())
	flags := f.byte()
	c.KeepAlive = f.uint16()
	if f.err != nil {
		return f.err
	}
	switch {
	case name == "MQTT" && (c.Version == V311 || c.Version == V5):
	case name == "MQIsdp" && c.Version == V31:
	case name == "MQTT" || name == "MQIsdp":
		return ErrProtocolVersion
	default:
		return ErrProtocolName
	}
	c.Clean = flags&connectClean != 0
	c.HasUser = flags&connectUser != 0
	c.HasPass = flags&connectPassword != 0
	willQoS := flags >> 3 & 3
	// [MQTT-3.1.2-3], [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.1.2-13]; a
	// password without a user name is allowed since 5 (section 3.1.2.9).
	if flags&connectReserved != 0 || willQoS == 3 ||
		flags&connectWill == 0 && (willQoS != 0 || flags&connectRetain != 0) ||
		c.Version < V5 && c.HasPass && !c.HasUser {
		return ErrConnectFlags
	}
	c.Properties.Reset()
	if c.Version >= V5 {
		c.Properties.parse(&f, CONNECT)
	}
	c.ClientID = string(f.text())
	c.Will = nil
	if flags&connectWill != 0 {
		w := &Will{QoS: willQoS, Retain: flags&connectRetain != 0}
		if c.Version >= V5 {
			w.Properties.parse(&f, will)
		}
		w.Topic = f.text()
		w.Payload = f.binary()
		c.Will = w
	}
	c.Username, c.Password = "", nil
	if c.HasUser {
		c.Username = string(f.text())
	}
	if c.HasPass {
		c.Password = f.binary()
	}
	return f.end()
}

// Connack is a CONNACK packet. In 3.1.1 Reason is translated from and to the
// return code.
type Connack struct {
	SessionPresent bool
	Reason         ReasonCode
	Properties     Properties
}

// AppendConnack appends a CONNACK.
func AppendConnack(dst []byte, v Version, c *Connack) []byte {
	mark := len(dst)
	var flags byte
	if c.SessionPresent {
		flags = 1
	}
	if v < V5 {
		return append(dst, byte(CONNACK)<<4, 2, flags, ReturnCodeOfReason(c.Reason))
	}
	dst = append(dst, flags, byte(c.Reason))
	dst = c.Properties.append(dst, CONNACK)
	return finish(dst, mark, byte(CONNACK)<<4)
}

// ParseConnack parses a CONNACK. A server that does not speak MQTT 5 answers in
// the form of 3.1.1: a body of two bytes is read so in either version.
func ParseConnack(c *Connack, v Version, first byte, body []byte) error {
	if first != byte(CONNACK)<<4 {
		return ErrFlags
	}
	f := cursor{b: body}
	flags := f.byte()
	code := f.byte()
	c.Properties.Reset()
	if v < V5 || len(body) == 2 {
		c.Reason = ReasonOfReturnCode(code)
	} else {
		c.Reason = ReasonCode(code)
		c.Properties.parse(&f, CONNACK)
	}
	if err := f.end(); err != nil {
		return err
	}
	if flags&^1 != 0 {
		return ErrConnackFlags
	}
	c.SessionPresent = flags&1 != 0
	if c.SessionPresent && c.Reason != Success {
		return ErrSessionPresent
	}
	return nil
}

// Limits are what a CONNACK says that its server can do; the zero value of the
// packet means the defaults of section 3.2.2.3.
type Limits struct {
	MaximumQoS        uint8
	ReceiveMaximum    uint16
	MaximumPacketSize uint32 // 0: unlimited
	TopicAliasMaximum uint16
	Retain            bool
	Wildcards         bool
	SubscriptionIDs   bool
	Shared            bool
}

// Limits returns the limits that a CONNACK sets.
func (c *Connack) Limits() Limits {
	p := &c.Properties
	return Limits{
		MaximumQoS:        uint8(p.UintOr(MaximumQoS, 2)),
		ReceiveMaximum:    uint16(p.UintOr(ReceiveMaximum, math.MaxUint16)),
		MaximumPacketSize: p.UintOr(MaximumPacketSize, 0),
		TopicAliasMaximum: uint16(p.UintOr(TopicAliasMaximum, 0)),
		Retain:            p.UintOr(RetainAvailable, 1) == 1,
		Wildcards:         p.UintOr(WildcardAvailable, 1) == 1,
		SubscriptionIDs:   p.UintOr(SubscriptionIDAvail, 1) == 1,
		Shared:            p.UintOr(SharedAvailable, 1) == 1,
	}
}
