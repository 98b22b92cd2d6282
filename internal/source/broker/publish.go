package broker

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// intake is the way of a client's messages to the sink.
type intake struct {
	sink     telemetry.Session // nil until the first message
	slot     int               // where the session is one of the shared ones
	burst    bool              // Begin was called, and End not yet
	token    uint64            // the last that was given to the sink
	entries  []ackEntry        // of the burst
	gated    []uint64          // of the burst
	inflight atomic.Int32      // messages that count against the receive maximum
	message  telemetry.Message

	confirmed uint64
	irregular uint64 // the last token that is not a QoS 1 message's
	received  uint64 // of the burst
}

// onPublish handles a PUBLISH that lies whole in the buffer.
func (c *conn) onPublish(first byte, body []byte) error {
	p := &c.publish
	if err := wire.ParsePublish(p, c.version, first, body); err != nil {
		return err
	}
	return c.take(p, len(p.Payload))
}

// oversized handles a PUBLISH whose payload is not kept: its beginning is, and
// the rest is read over. The message is added when it has come to its end.
func (c *conn) oversized(h wire.Header, n int) (more bool, err error) {
	prefix := n + oversizePrefix
	if c.w-c.r < prefix {
		c.need = prefix
		return true, nil
	}
	saved := bytes.Clone(c.buf[c.r+n : c.r+prefix])
	left := n + h.Remaining
	for {
		have := min(c.w-c.r, left)
		c.r += have
		if left -= have; left == 0 {
			break
		}
		c.endBurst()
		c.need = 1
		if err := c.fill(); err != nil {
			return false, err
		}
	}
	p := &c.publish
	if err := wire.ParsePublish(p, c.version, h.First, saved); err != nil {
		if errors.Is(err, wire.ErrTruncated) {
			err = wire.ErrPacketTooLarge // its topic and properties alone are
		}
		return false, err
	}
	return false, c.take(p, h.Remaining-(len(saved)-len(p.Payload)))
}

// take gives a message to the subscribers and to the sink. size is the size of
// the payload as it was announced.
func (c *conn) take(p *wire.Publish, size int) error {
	if len(p.Properties.SubscriptionIDs) > 0 && c.version >= wire.V5 {
		return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.3.4-6", Text: "a client's PUBLISH has a subscription identifier"}
	}
	if err := c.resolveAlias(p); err != nil {
		return err
	}
	if err := wire.ValidTopicName(p.Topic); err != nil {
		return err
	}
	again := false
	if p.QoS > 0 {
		var err error
		if again, err = c.count(p); err != nil {
			return err
		}
	}
	c.received++
	if reserved(p.Topic) {
		c.refuse(p)
		return nil
	}
	if err := c.beginBurst(); err != nil {
		return err
	}
	payload := p.Payload
	var gate uint64
	switch {
	case size > c.b.cfg.MaxPayload:
		payload = payload[:min(len(payload), c.b.cfg.MaxPayload)]
		c.b.stats.oversized.Add(1)
	case !again:
		gate = c.b.forward(c.session, c.version, p, c.now)
	}
	m := &c.message
	*m = telemetry.Message{
		Topic: p.Topic, Payload: payload, Size: size, Received: c.now,
		PacketID: p.PacketID, QoS: p.QoS, Dup: p.Dup,
	}
	if p.QoS > 0 {
		c.token++
		m.Token = c.token
		kind := uint8(wire.PUBACK)
		if p.QoS == 2 {
			kind = uint8(wire.PUBREC)
			c.irregular = c.token
		}
		c.owe(ackEntry{token: uint32(c.token), id: p.PacketID, kind: kind}, gate)
	}
	if !c.sink.Add(m) {
		c.endBurst()
	}
	return nil
}

// owe notes an acknowledgement; gate is a position of the journal that it waits
// for, 0 for none.
func (c *conn) owe(e ackEntry, gate uint64) {
	if gate > 0 {
		e.kind |= ackGated
		c.gated = append(c.gated, gate)
	}
	c.entries = append(c.entries, e)
}

// count holds the client to its receive maximum and reports whether a QoS 2
// message was received before [MQTT-4.3.3-10].
func (c *conn) count(p *wire.Publish) (again bool, err error) {
	if p.QoS == 2 {
		if _, again = c.session.incoming[p.PacketID]; again {
			return true, nil
		}
	}
	// [MQTT-3.3.4-9]; in 3.1.1 there is no such limit, and its socket is not read
	// while too much is in flight.
	if n := c.inflight.Add(1); int(n) > c.b.cfg.MaxInflight && c.version >= wire.V5 {
		return false, &wire.Error{Reason: wire.ReceiveMaximumExceeded, Clause: "MQTT-3.3.4-9", Text: "more messages in flight than the receive maximum"}
	}
	if p.QoS == 2 {
		if c.session.incoming == nil {
			c.session.incoming = map[uint16]uint64{}
		}
		c.session.incoming[p.PacketID] = c.serial
	}
	return false, nil
}

// reserved reports whether a topic is the broker's own.
func reserved(topic []byte) bool {
	return len(topic) >= 4 && topic[0] == '$' && string(topic[:4]) == "$SYS" && (len(topic) == 4 || topic[4] == '/')
}

// refuse answers a message that is not taken. 3.1.1 has no way to say so other
// than to close, which would bring it again for ever.
func (c *conn) refuse(p *wire.Publish) {
	c.b.stats.refusedTopics.Add(1)
	e := ackEntry{token: uint32(c.token), id: p.PacketID, kind: uint8(wire.PUBACK), reason: wire.NotAuthorized}
	switch p.QoS {
	case 0:
		return
	case 2:
		e.kind = uint8(wire.PUBREC)
		if c.version >= wire.V5 { // the exchange ends here; in 3.1.1 PUBREL follows
			delete(c.session.incoming, p.PacketID)
		}
	}
	c.irregular = c.token
	c.owe(e, 0)
}

