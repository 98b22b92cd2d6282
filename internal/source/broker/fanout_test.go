package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestSubscribersDoNotWaitForTheCommit(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		sink.hold = true
		b := start(t, sink)
		sub := dial(t, b, v, "subscriber")
		sub.subscribe(wire.Subscription{Filter: "a/+", QoS: 2})
		c := dial(t, b, v, "device")
		for qos := range uint8(3) {
			c.publish(wire.Publish{Topic: []byte("a/b"), Payload: []byte{'0' + qos}, QoS: qos, PacketID: uint16(qos)})
			p := sub.message()
			if p.QoS != qos || string(p.Payload) != string('0'+rune(qos)) || p.Retain || p.Dup {
				t.Errorf("got %+v", p)
			}
			switch qos {
			case 1:
				sub.sendAck(wire.PUBACK, p.PacketID)
			case 2:
				sub.sendAck(wire.PUBREC, p.PacketID)
				sub.ack(wire.PUBREL, p.PacketID, wire.Success)
				sub.sendAck(wire.PUBCOMP, p.PacketID)
			}
		}
		sub.ping()
		if n := b.Stats().QueuedBytes; n != 0 {
			t.Errorf("%d bytes are still accounted for", n)
		}
	})
}

func TestFiltersMatchAsTheStandardSays(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device")
	for _, tc := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/c", false},
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"a/+/#", "a/b", true}, // mochi's index alone says no
		{"a/+/#", "a", false},
		{"+/#", "a", true},
		{"+", "a", true},
		{"+", "/a", false},
		{"/+", "/a", true},
		{"+/+", "/a", true},
		{"#", "a/b", true},
		{"#", "$x/b", false},
		{"+/b", "$x/b", false},
		{"$x/#", "$x/b", true},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
	} {
		sub := dial(t, b, wire.V5, "")
		sub.subscribe(wire.Subscription{Filter: tc.filter})
		c.publish(wire.Publish{Topic: []byte(tc.topic), QoS: 1, PacketID: 1})
		c.ack(wire.PUBACK, 1, wire.Success)
		if tc.want {
			sub.message()
		}
		sub.ping()
		_ = sub.Close()
	}
}

func TestOverlappingSubscriptionsGiveOneMessageWithAllIdentifiers(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	sub := dial(t, b, wire.V5, "subscriber")
	id := func(n uint32) (p wire.Properties) { p.SubscriptionIDs = []uint32{n}; return p }
	sub.subscribeWith(id(1), wire.Subscription{Filter: "a/#", QoS: 0, RetainAsPublished: true})
	sub.subscribeWith(id(2), wire.Subscription{Filter: "a/b", QoS: 1})
	sub.subscribeWith(id(3), wire.Subscription{Filter: "+/b", QoS: 0, NoLocal: true})
	c := dial(t, b, wire.V5, "device")
	c.publish(wire.Publish{Topic: []byte("a/b"), QoS: 2, PacketID: 1, Retain: true, Payload: []byte("x")})
	p := sub.message()
	if p.QoS != 1 || len(p.Properties.SubscriptionIDs) != 3 || !p.Retain {
		t.Errorf("got QoS %d, identifiers %v, retain %v", p.QoS, p.Properties.SubscriptionIDs, p.Retain)
	}
	sub.sendAck(wire.PUBACK, p.PacketID)
	sub.ping()
	sub.publish(wire.Publish{Topic: []byte("a/b")})
	if p = sub.message(); len(p.Properties.SubscriptionIDs) != 2 {
		t.Errorf("its own message came for %v; one of three says No Local", p.Properties.SubscriptionIDs)
	}
	sub.ping()
}

func TestNoLocal(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "both")
	c.subscribe(wire.Subscription{Filter: "a", NoLocal: true}, wire.Subscription{Filter: "b"})
	other := dial(t, b, wire.V5, "other")
	c.publish(wire.Publish{Topic: []byte("a")})
	c.publish(wire.Publish{Topic: []byte("b")})
	if p := c.message(); string(p.Topic) != "b" {
		t.Errorf("got its own message on %q", p.Topic)
	}
	other.publish(wire.Publish{Topic: []byte("a")})
	if p := c.message(); string(p.Topic) != "a" {
		t.Errorf("got %q", p.Topic)
	}
}

