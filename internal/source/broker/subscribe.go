package broker

import (
	"strings"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// onSubscribe enters subscriptions into mochi's index, answers, and sends the
// retained messages that match.
func (c *conn) onSubscribe(first byte, body []byte) error {
	var p wire.Subscribe
	if err := wire.ParseSubscribe(&p, c.version, first, body); err != nil {
		return err
	}
	cl := c.session.client()
	if cl == nil {
		return errClosed
	}
	var id int
	if len(p.Properties.SubscriptionIDs) > 0 {
		id = int(p.Properties.SubscriptionIDs[0])
	}
	for _, sub := range p.Subscriptions {
		if sub.NoLocal && isShared(sub.Filter) {
			return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.8.3-4", Text: "No Local on a shared subscription"}
		}
	}
	ack := wire.Suback{PacketID: p.PacketID}
	var retained []delivery
	c.b.keep.mu.Lock() // until the retained messages are out: no newer one may come before them, see forward
	defer c.b.keep.mu.Unlock()
	for _, sub := range p.Subscriptions {
		if !validFilter(sub.Filter) {
			ack.Reasons = append(ack.Reasons, wire.TopicFilterInvalid)
			continue
		}
		retained = append(retained, c.subscribe(cl, sub, id)...)
		ack.Reasons = append(ack.Reasons, wire.ReasonCode(sub.QoS))
	}
	c.b.journal.flush()
	c.append(func(out []byte) []byte { return wire.AppendSuback(out, c.version, &ack) })
	for _, d := range retained {
		c.session.deliver(d)
	}
	return nil
}

// subscribe enters one subscription and returns the retained messages that it brings.
func (c *conn) subscribe(cl *mqtt.Client, sub wire.Subscription, id int) (retained []delivery) {
	b := c.b
	entry := packets.Subscription{
		Filter:            sub.Filter,
		Identifier:        id,
		Qos:               sub.QoS,
		NoLocal:           sub.NoLocal,
		RetainAsPublished: sub.RetainAsPublished,
		RetainHandling:    sub.RetainHandling,
	}
	_, had := cl.State.Subscriptions.Get(sub.Filter)
	if b.server.Topics.Subscribe(c.clientID, entry) {
		atomic.AddInt64(&b.server.Info.Subscriptions, 1)
	}
	cl.State.Subscriptions.Add(sub.Filter, entry)
	c.subscriptionsChanged(cl.State.Subscriptions.Len())
	b.journal.append(subscriptionRecord(c.clientID, entry))
	if isShared(sub.Filter) || sub.RetainHandling == 2 || sub.RetainHandling == 1 && had {
		return nil
	}
	var ids []uint32
	if id > 0 {
		ids = []uint32{uint32(id)}
	}
	for _, m := range b.keep.matching(sub.Filter) {
		retained = append(retained, delivery{m: m, ids: ids, qos: min(m.qos, sub.QoS), retain: true})
	}
	return retained
}

// validFilter also refuses "$SHARE/...", which the standard takes for an ordinary
// filter and mochi's index for a shared one.
func validFilter(filter string) bool {
	if wire.ValidTopicFilter(filter) != nil {
		return false
	}
	level, _, _ := strings.Cut(filter, "/")
	return level == "$share" || !strings.EqualFold(level, "$share")
}

func (c *conn) subscriptionsChanged(n int) {
	c.b.mu.Lock()
	c.b.setSubscribed(c.session, n > 0)
	c.b.mu.Unlock()
	c.b.fan.changed()
}

// onUnsubscribe removes subscriptions.
func (c *conn) onUnsubscribe(first byte, body []byte) error {
	var p wire.Unsubscribe
	if err := wire.ParseUnsubscribe(&p, c.version, first, body); err != nil {
		return err
	}
	cl := c.session.client()
	if cl == nil {
		return errClosed
	}
	ack := wire.Suback{PacketID: p.PacketID}
	for _, filter := range p.Filters {
		if _, had := cl.State.Subscriptions.Get(filter); !had {
			ack.Reasons = append(ack.Reasons, wire.NoSubscriptionExisted)
			continue
		}
		cl.State.Subscriptions.Delete(filter)
		if c.b.server.Topics.Unsubscribe(filter, c.clientID) {
			atomic.AddInt64(&c.b.server.Info.Subscriptions, -1)
		}
		c.b.journal.append(subscriptionGone(c.clientID, filter))
		ack.Reasons = append(ack.Reasons, wire.Success)
	}
	c.b.journal.flush()
	c.subscriptionsChanged(cl.State.Subscriptions.Len())
	c.append(func(out []byte) []byte { return wire.AppendUnsuback(out, c.version, &ack) })
	return nil
}
