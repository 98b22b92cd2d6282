package broker

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestWhatBreaksTheStandardEndsTheConnectionWithTheReason(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxPacket = 1 << 20 })
	long := bytes.Repeat([]byte("x"), 2<<20)
	pub := func(p wire.Publish) func(v wire.Version) []byte {
		return func(v wire.Version) []byte { return wire.AppendPublish(nil, v, &p) }
	}
	raw := func(b ...byte) func(wire.Version) []byte { return func(wire.Version) []byte { return b } }
	var withID wire.Publish
	withID.Topic = []byte("a")
	withID.Properties.SubscriptionIDs = []uint32{1}
	for _, tc := range []struct {
		name   string
		packet func(v wire.Version) []byte
		reason wire.ReasonCode
		only5  bool
	}{
		{"QoS 3", raw(0x36, 6, 0, 1, 'a', 0, 1, 0), wire.MalformedPacket, false},
		{"DUP at QoS 0", raw(0x38, 4, 0, 1, 'a', 0), wire.MalformedPacket, false},
		{"packet id 0", raw(0x32, 6, 0, 1, 'a', 0, 0, 0), wire.MalformedPacket, false},
		{"a topic longer than the packet", raw(0x30, 3, 0, 9, 'a'), wire.MalformedPacket, false},
		{"a wildcard in a topic", pub(wire.Publish{Topic: []byte("a/#")}), wire.TopicNameInvalid, false},
		{"no topic", pub(wire.Publish{Topic: []byte("")}), wire.ProtocolError, true},
		{"bad UTF-8 in a topic", pub(wire.Publish{Topic: []byte("a\xff")}), wire.MalformedPacket, false},
		{"U+0000 in a topic", pub(wire.Publish{Topic: []byte("a\x00")}), wire.MalformedPacket, false},
		{"an unknown alias", pub(wire.Publish{Alias: 3}), wire.ProtocolError, true},
		{"an alias over the maximum", pub(wire.Publish{Topic: []byte("a"), Alias: 65}), wire.TopicAliasInvalid, true},
		{"a subscription identifier", pub(withID), wire.ProtocolError, true},
		{"five bytes of remaining length", raw(0x30, 0xff, 0xff, 0xff, 0xff, 0x7f), wire.MalformedPacket, false},
		{"a packet over the maximum", pub(wire.Publish{Topic: []byte("a"), Payload: long}), wire.PacketTooLarge, false},
		{"a second CONNECT", func(v wire.Version) []byte {
			return wire.AppendConnect(nil, &wire.Connect{Version: v, ClientID: "x", Clean: true})
		}, wire.ProtocolError, false},
		{"AUTH", raw(0xf0, 0), wire.ProtocolError, false},
		{"a reserved type", raw(0x00, 0), wire.ProtocolError, false},
		{"a CONNACK from a client", raw(0x20, 2, 0, 0), wire.ProtocolError, false},
		{"flags on PINGREQ", raw(0xc1, 0), wire.MalformedPacket, false},
		{"SUBSCRIBE without filters", raw(0x82, 3, 0, 1, 0), wire.ProtocolError, true},
		{"PUBACK of no id", raw(0x40, 2, 0, 0), wire.MalformedPacket, false},
		{"No Local on a shared subscription", func(v wire.Version) []byte {
			return wire.AppendSubscribe(nil, v, &wire.Subscribe{PacketID: 1, Subscriptions: []wire.Subscription{{Filter: "$share/g/a", NoLocal: true}}})
		}, wire.ProtocolError, true},
		{"a session expiry out of nowhere", func(v wire.Version) []byte {
			var d wire.Disconnect
			d.Properties.SetUint(wire.SessionExpiry, 10)
			return wire.AppendDisconnect(nil, v, &d)
		}, wire.ProtocolError, true},
	} {
		for _, v := range versions {
			if tc.only5 && v < wire.V5 {
				continue
			}
			t.Run(tc.name+"/"+v.String(), func(t *testing.T) {
				c := dial(t, b, v, "")
				c.publish(wire.Publish{Topic: []byte("good"), QoS: 1, PacketID: 1})
				c.ack(wire.PUBACK, 1, wire.Success)
				_, _ = c.Conn.Write(tc.packet(v))
				c.disconnected(tc.reason)
			})
		}
	}
	c := dial(t, b, wire.V5, "after")
	c.ping()
}