func TestPropertiesReachSubscribers(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	sub := dial(t, b, wire.V5, "five")
	sub.subscribe(wire.Subscription{Filter: "#"})
	old := dial(t, b, wire.V311, "three")
	old.subscribe(wire.Subscription{Filter: "#"})
	c := dial(t, b, wire.V5, "device")
	m := wire.Publish{Topic: []byte("a"), Payload: []byte("x"), Alias: 1}
	m.Properties.SetUint(wire.PayloadFormat, 1)
	m.Properties.SetUint(wire.MessageExpiry, 100)
	m.Properties.SetText(wire.ContentType, []byte("text/plain"))
	m.Properties.SetText(wire.ResponseTopic, []byte("re/a"))
	m.Properties.SetText(wire.CorrelationData, []byte{1, 2, 3})
	m.Properties.Users = []wire.User{{Key: []byte("k"), Value: []byte("1")}, {Key: []byte("k"), Value: []byte("2")}}
	c.publish(m)
	p := sub.message()
	if left, ok := p.Properties.Uint(wire.MessageExpiry); !ok || left == 0 || left > 100 {
		t.Errorf("message expiry %d", left)
	}
	p.Properties.SetUint(wire.MessageExpiry, 100)
	m.Properties.Remove(wire.TopicAlias)
	if !p.Properties.Equal(&m.Properties) || p.Alias != 0 || string(p.Topic) != "a" {
		t.Errorf("got %+v", p)
	}
	if p := old.message(); string(p.Payload) != "x" {
		t.Errorf("got %+v", p)
	}
}

func TestRetainedMessages(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		c := dial(t, b, v, "device")
		set := func(topic, payload string) {
			t.Helper()
			c.publish(wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: 1, Retain: true})
			c.ack(wire.PUBACK, 1, wire.Success)
		}
		set("a", "old")
		set("a", "new")
		set("a/b", "x")
		set("z", "gone")
		set("z", "")
		sub := dial(t, b, v, "subscriber")
		sub.subscribe(wire.Subscription{Filter: "a/#", QoS: 0}, wire.Subscription{Filter: "z", QoS: 1})
		have := map[string]string{}
		for range 2 {
			p := sub.message()
			if !p.Retain || p.QoS != 0 {
				t.Errorf("got retain %v, QoS %d", p.Retain, p.QoS)
			}
			have[string(p.Topic)] = string(p.Payload)
		}
		if have["a"] != "new" || have["a/b"] != "x" {
			t.Errorf("got %v", have)
		}
		sub.ping() // and no more
		set("a", "live")
		if p := sub.message(); p.Retain || string(p.Payload) != "live" {
			t.Errorf("a live message came as %+v", p)
		}
		if s := b.Stats(); s.Retained != 2 {
			t.Errorf("%d retained messages, want 2", s.Retained)
		}
	})
}

func TestRetainHandling(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device")
	c.publish(wire.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, PacketID: 1, Retain: true})
	c.ack(wire.PUBACK, 1, wire.Success)
	sub := dial(t, b, wire.V5, "subscriber")
	sub.subscribe(wire.Subscription{Filter: "a", RetainHandling: 2})
	sub.ping()
	sub.subscribe(wire.Subscription{Filter: "a", RetainHandling: 1}) // not new
	sub.ping()
	sub.subscribe(wire.Subscription{Filter: "a", RetainHandling: 0})
	sub.message()
	sub.ping()
	sub.subscribe(wire.Subscription{Filter: "+", RetainHandling: 1})
	sub.message()
	sub.ping()
	sub.subscribe(wire.Subscription{Filter: "$share/g/a"})
	sub.ping()
}

func TestRetainedBytesAreBounded(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxRetainedBytes = 10_000 })
	c := dial(t, b, wire.V5, "device")
	for i := range 30 {
		c.publish(wire.Publish{Topic: fmt.Appendf(nil, "t/%d", i), Payload: make([]byte, 1000), QoS: 1, PacketID: 1, Retain: true})
		c.ack(wire.PUBACK, 1, wire.Success)
	}
	if s := b.Stats(); s.RetainedBytes > 10_000 || s.Retained == 0 || s.NotRetained != uint64(30-s.Retained) {
		t.Errorf("%d messages of %d bytes, %d not retained", s.Retained, s.RetainedBytes, s.NotRetained)
	}
}

