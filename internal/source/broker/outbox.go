package broker

import (
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// message is a PUBLISH on its way to subscribers. It is shared and never changed.
type message struct {
	topic   string
	payload []byte
	props   *wire.Properties // what is passed on; nil: none
	expires int64            // unix seconds, 0: never
	origin  *session         // for No Local; nil: a will or a retained message
	qos     uint8
	retain  bool
}

func (m *message) size() int { return len(m.topic) + len(m.payload) + 128 }

// delivery is one message for one subscriber.
type delivery struct {
	m        *message
	ids      []uint32 // subscription identifiers
	packetID uint16   // 0: never sent
	qos      uint8
	retain   bool
	released bool // QoS 2: PUBREC came
	again    bool // it was sent on an earlier connection
	done     bool
}

// outbox is what a session has to deliver at QoS 1 and 2: first what is in flight,
// then what waits. session.mu guards it.
type outbox struct {
	conn   *conn // nil: away
	ended  bool
	flight map[uint16]*delivery
	order  []*delivery // what is in flight in the order of sending; may have done ones
	queue  []delivery  // what waits, from queue[first]
	first  int
	bytes  int
	nextID uint16
	window int
}

// attach gives the outbox a connection: what was in flight is sent again in its
// order, marked as sent before [MQTT-4.4.0-1].
func (s *session) attach(c *conn) {
	s.mu.Lock()
	s.conn = c
	s.window = min(c.connect.receiveMax, maxWindow)
	var again []delivery
	for _, d := range s.order {
		switch {
		case d.done:
		case d.released:
			c.send(func(out []byte) []byte { return wire.AppendAck(out, wire.PUBREL, d.packetID) })
		default:
			delete(s.flight, d.packetID)
			d.done = true
			redo := *d
			redo.done, redo.again = false, true
			again = append(again, redo)
		}
	}
	s.compact()
	if len(again) > 0 {
		s.queue = append(again, s.queue[s.first:]...)
		s.first = 0
	}
	s.fillWindow()
	s.mu.Unlock()
	c.kick()
}

// detach takes the connection away.
func (s *session) detach() {
	s.mu.Lock()
	s.conn = nil
	s.mu.Unlock()
}

// drop ends the outbox.
func (s *session) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.account(-s.bytes)
	s.queue, s.first, s.order, s.flight = nil, 0, nil, nil
}

func (s *session) account(n int) {
	s.bytes += n
	s.b.queued.Add(int64(n))
}

// deliver sends a message to the subscriber, or lets it wait.
func (s *session) deliver(d delivery) {
	s.mu.Lock()
	c := s.conn
	switch {
	case s.ended:
		c = nil
	case d.qos == 0:
		if c != nil && c.sendPublish(&d) == slow {
			s.b.stats.droppedSlow.Add(1)
		}
	case !s.fits(d.m):
		s.b.stats.droppedQueue.Add(1)
		c = nil
	case len(s.queue)-s.first == 0 && s.ready():
		s.account(d.m.size())
		s.dispatch(&d)
	default:
		s.account(d.m.size())
		s.queue = append(s.queue, d)
		c = nil
	}
	s.mu.Unlock()
	if c != nil {
		c.kick()
	}
}

// fits reports whether one more message is within the limits.
func (s *session) fits(m *message) bool {
	return len(s.queue)-s.first < s.b.cfg.MaxQueuedMessages && s.bytes+m.size() <= s.b.cfg.MaxQueuedBytes &&
		s.b.queued.Load()+int64(m.size()) <= int64(s.b.cfg.MaxQueuedTotal)
}

// ready reports whether one more message may be in flight.
func (s *session) ready() bool {
	return s.conn != nil && len(s.flight) < s.window && s.conn.roomToSend()
}

// dispatch puts a message in flight and sends it.
func (s *session) dispatch(d *delivery) {
	if d.packetID == 0 {
		d.packetID = s.freeID()
	}
	if s.conn.sendPublish(d) == unwanted {
		s.account(-d.m.size()) // as if it had been sent [MQTT-3.1.2-25]
		return
	}
	if s.flight == nil {
		s.flight = map[uint16]*delivery{}
	}
	kept := *d
	s.flight[d.packetID] = &kept
	s.order = append(s.order, &kept)
}

// freeID returns a packet id that is not in use. There is one: the window is smaller
// than the ids.
func (s *session) freeID() uint16 {
	for {
		s.nextID++
		if s.nextID == 0 {
			continue
		}
		if _, used := s.flight[s.nextID]; !used {
			return s.nextID
		}
	}
}

