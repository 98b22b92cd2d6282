package wire

import "fmt"

// Error is a violation of the standard by the peer.
type Error struct {
	Reason ReasonCode // what DISCONNECT or CONNACK says about it in MQTT 5
	Clause string     // the clause that is broken, as "MQTT-1.5.5-1", or the section
	Text   string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s [%s] (reason 0x%02x)", e.Text, e.Clause, byte(e.Reason))
}

func malformed(clause, text string) *Error { return &Error{MalformedPacket, clause, text} }
func protocol(clause, text string) *Error  { return &Error{ProtocolError, clause, text} }

// The violations that the package finds. Compare with errors.Is.
var (
	ErrRemainingLength   = malformed("MQTT-1.5.5-1", "the remaining length takes more than four bytes")
	ErrPropertyLength    = malformed("MQTT-1.5.5-1", "a variable byte integer takes more than four bytes or not the fewest")
	ErrTruncated         = malformed("2.1.4", "the packet ends before its fields do")
	ErrTrailingBytes     = malformed("2.1.4", "bytes follow the packet's last field")
	ErrFlags             = malformed("MQTT-2.1.3-1", "reserved flags of the fixed header are not as prescribed")
	ErrPacketType        = malformed("2.1.2", "the packet type is reserved in this protocol version")
	ErrQoS               = malformed("MQTT-3.3.1-4", "both QoS bits of a PUBLISH are set")
	ErrDupQoS0           = malformed("MQTT-3.3.1-2", "DUP is set on a QoS 0 PUBLISH")
	ErrPacketIDZero      = malformed("MQTT-2.2.1-3", "the packet identifier is zero")
	ErrUTF8              = malformed("MQTT-1.5.4-1", "a string is not well-formed UTF-8")
	ErrUTF8Null          = malformed("MQTT-1.5.4-2", "a string contains U+0000")
	ErrTopicWildcard     = &Error{TopicNameInvalid, "MQTT-3.3.2-2", "a topic name contains a wildcard"}
	ErrTopicEmpty        = &Error{TopicNameInvalid, "MQTT-4.7.3-1", "a topic is empty"}
	ErrTopicFilter       = &Error{TopicFilterInvalid, "MQTT-4.7.1-1", "a wildcard does not stand alone in its level"}
	ErrSharedFilter      = &Error{TopicFilterInvalid, "MQTT-4.8.2-1", "a shared subscription has no valid share name or no filter"}
	ErrTopicAliasZero    = &Error{TopicAliasInvalid, "MQTT-3.3.2-8", "the topic alias is zero"}
	ErrTopicAliasUnknown = protocol("3.3.2.3.4", "the topic is empty and the topic alias was never set")
	ErrTopicAliasMaximum = &Error{TopicAliasInvalid, "MQTT-3.3.2-9", "the topic alias exceeds the announced maximum"}
	ErrPropertyUnknown   = malformed("2.2.2.2", "a property is unknown or not allowed in this packet")
	ErrPropertyTwice     = protocol("2.2.2.2", "a property that may stand once stands twice")
	ErrPropertyValue     = protocol("2.2.2.2", "a property has a value that it cannot have")
	ErrConnackFlags      = malformed("3.2.2.1", "reserved bits of the connect acknowledge flags are set")
	ErrSessionPresent    = protocol("MQTT-3.2.2-6", "session present is set although the connection is refused")
	ErrProtocolName      = &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-1", "the protocol name is not MQTT"}
	ErrProtocolVersion   = &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-2", "the protocol version is not supported"}
	ErrConnectFlags      = malformed("MQTT-3.1.2-3", "the connect flags contradict each other or use the reserved bit")
	ErrSubscribeEmpty    = protocol("MQTT-3.8.3-2", "a SUBSCRIBE or UNSUBSCRIBE has no topic filter")
	ErrSubscribeOptions  = malformed("MQTT-3.8.3-5", "the subscription options use reserved bits")
	ErrSubackEmpty       = protocol("3.9.3", "a SUBACK has no reason code")
	ErrPacketTooLarge    = &Error{PacketTooLarge, "MQTT-3.1.2-24", "the packet is larger than the announced maximum"}
)
