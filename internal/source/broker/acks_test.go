package broker

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func numbered(v wire.Version, qos uint8, from, n int) []byte {
	var b []byte
	for i := from; i < from+n; i++ {
		b = wire.AppendPublish(b, v, &wire.Publish{Topic: []byte("t"), Payload: []byte(fmt.Sprint(i)), QoS: qos, PacketID: uint16(i)})
	}
	return b
}

func TestOneClientSendsThousandsWithoutWaiting(t *testing.T) {
	const n = 5000
	eachVersion(t, func(t *testing.T, v wire.Version) {
		for _, qos := range []uint8{1, 2} {
			t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
				sink := newFakeSink(t)
				sink.hold = true
				b := start(t, sink)
				c := dial(t, b, v, "device")
				c.write(numbered(v, qos, 1, n))
				for i, g := range sink.awaitCount(n) {
					if g.payload != fmt.Sprint(i+1) || g.id != uint16(i+1) {
						t.Fatalf("message %d is %+v", i+1, g)
					}
				}
				c.ping() // not one of them is acknowledged
				sink.release()
				kind := wire.PUBACK
				if qos == 2 {
					kind = wire.PUBREC
				}
				for i := 1; i <= n; i++ {
					c.ack(kind, uint16(i), wire.Success)
				}
				if qos == 1 {
					return
				}
				var rel []byte
				for i := 1; i <= n; i++ {
					rel = wire.AppendAck(rel, wire.PUBREL, uint16(i))
				}
				c.write(rel)
				for i := 1; i <= n; i++ {
					c.ack(wire.PUBCOMP, uint16(i), wire.Success)
				}
			})
		}
	})
}

func TestA311ClientWithTooMuchInFlightIsNotReadUntilTheCommit(t *testing.T) {
	sink := newFakeSink(t)
	sink.hold = true
	b := start(t, sink, func(c *Config) { c.MaxInflight = 100 })
	c := dial(t, b, wire.V311, "device")
	const n = 60_000 // far more than one read brings
	go func() { _, _ = c.Conn.Write(numbered(wire.V311, 1, 1, n)) }()
	sink.awaitCount(100)
	sink.never("the socket is read on", func() bool { return len(sink.got) > 100+readBufferSize/7 })
	sink.release()
	for i := 1; i <= n; i++ {
		c.ack(wire.PUBACK, uint16(i), wire.Success)
	}
}

func TestAnMQTT5ClientOverItsReceiveMaximumIsDisconnected(t *testing.T) {
	for _, qos := range []uint8{1, 2} {
		sink := newFakeSink(t)
		sink.hold = true
		b := start(t, sink, func(c *Config) { c.MaxInflight = 10 })
		c := dial(t, b, wire.V5, "device")
		if got := c.connack.Limits().ReceiveMaximum; got != 10 {
			t.Fatalf("CONNACK says receive maximum %d", got)
		}
		c.write(numbered(wire.V5, qos, 1, 10))
		c.ping()
		c.write(numbered(wire.V5, qos, 11, 1))
		c.disconnected(wire.ReceiveMaximumExceeded)
	}
}

func TestTheReceiveMaximumCountsWhatIsNotFinished(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxInflight = 2 })
	c := dial(t, b, wire.V5, "device")
	for round := range 5 {
		id := uint16(round*2 + 1)
		c.write(numbered(wire.V5, 2, int(id), 2))
		c.ack(wire.PUBREC, id, wire.Success)
		c.ack(wire.PUBREC, id+1, wire.Success)
		c.sendAck(wire.PUBREL, id)
		c.ack(wire.PUBCOMP, id, wire.Success)
		c.sendAck(wire.PUBREL, id+1)
		c.ack(wire.PUBCOMP, id+1, wire.Success)
	}
	c.write(numbered(wire.V5, 2, 50, 2))
	c.ack(wire.PUBREC, 50, wire.Success)
	c.ack(wire.PUBREC, 51, wire.Success)
	c.publish(wire.Publish{Topic: []byte("t"), QoS: 1, PacketID: 52}) // PUBREC gives nothing back, PUBCOMP does
	c.disconnected(wire.ReceiveMaximumExceeded)
}

func TestBackPressureStopsOneSocketAndTheOthersGoOn(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V311, "device")
	c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
	c.ack(wire.PUBACK, 1, wire.Success)
	sink.set(func() { sink.full = true })
	c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 2})
	other := dial(t, b, wire.V5, "other")
	other.subscribe(wire.Subscription{Filter: "x"})
	other.ping()
	sink.set(func() { sink.full = false })
	c.ack(wire.PUBACK, 2, wire.Success)
}