// pump sends what waits, after the writer made room.
func (s *session) pump() {
	s.mu.Lock()
	c := s.conn
	sent := s.fillWindow()
	s.mu.Unlock()
	if sent && c != nil {
		c.kick()
	}
}

// fillWindow sends what waits as far as the window and the output allow.
func (s *session) fillWindow() (sent bool) {
	for s.first < len(s.queue) && s.ready() {
		d := s.queue[s.first]
		s.queue[s.first] = delivery{}
		s.first++
		s.dispatch(&d)
		sent = true
	}
	switch {
	case s.first == len(s.queue):
		if cap(s.queue) > 1024 {
			s.queue = nil
		}
		s.queue, s.first = s.queue[:0], 0
	case s.first > 1024 && s.first > len(s.queue)/2:
		s.queue = append(s.queue[:0], s.queue[s.first:]...)
		s.first = 0
	}
	return sent
}

// onAck handles PUBACK, PUBREC and PUBCOMP of a subscriber.
func (s *session) onAck(a *wire.Ack) {
	s.mu.Lock()
	c := s.conn
	d := s.flight[a.PacketID]
	switch {
	case a.Type == wire.PUBREC && (d == nil || d.qos != 2):
		if c != nil { // [MQTT-4.3.3-4], section 4.3.3: the id is unknown
			reason := wire.PacketIdentifierNotFound
			if c.version < wire.V5 {
				reason = wire.Success
			}
			c.send(func(out []byte) []byte {
				return wire.AppendAckReason(out, &wire.Ack{Type: wire.PUBREL, PacketID: a.PacketID, Reason: reason})
			})
		}
	case d == nil:
	case a.Type == wire.PUBREC && !a.Reason.Failed():
		d.released = true
		if c != nil {
			c.send(func(out []byte) []byte { return wire.AppendAck(out, wire.PUBREL, a.PacketID) })
		}
	case a.Type == wire.PUBACK && d.qos == 1, a.Type == wire.PUBREC, a.Type == wire.PUBCOMP && d.released:
		d.done = true
		delete(s.flight, a.PacketID)
		s.account(-d.m.size())
		s.b.stats.delivered.Add(1)
		s.compact()
		s.fillWindow()
	}
	s.mu.Unlock()
	if c != nil {
		c.kick()
	}
}

// compact removes from order what is done, at its front, and all of it when that is most.
func (s *session) compact() {
	n := 0
	for n < len(s.order) && s.order[n].done {
		s.order[n] = nil
		n++
	}
	s.order = s.order[n:]
	if len(s.order) == 0 {
		s.order = nil
		return
	}
	if len(s.order) > 2*len(s.flight)+16 {
		live := make([]*delivery, 0, len(s.flight))
		for _, d := range s.order {
			if !d.done {
				live = append(live, d)
			}
		}
		s.order = live
	}
}

// roomToSend reports whether the client keeps up.
func (c *conn) roomToSend() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) < outputLimit && !c.closing.Load()
}

// send appends to the output without waking the writer.
func (c *conn) send(f func(out []byte) []byte) {
	c.mu.Lock()
	c.out = f(c.outLocked())
	c.mu.Unlock()
}

// sending is what became of a message for a client.
type sending int

const (
	sent     sending = iota
	unwanted         // expired, or larger than the client takes
	slow             // the client does not keep up, or is being closed
)

// sendPublish appends a PUBLISH to the output. Only QoS 0 is refused for a client
// that does not keep up: ready has looked for the others, and what finds the
// connection closed is in flight, to be sent again on the next one.
func (c *conn) sendPublish(d *delivery) sending {
	m := d.m
	p := wire.Publish{
		Topic: []byte(m.topic), Payload: m.payload, PacketID: d.packetID, QoS: d.qos, Retain: d.retain, Dup: d.again,
	}
	if c.version >= wire.V5 {
		if m.props != nil {
			p.Properties = *m.props
		}
		p.Properties.SubscriptionIDs = d.ids
	}
	if m.expires != 0 { // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
		left := m.expires - c.b.cfg.Now()/int64(time.Second)
		if left <= 0 {
			return unwanted
		}
		p.Properties.SetUint(wire.MessageExpiry, uint32(left))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() || d.qos == 0 && len(c.out) >= outputLimit {
		return slow
	}
	out := c.outLocked()
	mark := len(out)
	c.out = wire.AppendPublish(out, c.version, &p)
	if limit := c.connect.maxPacket; limit > 0 && len(c.out)-mark > limit {
		c.out = c.out[:mark]
		return unwanted
	}
	c.b.stats.sent.Add(1)
	return sent
}
