package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestASessionIsResumedWithWhatItMissed(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		sub := dial(t, b, v, "subscriber", keepSession)
		if sub.connack.SessionPresent {
			t.Fatal("a session is there from the start")
		}
		sub.subscribe(wire.Subscription{Filter: "#", QoS: 2})
		c := dial(t, b, v, "device")
		publish := func(from, n int, qos uint8) {
			t.Helper()
			c.write(numbered(v, qos, from, n))
			for i := from; i < from+n; i++ {
				if qos == 1 {
					c.ack(wire.PUBACK, uint16(i), wire.Success)
				} else {
					c.ack(wire.PUBREC, uint16(i), wire.Success)
				}
			}
		}
		publish(1, 3, 2)
		first, second, third := sub.message(), sub.message(), sub.message()
		sub.sendAck(wire.PUBREC, first.PacketID)
		sub.ack(wire.PUBREL, first.PacketID, wire.Success)
		sub.sendAck(wire.PUBREC, second.PacketID)
		sub.ack(wire.PUBREL, second.PacketID, wire.Success)
		sub.sendAck(wire.PUBCOMP, second.PacketID)
		sub.ping()
		_ = sub.Close()
		sub.awaitGone(b, "subscriber")
		publish(10, 200, 1)
		c.publish(wire.Publish{Topic: []byte("t"), Payload: []byte("QoS 0 is not kept")})
		c.ping()

		sub = dial(t, b, v, "subscriber", keepSession)
		if !sub.connack.SessionPresent {
			t.Fatal("the session is gone")
		}
		sub.ack(wire.PUBREL, first.PacketID, wire.Success)
		sub.sendAck(wire.PUBCOMP, first.PacketID)
		p := sub.message()
		if p.PacketID != third.PacketID || !p.Dup || string(p.Payload) != "3" || p.QoS != 2 {
			t.Errorf("what was in flight comes as %+v", p)
		}
		sub.sendAck(wire.PUBREC, p.PacketID)
		for i := 10; i < 210; i++ {
			first, body := sub.next()
			if wire.PacketType(first>>4) == wire.PUBREL {
				sub.sendAck(wire.PUBCOMP, p.PacketID)
				first, body = sub.next()
			}
			var m wire.Publish
			if err := wire.ParsePublish(&m, v, first, body); err != nil || string(m.Payload) != fmt.Sprint(i) || m.Dup {
				t.Fatalf("message %d is %+v, %v", i, m, err)
			}
			sub.sendAck(wire.PUBACK, m.PacketID)
		}
	})
}

func TestCleanStartForgetsTheSession(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		sub := dial(t, b, v, "subscriber", keepSession)
		sub.subscribe(wire.Subscription{Filter: "#", QoS: 1})
		_ = sub.Close()
		sub.awaitGone(b, "subscriber")
		c := dial(t, b, v, "device")
		c.write(numbered(v, 1, 1, 5))
		sink.awaitCount(5)
		sub = dial(t, b, v, "subscriber")
		if sub.connack.SessionPresent {
			t.Error("a clean start finds a session")
		}
		sub.ping()
		c.write(numbered(v, 1, 6, 1))
		sink.awaitCount(6)
		sub.ping()
		if n := b.Stats().QueuedBytes; n != 0 {
			t.Errorf("%d bytes wait for nobody", n)
		}
	})
}

func TestASessionEndsWithItsExpiry(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	sub := dial(t, b, wire.V5, "subscriber", func(p *wire.Connect) {
		p.Clean = false
		p.Properties.SetUint(wire.SessionExpiry, 1)
	})
	sub.subscribe(wire.Subscription{Filter: "#", QoS: 1})
	_ = sub.Close()
	for deadline := time.Now().Add(patience); b.Stats().Sessions > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the session does not end")
		}
	}
	if n := b.fan.subscribers.Load(); n != 0 {
		t.Errorf("%d sessions are counted as subscribed", n)
	}
	sub = dial(t, b, wire.V5, "subscriber", keepSession)
	if sub.connack.SessionPresent {
		t.Error("the session came back")
	}
}

func TestDisconnectMayShortenTheExpiry(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "client", keepSession)
	var d wire.Disconnect
	d.Properties.SetUint(wire.SessionExpiry, 0)
	c.write(wire.AppendDisconnect(nil, wire.V5, &d))
	c.closed()
	c.awaitGone(b, "client")
	if n := b.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestKeepAliveEndsASilentConnection(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		c := dial(t, b, v, "silent", func(p *wire.Connect) { p.KeepAlive = 1 })
		began := time.Now()
		c.disconnected(wire.KeepAliveTimeout)
		if took := time.Since(began); took < time.Second {
			t.Errorf("closed after %v, before the keep alive was over", took)
		}
	})
}

func TestBackPressureDoesNotLookLikeSilence(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device", func(p *wire.Connect) { p.KeepAlive = 1 })
	sink.set(func() { sink.full = true })
	c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
	sink.awaitEvent("open broker:device")
	for range 4 { // it speaks in time, and nobody reads it
		time.Sleep(500 * time.Millisecond)
		c.write(wire.AppendPingreq(nil))
	}
	sink.set(func() { sink.full = false })
	answers := map[wire.PacketType]int{}
	for range 5 {
		first, _ := c.next()
		answers[wire.PacketType(first>>4)]++
	}
	if answers[wire.PUBACK] != 1 || answers[wire.PINGRESP] != 4 {
		t.Errorf("answers %v", answers)
	}
}

func TestTheServerSetsTheKeepAlive(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxKeepAlive = 30 * time.Second })
	for asked, want := range map[uint16]uint32{0: 30, 10: 0, 60: 30} {
		c := dial(t, b, wire.V5, "", func(p *wire.Connect) { p.KeepAlive = asked })
		if got, _ := c.connack.Properties.Uint(wire.ServerKeepAlive); got != want {
			t.Errorf("asked for %d, CONNACK says %d, want %d", asked, got, want)
		}
	}
}

func TestOneTooManyIsRefused(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxClients = 2 })
	dial(t, b, wire.V5, "a")
	dial(t, b, wire.V311, "b")
	if c := dialRaw(t, b, wire.V5, "c"); c.connack.Reason != wire.ServerBusy {
		t.Errorf("MQTT 5 gets %v", c.connack.Reason)
	}
	if c := dialRaw(t, b, wire.V311, "d"); c.connack.Reason != wire.ServerUnavailable {
		t.Errorf("MQTT 3.1.1 gets %v", c.connack.Reason)
	}
	dial(t, b, wire.V5, "a") // takes its own place
}