func TestSharedSubscriptionsTakeTurns(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		var subs []*client
		for i := range 3 {
			s := dial(t, b, v, fmt.Sprint("s", i))
			s.subscribe(wire.Subscription{Filter: "$share/g/a/#", QoS: 1})
			subs = append(subs, s)
		}
		whole := dial(t, b, v, "whole")
		whole.subscribe(wire.Subscription{Filter: "a/#"})
		c := dial(t, b, v, "device")
		for i := range 30 {
			c.publish(wire.Publish{Topic: []byte("a/b"), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)})
		}
		seen := map[string]bool{}
		for _, s := range subs {
			for range 10 {
				p := s.message()
				s.sendAck(wire.PUBACK, p.PacketID)
				seen[string(p.Payload)] = true
			}
			s.ping()
		}
		for range 30 {
			whole.message()
		}
		if len(seen) != 30 {
			t.Errorf("%d different messages reached the group, want 30", len(seen))
		}
		// One that is gone is passed over.
		_ = subs[0].Close()
		subs[0].awaitGone(b, "s0")
		for i := range 30 {
			c.ack(wire.PUBACK, uint16(i+1), wire.Success)
		}
		for i := range 10 {
			c.publish(wire.Publish{Topic: []byte("a/b"), QoS: 1, PacketID: uint16(i + 1)})
		}
		for _, s := range subs[1:] {
			for range 5 {
				s.message()
			}
		}
	})
}

// awaitGone waits until the broker has ended the connection of a client id.
func (c *client) awaitGone(b *Broker, id string) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		gone := b.live[id] == nil
		b.mu.Unlock()
		if gone {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("client %q is still there", id)
		}
	}
}

func TestUnsubscribe(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		sub := dial(t, b, v, "subscriber")
		sub.subscribe(wire.Subscription{Filter: "a"}, wire.Subscription{Filter: "b"})
		sub.write(wire.AppendUnsubscribe(nil, v, &wire.Unsubscribe{PacketID: 5, Filters: []string{"a", "never"}}))
		first, body := sub.next()
		var a wire.Suback
		if err := wire.ParseUnsuback(&a, v, first, body); err != nil {
			t.Fatal(err)
		}
		if v >= wire.V5 && (a.Reasons[0] != wire.Success || a.Reasons[1] != wire.NoSubscriptionExisted) {
			t.Errorf("reasons %v", a.Reasons)
		}
		c := dial(t, b, v, "device")
		c.publish(wire.Publish{Topic: []byte("a")})
		c.publish(wire.Publish{Topic: []byte("b")})
		if p := sub.message(); string(p.Topic) != "b" {
			t.Errorf("got %q", p.Topic)
		}
	})
}

func TestAFilterThatIsWrongIsRefusedAlone(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		sub := dial(t, b, v, "subscriber")
		var all []wire.Subscription
		for _, f := range []string{"good", "a#", "a/#/b", "$share/g", "$share//a", "$SHARE/g/a", "+a"} {
			all = append(all, wire.Subscription{Filter: f})
		}
		sub.write(wire.AppendSubscribe(nil, v, &wire.Subscribe{PacketID: 5, Subscriptions: all}))
		first, body := sub.next()
		var a wire.Suback
		if err := wire.ParseSuback(&a, v, first, body); err != nil {
			t.Fatal(err)
		}
		want := wire.TopicFilterInvalid
		if v < wire.V5 {
			want = wire.UnspecifiedError
		}
		for i, r := range a.Reasons {
			if i == 0 && r != wire.Success || i > 0 && r != want {
				t.Errorf("%q: %v", all[i].Filter, r)
			}
		}
	})
}