func TestAClientThatGoesWhileTheSinkIsFullIsLetGo(t *testing.T) {
	sink := newFakeSink(t)
	sink.full = true
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device")
	c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
	sink.awaitEvent("open broker:device")
	again := dial(t, b, wire.V5, "device")
	c.disconnected(wire.SessionTakenOver)
	sink.set(func() { sink.full = false })
	again.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1, Dup: true})
	again.ack(wire.PUBACK, 1, wire.Success)
}

func TestARedeliveredQoS2MessageIsAcknowledgedAgainAndForwardedOnce(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		sub := dial(t, b, v, "subscriber")
		sub.subscribe(wire.Subscription{Filter: "#", QoS: 2})
		c := dial(t, b, v, "device", keepSession)
		m := wire.Publish{Topic: []byte("a"), Payload: []byte("once"), QoS: 2, PacketID: 5}
		c.publish(m)
		c.ack(wire.PUBREC, 5, wire.Success)
		m.Dup = true
		c.publish(m)
		c.ack(wire.PUBREC, 5, wire.Success)
		_ = c.Close()
		c = dial(t, b, v, "device", keepSession)
		if !c.connack.SessionPresent {
			t.Fatal("the session is gone")
		}
		c.publish(m)
		c.ack(wire.PUBREC, 5, wire.Success)
		c.sendAck(wire.PUBREL, 5)
		c.ack(wire.PUBCOMP, 5, wire.Success)
		c.publish(wire.Publish{Topic: []byte("b"), QoS: 2, PacketID: 5}) // the id is free again
		c.ack(wire.PUBREC, 5, wire.Success)
		if p := sub.message(); string(p.Topic) != "a" {
			t.Errorf("first message on %q", p.Topic)
		}
		if p := sub.message(); string(p.Topic) != "b" {
			t.Errorf("second message on %q: the first was forwarded twice", p.Topic)
		}
		if n := len(sink.awaitCount(4)); n != 4 {
			t.Errorf("the sink, whose ledger decides, got %d messages", n)
		}
	})
}

func TestPubrelOfAnUnknownID(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		c := dial(t, b, v, "device")
		c.sendAck(wire.PUBREL, 9)
		reason := wire.Success
		if v >= wire.V5 {
			reason = wire.PacketIdentifierNotFound
		}
		c.ack(wire.PUBCOMP, 9, reason)
	})
}

func TestTakeoverClosesTheOldSessionBeforeTheNewOneOpens(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t) // it fails the test when a key is opened twice
		sink.hold = true
		b := start(t, sink)
		old := dial(t, b, v, "device", keepSession)
		old.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
		sink.awaitCount(1)
		c := dial(t, b, v, "device", keepSession)
		old.disconnected(wire.SessionTakenOver)
		if !c.connack.SessionPresent {
			t.Error("the session did not go over")
		}
		c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1, Dup: true})
		sink.awaitCount(2)
		sink.release()
		c.ack(wire.PUBACK, 1, wire.Success)
		c.ping()
		want := "open broker:device|reset broker:device|close broker:device|open broker:device"
		sink.set(func() {
			if got := strings.Join(sink.events, "|"); got != want {
				t.Errorf("events %s, want %s", got, want)
			}
		})
	})
}

func TestTakeoverWaitsForTheOldSessionToClose(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	old := dial(t, b, wire.V5, "device", keepSession)
	old.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
	old.ack(wire.PUBACK, 1, wire.Success)
	sink.set(func() { sink.stay = true })
	nc, err := net.Dial("tcp", b.address("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	p := wire.Connect{Version: wire.V5, ClientID: "device"}
	if _, err := nc.Write(append(wire.AppendConnect(nil, &p), numbered(wire.V5, 1, 1, 1)...)); err != nil {
		t.Fatal(err)
	}
	sink.await("the old session's Close", func() bool { return sink.closing })
	sink.never("the new session is open before the old one is closed", func() bool { return len(sink.got) > 1 })
	sink.set(func() { sink.stay = false })
	sink.awaitCount(2)
}

func TestManyConnectionsFightForOneClientID(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 20 {
				nc, err := net.Dial("tcp", b.address("tcp"))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = nc.Write(wire.AppendConnect(nil, &wire.Connect{Version: wire.V5, ClientID: "one", Clean: true}))
				first, _, err := wire.NewReader(nc, 1<<20).Next()
				if err == nil && wire.PacketType(first>>4) != wire.CONNACK {
					t.Errorf("the first packet is %v", wire.PacketType(first>>4))
				}
				_, _ = nc.Write(numbered(wire.V5, 1, 1, 3))
				defer func() { _ = nc.Close() }()
			}
		}()
	}
	for range 8 {
		<-done
	}
	c := dial(t, b, wire.V5, "one")
	c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
	c.ack(wire.PUBACK, 1, wire.Success)
}

