package broker

import (
	"strconv"
	"sync"
	"sync/atomic"
)

// Stats are the broker's counters and gauges.
type Stats struct {
	Connections   int // sockets
	Clients       int // that are connected
	Sessions      int // kept, of clients that are connected or away
	Retained      int // retained messages
	RetainedBytes int
	QueuedBytes   int64 // for subscribers, in flight or waiting

	Connects      uint64 // accepted connections, ever
	Received      uint64 // messages of clients, wills included
	Sent          uint64 // messages to subscribers
	Delivered     uint64 // QoS 1 and 2 messages that subscribers acknowledged
	BytesIn       uint64
	BytesOut      uint64
	DroppedSlow   uint64 // QoS 0 messages to subscribers that did not keep up
	DroppedQueue  uint64 // QoS 1 and 2 messages over the limits of what may wait
	Oversized     uint64 // payloads over MaxPayload, not passed on to subscribers
	NotRetained   uint64 // over MaxRetainedBytes
	RefusedTopics uint64 // messages to $SYS
	FailedLogins  uint64
	Violations    uint64 // connections ended because the client broke the protocol
	Takeovers     uint64 // connections ended because their client id came again
	Refused       uint64 // sockets over the limit
	Wills         uint64
}

type counters struct {
	connects, received, sent, delivered, bytesIn, bytesOut atomic.Uint64
	droppedSlow, droppedQueue, oversized, notRetained      atomic.Uint64
	refusedTopics, logins, violations, takeovers           atomic.Uint64
	refused, wills                                         atomic.Uint64
}

// Stats returns the state of the counters.
func (b *Broker) Stats() Stats {
	n := &b.stats
	s := Stats{
		QueuedBytes: b.queued.Load(),
		Connects:    n.connects.Load(), Received: n.received.Load(), Sent: n.sent.Load(), Delivered: n.delivered.Load(),
		BytesIn: n.bytesIn.Load(), BytesOut: n.bytesOut.Load(),
		DroppedSlow: n.droppedSlow.Load(), DroppedQueue: n.droppedQueue.Load(),
		Oversized: n.oversized.Load(), NotRetained: n.notRetained.Load(), RefusedTopics: n.refusedTopics.Load(),
		FailedLogins: n.logins.Load(), Violations: n.violations.Load(), Takeovers: n.takeovers.Load(),
		Refused: n.refused.Load(), Wills: n.wills.Load(),
	}
	b.mu.Lock()
	s.Connections, s.Clients, s.Sessions = len(b.conns), len(b.live), len(b.sessions)
	b.mu.Unlock()
	b.keep.mu.Lock()
	s.Retained, s.RetainedBytes = len(b.keep.messages), b.keep.bytes
	b.keep.mu.Unlock()
	return s
}

// slots gives out the smallest free number from 1.
type slots struct {
	mu   sync.Mutex
	used []bool
}

func (s *slots) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, used := range s.used {
		if !used {
			s.used[i] = true
			return i + 1
		}
	}
	s.used = append(s.used, true)
	return len(s.used)
}

func (s *slots) give(n int) {
	s.mu.Lock()
	s.used[n-1] = false
	s.mu.Unlock()
}

// slotKey names the session of the sink that a slot stands for. No client id gives
// the same: theirs have a colon before them.
func slotKey(n int) string { return SourceName + "~" + strconv.Itoa(n) }
