package mqtt

import (
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// Status is what readiness and metrics ask of a source.
type Status struct {
	Name      string
	URL       string
	ClientID  string
	Connected bool // the broker accepted the connection, and it stands
	// Subscribed says that the broker has answered every subscription that this
	// connection began with: what is published from now on arrives.
	Subscribed bool
	Since      time.Time // of this state
	// Reason says why it is not connected, or what is amiss although it is; it is
	// empty when all is well.
	Reason string
	// LastFailure says why the last connection ended or could not be made, and
	// FailedAt when; they stay after a reconnect.
	LastFailure string
	FailedAt    time.Time
	// Stopped says that the source does not try again by itself: another client
	// took the session over.
	Stopped        bool
	Version        wire.Version // of the last connection
	SessionPresent bool         // the broker knew the session at the last connect
	Limits         wire.Limits  // as the broker announced them
	KeepAlive      time.Duration
	Filters        []FilterStatus
	// InFlight counts messages that were handed on and not yet acknowledged to
	// the broker.
	InFlight uint64
	// Stalled says that back-pressure holds the socket.
	Stalled bool
	Counts  Counts
}

// FilterStatus is what the broker said about one topic filter.
type FilterStatus struct {
	Filter  string
	Granted int    // QoS; -1 until the broker answered, or where it refused
	Refused string // why it refused, empty otherwise
}

// Counts only grow.
type Counts struct {
	Messages     [3]uint64 // by QoS
	Duplicates   uint64    // messages with DUP set
	Oversized    uint64    // payloads over the limit, handed on truncated
	Acks         uint64    // PUBACK, PUBREC and PUBCOMP written
	BytesIn      uint64
	BytesOut     uint64
	Connects     uint64 // accepted connections
	Reconnects   uint64 // of them, those after the first
	Failures     uint64 // connections that were refused or ended by other than Run's end
	SessionsLost uint64 // session present was 0 although the source had connected before
	Malformed    uint64 // connections closed because the broker broke the standard
	Pings        uint64
	ShortLived   uint64 // connections that ended before StableAfter
}

type counters struct {
	messages                               [3]atomic.Uint64
	duplicates, oversized, acks            atomic.Uint64
	bytesIn, bytesOut, connects, failures  atomic.Uint64
	sessionsLost, malformed, pings, shorts atomic.Uint64
	received                               atomic.Uint64 // the ring's next token
}

func (c *counters) read() Counts {
	n := Counts{
		Duplicates: c.duplicates.Load(), Oversized: c.oversized.Load(), Acks: c.acks.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(), Connects: c.connects.Load(), Failures: c.failures.Load(),
		SessionsLost: c.sessionsLost.Load(), Malformed: c.malformed.Load(), Pings: c.pings.Load(), ShortLived: c.shorts.Load(),
	}
	for i := range n.Messages {
		n.Messages[i] = c.messages[i].Load()
	}
	if n.Connects > 1 {
		n.Reconnects = n.Connects - 1
	}
	return n
}