func TestResetIsToldWhenTheSessionIsGone(t *testing.T) {
	resets := func(f *fakeSink) (n int) {
		f.set(func() {
			for _, e := range f.events {
				if strings.HasPrefix(e, "reset") {
					n++
				}
			}
		})
		return n
	}
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		say := func(c *client, id uint16) {
			t.Helper()
			c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: id})
			c.ack(wire.PUBACK, id, wire.Success)
		}
		leave := func(c *client) {
			c.write(wire.AppendDisconnect(nil, v, &wire.Disconnect{}))
			c.closed()
		}
		c := dial(t, b, v, "d", keepSession)
		say(c, 1)
		if n := resets(sink); n != 1 {
			t.Errorf("%d resets when a session begins, want 1", n)
		}
		leave(c)
		c = dial(t, b, v, "d", keepSession)
		say(c, 2)
		if n := resets(sink); n != 1 {
			t.Errorf("%d resets after a resume, want 1", n)
		}
		leave(c)
		c = dial(t, b, v, "d", keepSession, func(p *wire.Connect) { p.Clean = true })
		leave(c) // no message: the reset must not be forgotten
		if v < wire.V5 {
			return
		}
		c = dial(t, b, v, "d", keepSession)
		if !c.connack.SessionPresent {
			t.Fatal("the session is gone")
		}
		say(c, 3)
		if n := resets(sink); n != 2 {
			t.Errorf("%d resets after a clean start without messages, want 2", n)
		}
		leave(c)
		c = dial(t, b, v, "d") // clean, no expiry: ends with the connection
		say(c, 4)
		leave(c)
		sink.await("a reset at the end of the session", func() bool {
			n := len(sink.events)
			return n > 1 && sink.events[n-1] == "close broker:d" && sink.events[n-2] == "reset broker:d"
		})
	})
}

func TestClientsWithoutAnIDShareTheirSessions(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	seen := map[string]bool{}
	for range 5 {
		c := dial(t, b, wire.V311, "")
		c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
		c.ack(wire.PUBACK, 1, wire.Success)
		c.write(wire.AppendDisconnect(nil, wire.V311, &wire.Disconnect{}))
		c.closed()
	}
	for _, g := range sink.awaitCount(5) {
		seen[g.key] = true
	}
	if len(seen) > 2 { // the next may begin before the last has quite ended
		t.Errorf("%d sessions for one client at a time: %v", len(seen), seen)
	}
	c := dial(t, b, wire.V5, "")
	if id := c.connack.Properties.Text(wire.AssignedClientID); len(id) < 10 {
		t.Errorf("assigned client id is %q", id)
	}
}

func TestTheSinkLearnsWhichAcknowledgementsArrived(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxInflight = 16 })
	c := dial(t, b, wire.V5, "device")
	for i := 1; i <= 60; i++ {
		c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: uint16(i)})
		c.ack(wire.PUBACK, uint16(i), wire.Success)
	}
	sink.await("a Confirm", func() bool {
		for _, e := range sink.events {
			var upTo int
			if n, _ := fmt.Sscanf(e, "confirm broker:device %d", &upTo); n == 1 && upTo+16 > 60 {
				t.Errorf("%s, although 16 may be in flight", e)
			}
		}
		return strings.Contains(strings.Join(sink.events, " "), "confirm broker:device 3")
	})
}

func TestStopWaitsForAcknowledgementsAndSaysGoodbye(t *testing.T) {
	sink := newFakeSink(t)
	sink.hold = true
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device")
	c.write(numbered(wire.V5, 1, 1, 500))
	sink.awaitCount(500)
	stopped := make(chan error)
	go func() { stopped <- b.Stop(t.Context()) }()
	for !b.stopping.Load() {
		sink.set(func() {})
	}
	sink.release()
	for i := 1; i <= 500; i++ {
		c.ack(wire.PUBACK, uint16(i), wire.Success)
	}
	c.disconnected(wire.ServerShuttingDown)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if len(sink.open) > 0 {
		t.Errorf("sessions are left open: %v", sink.open)
	}
}