func TestAGoodMessageBeforeABadPacketIsStored(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device")
	c.write(append(numbered(wire.V5, 1, 1, 1), 0x00, 0x00))
	if g := sink.awaitCount(1)[0]; g.payload != "1" {
		t.Errorf("got %+v", g)
	}
}

func TestConnectsThatAreRefused(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	for _, tc := range []struct {
		name    string
		version wire.Version
		change  func(*wire.Connect)
		reason  wire.ReasonCode
	}{
		{"a session without an id", wire.V311, func(p *wire.Connect) { p.Clean = false }, wire.ClientIdentifierNotValid},
		{"an id that is too long", wire.V5, func(p *wire.Connect) { p.ClientID = string(bytes.Repeat([]byte("x"), 2000)) }, wire.ClientIdentifierNotValid},
		{"extended authentication", wire.V5, func(p *wire.Connect) { p.Properties.SetText(wire.AuthMethod, []byte("SCRAM")) }, wire.BadAuthenticationMethod},
		{"a will with a wildcard", wire.V5, func(p *wire.Connect) { p.Will = &wire.Will{Topic: []byte("a/+")} }, wire.TopicNameInvalid},
		{"a will to $SYS", wire.V5, func(p *wire.Connect) { p.Will = &wire.Will{Topic: []byte("$SYS/x")} }, wire.NotAuthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, b, tc.version, "", tc.change)
			if c.connack.Reason != tc.reason {
				t.Errorf("CONNACK says %v, want %v", c.connack.Reason, tc.reason)
			}
			c.closed()
		})
	}
	t.Run("a version that does not exist", func(t *testing.T) {
		nc, err := net.Dial("tcp", b.address("tcp"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		_, _ = nc.Write([]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 60, 0, 0, 1, 'a'})
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		var buf [64]byte
		if n, _ := nc.Read(buf[:]); n < 4 || buf[0] != 0x20 || buf[3] != byte(wire.UnsupportedProtocolVersion) {
			t.Errorf("got % x", buf[:n])
		}
	})
	for name, bytes := range map[string][]byte{
		"HTTP":              []byte("GET / HTTP/1.1\r\n\r\n"),
		"PUBLISH first":     numbered(wire.V311, 1, 1, 1),
		"another name":      {0x10, 12, 0, 4, 'X', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0},
		"nothing but a TLS": {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", b.address("tcp"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			_, _ = nc.Write(bytes)
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			var buf [64]byte
			if n, err := nc.Read(buf[:]); n > 0 || err == nil || isTimeout(err) {
				t.Errorf("got % x, %v; want the end", buf[:n], err)
			}
		})
	}
	if n := len(sink.got); n > 0 {
		t.Errorf("the sink got %d messages", n)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestPublishingToSYSIsRefusedInItsTurn(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		sink.hold = true
		b := start(t, sink)
		c := dial(t, b, v, "device")
		c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
		c.publish(wire.Publish{Topic: []byte("$SYS/broker/x"), QoS: 1, PacketID: 2})
		c.publish(wire.Publish{Topic: []byte("$SYS/broker/x"), QoS: 0})
		c.publish(wire.Publish{Topic: []byte("$SYS"), QoS: 2, PacketID: 3})
		c.publish(wire.Publish{Topic: []byte("b"), QoS: 1, PacketID: 4})
		sink.awaitCount(2)
		c.ping()
		sink.release()
		refused := wire.NotAuthorized
		if v < wire.V5 {
			refused = wire.Success // 3.1.1 has no way to say so
		}
		c.ack(wire.PUBACK, 1, wire.Success)
		c.ack(wire.PUBACK, 2, refused)
		c.ack(wire.PUBREC, 3, refused)
		c.ack(wire.PUBACK, 4, wire.Success)
		c.publish(wire.Publish{Topic: []byte("$SYS/last"), QoS: 1, PacketID: 5}) // no commit will follow
		c.ack(wire.PUBACK, 5, refused)
		if got := sink.awaitCount(2); len(got) != 2 {
			t.Errorf("the sink got %+v", got)
		}
	})
}

