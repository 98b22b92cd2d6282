package wire

import "fmt"

// ReasonCode is an MQTT 5 reason code (section 2.4). From 0x80 it is a failure.
type ReasonCode byte

// The reason codes that Weir sends or reacts to.
const (
	Success                     ReasonCode = 0x00
	GrantedQoS1                 ReasonCode = 0x01
	GrantedQoS2                 ReasonCode = 0x02
	NoMatchingSubscribers       ReasonCode = 0x10
	NoSubscriptionExisted       ReasonCode = 0x11
	UnspecifiedError            ReasonCode = 0x80
	MalformedPacket             ReasonCode = 0x81
	ProtocolError               ReasonCode = 0x82
	ImplementationSpecificError ReasonCode = 0x83
	UnsupportedProtocolVersion  ReasonCode = 0x84
	ClientIdentifierNotValid    ReasonCode = 0x85
	BadUserNameOrPassword       ReasonCode = 0x86
	NotAuthorized               ReasonCode = 0x87
	ServerUnavailable           ReasonCode = 0x88
	ServerBusy                  ReasonCode = 0x89
	Banned                      ReasonCode = 0x8A
	ServerShuttingDown          ReasonCode = 0x8B
	BadAuthenticationMethod     ReasonCode = 0x8C
	KeepAliveTimeout            ReasonCode = 0x8D
	SessionTakenOver            ReasonCode = 0x8E
	TopicFilterInvalid          ReasonCode = 0x8F
	TopicNameInvalid            ReasonCode = 0x90
	PacketIdentifierInUse       ReasonCode = 0x91
	PacketIdentifierNotFound    ReasonCode = 0x92
	ReceiveMaximumExceeded      ReasonCode = 0x93
	TopicAliasInvalid           ReasonCode = 0x94
	PacketTooLarge              ReasonCode = 0x95
	MessageRateTooHigh          ReasonCode = 0x96
	QuotaExceeded               ReasonCode = 0x97
	AdministrativeAction        ReasonCode = 0x98
	PayloadFormatInvalid        ReasonCode = 0x99
	RetainNotSupported          ReasonCode = 0x9A
	QoSNotSupported             ReasonCode = 0x9B
	UseAnotherServer            ReasonCode = 0x9C
	ServerMoved                 ReasonCode = 0x9D
	SharedSubscriptionsNotSupp  ReasonCode = 0x9E
	ConnectionRateExceeded      ReasonCode = 0x9F
	MaximumConnectTime          ReasonCode = 0xA0
	SubscriptionIDsNotSupported ReasonCode = 0xA1
	WildcardSubsNotSupported    ReasonCode = 0xA2
)

var reasonText = map[ReasonCode]string{
	Success:                     "success",
	GrantedQoS1:                 "granted QoS 1",
	GrantedQoS2:                 "granted QoS 2",
	NoMatchingSubscribers:       "no matching subscribers",
	NoSubscriptionExisted:       "no subscription existed",
	UnspecifiedError:            "unspecified error",
	MalformedPacket:             "malformed packet",
	ProtocolError:               "protocol error",
	ImplementationSpecificError: "implementation specific error",
	UnsupportedProtocolVersion:  "unsupported protocol version",
	ClientIdentifierNotValid:    "client identifier not valid",
	BadUserNameOrPassword:       "bad user name or password",
	NotAuthorized:               "not authorized",
	ServerUnavailable:           "server unavailable",
	ServerBusy:                  "server busy",
	Banned:                      "banned",
	ServerShuttingDown:          "server shutting down",
	BadAuthenticationMethod:     "bad authentication method",
	KeepAliveTimeout:            "keep alive timeout",
	SessionTakenOver:            "session taken over",
	TopicFilterInvalid:          "topic filter invalid",
	TopicNameInvalid:            "topic name invalid",
	PacketIdentifierInUse:       "packet identifier in use",
	PacketIdentifierNotFound:    "packet identifier not found",
	ReceiveMaximumExceeded:      "receive maximum exceeded",
	TopicAliasInvalid:           "topic alias invalid",
	PacketTooLarge:              "packet too large",
	MessageRateTooHigh:          "message rate too high",
	QuotaExceeded:               "quota exceeded",
	AdministrativeAction:        "administrative action",
	PayloadFormatInvalid:        "payload format invalid",
	RetainNotSupported:          "retain not supported",
	QoSNotSupported:             "QoS not supported",
	UseAnotherServer:            "use another server",
	ServerMoved:                 "server moved",
	SharedSubscriptionsNotSupp:  "shared subscriptions not supported",
	ConnectionRateExceeded:      "connection rate exceeded",
	MaximumConnectTime:          "maximum connect time",
	SubscriptionIDsNotSupported: "subscription identifiers not supported",
	WildcardSubsNotSupported:    "wildcard subscriptions not supported",
}

func (c ReasonCode) String() string {
	if s, ok := reasonText[c]; ok {
		return fmt.Sprintf("%s (0x%02x)", s, byte(c))
	}
	return fmt.Sprintf("reason 0x%02x", byte(c))
}

// Failed reports whether the code is a failure.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// The CONNACK return codes of MQTT 3.1.1 (section 3.2.2.3 there).
const (
	ReturnAccepted           byte = 0
	ReturnVersion            byte = 1
	ReturnIdentifierRejected byte = 2
	ReturnServerUnavailable  byte = 3
	ReturnBadCredentials     byte = 4
	ReturnNotAuthorized      byte = 5
)

// ReasonOfReturnCode gives the MQTT 5 reason code that means the same as a
// 3.1.1 CONNACK return code.
func ReasonOfReturnCode(c byte) ReasonCode {
	switch c {
	case ReturnAccepted:
		return Success
	case ReturnVersion:
		return UnsupportedProtocolVersion
	case ReturnIdentifierRejected:
		return ClientIdentifierNotValid
	case ReturnServerUnavailable:
		return ServerUnavailable
	case ReturnBadCredentials:
		return BadUserNameOrPassword
	case ReturnNotAuthorized:
		return NotAuthorized
	}
	return UnspecifiedError
}

// ReturnCodeOfReason is the way back; what 3.1.1 has no word for is
// "server unavailable".
func ReturnCodeOfReason(r ReasonCode) byte {
	switch r {
	case Success:
		return ReturnAccepted
	case UnsupportedProtocolVersion:
		return ReturnVersion
	case ClientIdentifierNotValid:
		return ReturnIdentifierRejected
	case BadUserNameOrPassword:
		return ReturnBadCredentials
	case NotAuthorized:
		return ReturnNotAuthorized
	}
	return ReturnServerUnavailable
}