func TestASubscriberGetsAllOfALargeNumberInOrder(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		for _, window := range []uint32{1, 3, 65535} {
			sink := newFakeSink(t)
			b := start(t, sink)
			sub := dial(t, b, v, "subscriber", func(p *wire.Connect) { p.Properties.SetUint(wire.ReceiveMaximum, window) })
			sub.subscribe(wire.Subscription{Filter: "#", QoS: 1})
			c := dial(t, b, v, "device")
			const n = 3000
			c.write(numbered(v, 1, 1, n))
			sink.awaitCount(n)
			if window < n && v >= wire.V5 {
				held := make([]wire.Publish, window)
				for i := range held {
					held[i] = sub.message()
				}
				sub.ping() // no more until one is acknowledged
				for i := range held {
					if string(held[i].Payload) != fmt.Sprint(i+1) {
						t.Fatalf("window %d: message %d is %q", window, i+1, held[i].Payload)
					}
					sub.sendAck(wire.PUBACK, held[i].PacketID)
				}
			}
			first := 1
			if window < n && v >= wire.V5 {
				first += int(window)
			}
			for i := first; i <= n; i++ {
				p := sub.message()
				if string(p.Payload) != fmt.Sprint(i) {
					t.Fatalf("window %d: message %d is %q", window, i, p.Payload)
				}
				sub.sendAck(wire.PUBACK, p.PacketID)
			}
			sub.ping()
		}
	})
}

func TestASubscriberThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxQueuedBytes = 1 << 20 })
	for i, qos := range []uint8{0, 1} {
		sub := dial(t, b, wire.V311, fmt.Sprint("subscriber", i))
		sub.subscribe(wire.Subscription{Filter: "#", QoS: qos})
	}
	c := dial(t, b, wire.V311, "device")
	payload := make([]byte, 10_000)
	for i := 1; i <= 2000; i++ {
		c.publish(wire.Publish{Topic: []byte("t"), Payload: payload, QoS: 1, PacketID: uint16(i)})
		c.ack(wire.PUBACK, uint16(i), wire.Success)
	}
	s := b.Stats()
	if s.DroppedSlow == 0 || s.DroppedQueue == 0 || s.QueuedBytes > 1<<20 {
		t.Errorf("dropped %d at QoS 0 and %d at QoS 1, queued %d bytes", s.DroppedSlow, s.DroppedQueue, s.QueuedBytes)
	}
}

func TestAMessageLargerThanTheClientTakesIsPassedOver(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	sub := dial(t, b, wire.V5, "subscriber", func(p *wire.Connect) { p.Properties.SetUint(wire.MaximumPacketSize, 100) })
	sub.subscribe(wire.Subscription{Filter: "#", QoS: 1})
	c := dial(t, b, wire.V5, "device")
	c.publish(wire.Publish{Topic: []byte("big"), Payload: make([]byte, 200)})
	c.publish(wire.Publish{Topic: []byte("big"), Payload: make([]byte, 200), QoS: 1, PacketID: 1})
	c.publish(wire.Publish{Topic: []byte("small"), Payload: []byte("x"), QoS: 1, PacketID: 2})
	if p := sub.message(); string(p.Topic) != "small" {
		t.Errorf("got %q", p.Topic)
	}
}

func TestTheCacheOfRoutesFollowsSubscriptions(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device")
	send := func() {
		t.Helper()
		c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
		c.ack(wire.PUBACK, 1, wire.Success)
	}
	send()
	for range 3 {
		sub := dial(t, b, wire.V5, "subscriber")
		send()
		sub.subscribe(wire.Subscription{Filter: "a"})
		send()
		sub.message()
		_ = sub.Close()
		sub.awaitGone(b, "subscriber")
		send()
	}
	if n := b.fan.subscribers.Load(); n != 0 {
		t.Errorf("%d sessions are counted as subscribed", n)
	}
}

func TestTheCacheOfRoutesIsBounded(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	dial(t, b, wire.V5, "subscriber").subscribe(wire.Subscription{Filter: "never"})
	for i := range 2 * routesPerShard * len(b.fan.shards) {
		if b.fan.route(fmt.Appendf(nil, "t/%d", i)) != nil {
			t.Fatal("a route to nobody")
		}
	}
	n := 0
	for i := range b.fan.shards {
		n += len(b.fan.shards[i].routes)
	}
	if limit := routesPerShard * len(b.fan.shards); n > limit || n < limit/4 {
		t.Errorf("%d routes are cached, the limit is %d", n, limit)
	}
}

func TestSYSTopicsAreServed(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	sub := dial(t, b, wire.V5, "subscriber")
	sub.subscribe(wire.Subscription{Filter: "$SYS/broker/version"})
	if p := sub.message(); string(p.Topic) != "$SYS/broker/version" || len(p.Payload) == 0 {
		t.Errorf("got %+v", p)
	}
}