func TestAPayloadOverTheLimitIsReadOverAndPassedOnTruncated(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink, func(c *Config) { c.MaxPayload = 1000 })
		c := dial(t, b, v, "device")
		sub := dial(t, b, v, "subscriber")
		sub.subscribe(wire.Subscription{Filter: "#"})
		for i, size := range []int{1000, 1001, 150_000, 3 << 20, 10} {
			payload := bytes.Repeat([]byte{byte('a' + i)}, size)
			c.publish(wire.Publish{Topic: []byte("t"), Payload: payload, QoS: 1, PacketID: uint16(i + 1)})
			c.ack(wire.PUBACK, uint16(i+1), wire.Success)
			g := sink.awaitCount(i + 1)[i]
			if g.size != size || len(g.payload) != min(size, 1000) || g.payload[0] != byte('a'+i) {
				t.Errorf("size %d: the sink got %d bytes of %d", size, len(g.payload), g.size)
			}
		}
		for _, want := range []int{1000, 10} {
			if p := sub.message(); len(p.Payload) != want {
				t.Errorf("the subscriber got %d bytes, want %d", len(p.Payload), want)
			}
		}
		if n := b.Stats().Oversized; n != 3 {
			t.Errorf("%d oversized messages are counted, want 3", n)
		}
	})
}

func TestAnOversizedMessageThatIsCutOffIsNotPassedOn(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxPayload = 1000 })
	c := dial(t, b, wire.V311, "device")
	whole := wire.AppendPublish(nil, wire.V311, &wire.Publish{Topic: []byte("t"), Payload: make([]byte, 1<<20), QoS: 1, PacketID: 1})
	c.write(whole[:len(whole)-1])
	_ = c.Close()
	c = dial(t, b, wire.V311, "device")
	c.publish(wire.Publish{Topic: []byte("end"), QoS: 1, PacketID: 1})
	c.ack(wire.PUBACK, 1, wire.Success)
	if g := sink.awaitCount(1); len(g) != 1 || g[0].topic != "end" {
		t.Errorf("the sink got %+v", g)
	}
}

func TestTopicAliases(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device")
	if n := c.connack.Limits().TopicAliasMaximum; n != topicAliases {
		t.Fatalf("CONNACK says topic alias maximum %d", n)
	}
	for i, p := range []wire.Publish{
		{Topic: []byte("first"), Alias: 1}, {Alias: 1}, {Topic: []byte("second"), Alias: 2}, {Alias: 1}, {Topic: []byte("third"), Alias: 1}, {Alias: 1}, {Alias: 2},
	} {
		p.QoS, p.PacketID = 1, uint16(i+1)
		c.publish(p)
	}
	want := []string{"first", "first", "second", "first", "third", "third", "second"}
	for i, g := range sink.awaitCount(len(want)) {
		if g.topic != want[i] {
			t.Errorf("message %d has topic %q, want %q", i, g.topic, want[i])
		}
	}
}

func TestPacketsInPiecesOfAnySize(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7, 4096, 65535} {
		sink := newFakeSink(t)
		b := start(t, sink)
		c := dial(t, b, wire.V5, "device")
		stream := numbered(wire.V5, 1, 1, 20)
		stream = wire.AppendPublish(stream, wire.V5, &wire.Publish{Topic: []byte("big"), Payload: make([]byte, 300_000), QoS: 1, PacketID: 100})
		stream = append(stream, numbered(wire.V5, 1, 21, 20)...)
		if size < 100 { // byte by byte, the large one would take for ever
			stream = append(numbered(wire.V5, 1, 1, 20), numbered(wire.V5, 1, 21, 20)...)
		}
		go func() {
			for len(stream) > 0 {
				n := min(size, len(stream))
				if _, err := c.Conn.Write(stream[:n]); err != nil {
					return
				}
				stream = stream[n:]
			}
		}()
		for i := 1; i <= 40; i++ {
			if i == 21 && size >= 100 {
				c.ack(wire.PUBACK, 100, wire.Success)
			}
			c.ack(wire.PUBACK, uint16(i), wire.Success)
		}
	}
}