// onPubrel ends a QoS 2 packet id. PUBCOMP is sent when its removal from the
// ledger is durable.
func (c *conn) onPubrel(first byte, body []byte) error {
	var a wire.Ack
	if err := wire.ParseAck(&a, c.version, first, body); err != nil {
		return err
	}
	serial, known := c.session.incoming[a.PacketID]
	delete(c.session.incoming, a.PacketID)
	e := ackEntry{id: a.PacketID, kind: uint8(wire.PUBCOMP)}
	if known && serial == c.serial {
		e.kind |= ackCounted
	}
	if !known && c.session.fresh {
		// Nothing can be in the ledger either: no need to ask.
		if c.version >= wire.V5 {
			e.reason = wire.PacketIdentifierNotFound
		}
		e.token = uint32(c.token)
		c.irregular = c.token
		c.owe(e, 0)
		return nil
	}
	if err := c.beginBurst(); err != nil {
		return err
	}
	c.token++
	c.irregular = c.token
	e.token = uint32(c.token)
	c.owe(e, 0)
	c.sink.Release(a.PacketID, c.token)
	return nil
}

// resolveAlias puts the topic in that an alias stands for (section 3.3.2.3.4).
func (c *conn) resolveAlias(p *wire.Publish) error {
	if p.Alias == 0 || c.version < wire.V5 {
		return nil
	}
	if p.Alias > topicAliases {
		return wire.ErrTopicAliasMaximum
	}
	if len(p.Topic) == 0 {
		topic, ok := c.aliases[p.Alias]
		if !ok {
			return wire.ErrTopicAliasUnknown
		}
		p.Topic = topic
		return nil
	}
	if c.aliases == nil {
		c.aliases = map[uint16][]byte{}
	}
	old := c.aliases[p.Alias]
	if bytes.Equal(old, p.Topic) {
		return nil
	}
	c.aliased += len(p.Topic) - len(old)
	if c.aliased > aliasBytes {
		return &wire.Error{Reason: wire.QuotaExceeded, Clause: "3.3.2.3.4", Text: "the topics of the topic aliases are too long"}
	}
	c.aliases[p.Alias] = bytes.Clone(p.Topic)
	return nil
}

// beginBurst opens the session at the first message, and a burst at the first of
// what one read brought.
func (c *conn) beginBurst() error {
	if c.burst {
		return nil
	}
	if c.sink == nil {
		if err := c.openSink(); err != nil {
			return c.unavailable(err)
		}
	}
	if err := c.sink.Begin(c.ctx); err != nil {
		return c.unavailable(err)
	}
	c.burst = true
	return nil
}

// unavailable ends a connection whose messages cannot be taken.
func (c *conn) unavailable(err error) error {
	if c.ctx.Err() == nil {
		c.b.log.Error("broker cannot take messages", "client", c.clientID, "error", err)
	}
	c.disconnect(wire.ServerUnavailable)
	return err
}

func (c *conn) openSink() error {
	s := c.session
	key := SourceName + ":" + s.id
	if c.assigned && c.connect.expiry == 0 {
		c.slot = c.b.slots.take()
		key = slotKey(c.slot)
		s.resetPending = true
	}
	sink, err := c.b.sink.OpenSession(c.ctx, SourceName, key, c)
	if err != nil {
		if c.slot > 0 {
			c.b.slots.give(c.slot)
			c.slot = 0
		}
		return err
	}
	c.sink = sink
	if s.resetPending {
		sink.Reset()
		c.b.markReset(s)
	}
	return nil
}

// endBurst closes the burst: the acknowledgements that it owes are queued before
// the sink may answer.
func (c *conn) endBurst() {
	if c.received > 0 {
		c.b.stats.received.Add(c.received)
		c.received = 0
	}
	if len(c.entries) > 0 {
		c.mu.Lock()
		c.push(c.entries)
		c.gates = append(c.gates, c.gated...)
		ready := int32(uint32(c.durable.Load())-c.ring[c.head].token) >= 0
		c.mu.Unlock()
		c.entries, c.gated = c.entries[:0], c.gated[:0]
		if ready {
			c.kick()
		}
	}
	if !c.burst {
		return
	}
	c.burst = false
	c.sink.End()
	c.confirm()
}

// confirm tells the sink which acknowledgements have arrived. A client may not have
// more messages in flight than the receive maximum, so the one that lies so far
// back was acknowledged to it (MQTT 5, and where only QoS 1 came since).
func (c *conn) confirm() {
	far := uint64(c.b.cfg.MaxInflight)
	if c.version < wire.V5 || c.token < c.irregular+far+c.confirmStep() || c.token-far < c.confirmed+c.confirmStep() {
		return
	}
	c.confirmed = c.token - far
	c.sink.Confirm(c.confirmed)
}

// confirmStep is how many messages are confirmed at a time.
func (c *conn) confirmStep() uint64 { return uint64(c.b.cfg.MaxInflight/8 + 1) }

// closeSink ends the use of the session. over says that the MQTT session ended.
func (c *conn) closeSink(over bool) {
	if c.sink == nil {
		return
	}
	if over {
		c.sink.Reset()
	}
	c.sink.Close()
	c.sink = nil
	if c.slot > 0 {
		c.b.slots.give(c.slot)
		c.slot = 0
	}
}
