package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// reencode parses a packet of any type and appends it again.
func reencode(v Version, first byte, body []byte) ([]byte, error) {
	switch PacketType(first >> 4) {
	case CONNECT:
		var p Connect
		if err := ParseConnect(&p, first, body); err != nil {
			return nil, err
		}
		return AppendConnect(nil, &p), nil
	case CONNACK:
		var p Connack
		if err := ParseConnack(&p, v, first, body); err != nil {
			return nil, err
		}
		return AppendConnack(nil, v, &p), nil
	case PUBLISH:
		var p Publish
		if err := ParsePublish(&p, v, first, body); err != nil {
			return nil, err
		}
		return AppendPublish(nil, v, &p), nil
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		var p Ack
		if err := ParseAck(&p, v, first, body); err != nil {
			return nil, err
		}
		return AppendAckReason(nil, &p), nil
	case SUBSCRIBE:
		var p Subscribe
		if err := ParseSubscribe(&p, v, first, body); err != nil {
			return nil, err
		}
		return AppendSubscribe(nil, v, &p), nil
	case SUBACK:
		var p Suback
		if err := ParseSuback(&p, v, first, body); err != nil {
			return nil, err
		}
		return AppendSuback(nil, v, &p), nil
	case UNSUBSCRIBE:
		var p Unsubscribe
		if err := ParseUnsubscribe(&p, v, first, body); err != nil {
			return nil, err
		}
		return AppendUnsubscribe(nil, v, &p), nil
	case UNSUBACK:
		var p Suback
		if err := ParseUnsuback(&p, v, first, body); err != nil {
			return nil, err
		}
		return AppendUnsuback(nil, v, &p), nil
	case PINGREQ, PINGRESP:
		if err := ParsePing(first, body); err != nil {
			return nil, err
		}
		return []byte{first, 0}, nil
	case DISCONNECT, AUTH:
		var p Disconnect
		if err := ParseDisconnect(&p, v, first, body); err != nil {
			return nil, err
		}
		return appendReasoned(nil, v, PacketType(first>>4), &p), nil
	}
	return nil, ErrPacketType
}

// split cuts the first packet off b.
func split(tb testing.TB, b []byte) (first byte, body []byte) {
	tb.Helper()
	h, n, err := ReadHeader(b)
	if err != nil || n == 0 || n+h.Remaining != len(b) {
		tb.Fatalf("header of %x: %+v size %d of %d: %v", b, h, n, len(b), err)
	}
	return h.First, b[n:]
}

var (
	genID    = rapid.Map(rapid.Uint16Min(1), func(v uint16) uint16 { return v })
	genText  = rapid.Map(rapid.StringN(0, 20, -1), func(s string) string { return strings.ReplaceAll(s, "\x00", "") })
	genBytes = rapid.SliceOfN(rapid.Byte(), 0, 40)
)

// drawProperties draws any properties that may stand in the packet.
func drawProperties(t *rapid.T, p *Properties, packet PacketType) {
	for id := PropertyID(1); id < propertyLimit; id++ {
		if rules[id].in>>packet&1 == 0 || !rapid.Bool().Draw(t, "has") || id == TopicAlias {
			continue
		}
		switch rules[id].kind {
		case kindFlag:
			p.SetUint(id, uint32(rapid.IntRange(0, 1).Draw(t, "flag")))
		case kindUint16:
			p.SetUint(id, uint32(rapid.Uint16Min(1).Draw(t, "u16")))
		case kindUint32:
			p.SetUint(id, rapid.Uint32Min(1).Draw(t, "u32"))
		case kindText:
			p.SetText(id, []byte(genText.Draw(t, "text")))
		case kindBinary:
			p.SetText(id, genBytes.Draw(t, "bytes"))
		case kindVarint:
			p.SubscriptionIDs = append(p.SubscriptionIDs, rapid.Uint32Range(1, MaxRemaining).Draw(t, "sid"))
		case kindPair:
			for range rapid.IntRange(0, 3).Draw(t, "users") {
				p.Users = append(p.Users, User{[]byte(genText.Draw(t, "k")), []byte(genText.Draw(t, "v"))})
			}
		}
	}
}

func TestEveryPacketComesBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SampledFrom([]Version{V311, V5}).Draw(t, "version")
		props := func(p *Properties, packet PacketType) {
			if v == V5 {
				drawProperties(t, p, packet)
			}
		}
		check := func(b []byte) {
			h, n, err := ReadHeader(b)
			if err != nil || n == 0 || n+h.Remaining != len(b) {
				t.Fatalf("header of %x: %+v, %d: %v", b, h, n, err)
			}
			again, err := reencode(v, h.First, b[n:])
			if err != nil {
				t.Fatalf("parse %x: %v", b, err)
			}
			if !bytes.Equal(b, again) {
				t.Fatalf("%x came back as %x", b, again)
			}
		}

		p := Publish{
			Topic: []byte(genText.Filter(func(s string) bool { return s != "" }).Draw(t, "topic")), Payload: genBytes.Draw(t, "payload"),
			QoS: uint8(rapid.IntRange(0, 2).Draw(t, "qos")), Retain: rapid.Bool().Draw(t, "retain"),
		}
		if p.QoS > 0 {
			p.PacketID = genID.Draw(t, "id")
			p.Dup = rapid.Bool().Draw(t, "dup")
		}
		if v == V5 {
			p.Alias = rapid.Uint16().Draw(t, "alias")
		}
		props(&p.Properties, PUBLISH)
		b := AppendPublish(nil, v, &p)
		check(b)
		var q Publish
		h, n, _ := ReadHeader(b)
		if err := ParsePublish(&q, v, h.First, b[n:]); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Topic, q.Topic) || !bytes.Equal(p.Payload, q.Payload) || p.PacketID != q.PacketID || p.QoS != q.QoS ||
			p.Dup != q.Dup || p.Retain != q.Retain || p.Alias != q.Alias || v == V5 && !p.Properties.Equal(&q.Properties) {
			t.Fatalf("%+v came back as %+v", p, q)
		}

		c := Connect{Version: v, Clean: rapid.Bool().Draw(t, "clean"), KeepAlive: rapid.Uint16().Draw(t, "keep"), ClientID: genText.Draw(t, "cid")}
		props(&c.Properties, CONNECT)
		if c.HasUser = rapid.Bool().Draw(t, "user"); c.HasUser {
			c.Username = genText.Draw(t, "name")
			if c.HasPass = rapid.Bool().Draw(t, "pass"); c.HasPass {
				c.Password = genBytes.Draw(t, "password")
			}
		}
		if rapid.Bool().Draw(t, "will") {
			c.Will = &Will{Topic: []byte(genText.Draw(t, "wt")), Payload: genBytes.Draw(t, "wp"), QoS: uint8(rapid.IntRange(0, 2).Draw(t, "wq"))}
			props(&c.Will.Properties, will)
		}
		check(AppendConnect(nil, &c))

		ca := Connack{Reason: rapid.SampledFrom([]ReasonCode{Success, NotAuthorized, BadUserNameOrPassword}).Draw(t, "reason")}
		ca.SessionPresent = ca.Reason == Success && rapid.Bool().Draw(t, "present")
		props(&ca.Properties, CONNACK)
		check(AppendConnack(nil, v, &ca))

		for _, pt := range []PacketType{PUBACK, PUBREC, PUBREL, PUBCOMP} {
			a := Ack{Type: pt, PacketID: genID.Draw(t, "id")}
			if v == V5 {
				a.Reason = ReasonCode(rapid.Byte().Draw(t, "reason"))
			}
			props(&a.Properties, pt)
			check(AppendAckReason(nil, &a))
		}

		s := Subscribe{PacketID: genID.Draw(t, "id")}
		u := Unsubscribe{PacketID: s.PacketID}
		sa := Suback{PacketID: s.PacketID}
		for range rapid.IntRange(1, 4).Draw(t, "filters") {
			f := Subscription{Filter: genText.Draw(t, "filter"), QoS: uint8(rapid.IntRange(0, 2).Draw(t, "q"))}
			if v == V5 {
				f.NoLocal = rapid.Bool().Draw(t, "nl")
				f.RetainAsPublished = rapid.Bool().Draw(t, "rap")
				f.RetainHandling = uint8(rapid.IntRange(0, 2).Draw(t, "rh"))
			}
			s.Subscriptions = append(s.Subscriptions, f)
			u.Filters = append(u.Filters, f.Filter)
			sa.Reasons = append(sa.Reasons, ReasonCode(f.QoS))
		}
		props(&s.Properties, SUBSCRIBE)
		props(&u.Properties, UNSUBSCRIBE)
		props(&sa.Properties, SUBACK)
		check(AppendSubscribe(nil, v, &s))
		check(AppendUnsubscribe(nil, v, &u))
		check(AppendSuback(nil, v, &sa))
		check(AppendUnsuback(nil, v, &sa))

		var d Disconnect
		if v == V5 {
			d.Reason = ReasonCode(rapid.Byte().Draw(t, "reason"))
		}
		props(&d.Properties, DISCONNECT)
		check(AppendDisconnect(nil, v, &d))
	})
}

func FuzzPacketsNeverPanicAndComeBack(f *testing.F) {
	p := Publish{Topic: []byte("a/b"), Payload: []byte("21.5"), QoS: 1, PacketID: 7, Alias: 3}
	p.Properties.Users = []User{{[]byte("k"), []byte("v")}}
	p.Properties.SetUint(MessageExpiry, 60)
	f.Add(true, AppendPublish(nil, V5, &p))
	f.Add(false, AppendPublish(nil, V311, &p))
	f.Add(true, AppendConnect(nil, &Connect{Version: V5, ClientID: "c", HasUser: true, Username: "u"}))
	f.Add(false, AppendConnect(nil, &Connect{Version: V311, ClientID: "c", Will: &Will{Topic: []byte("w")}}))
	f.Add(true, AppendSubscribe(nil, V5, &Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: "a/#", QoS: 1}}}))
	f.Add(true, AppendSuback(nil, V5, &Suback{PacketID: 1, Reasons: []ReasonCode{0, 0x87}}))
	f.Add(true, AppendDisconnect(nil, V5, &Disconnect{Reason: SessionTakenOver}))
	f.Add(false, AppendAck(nil, PUBREL, 9))
	f.Fuzz(func(t *testing.T, v5 bool, b []byte) {
		v := V311
		if v5 {
			v = V5
		}
		h, n, err := ReadHeader(b)
		if err != nil || n == 0 {
			return
		}
		body := b[n:]
		if h.Remaining <= len(body) {
			body = body[:h.Remaining]
		}
		first, err := reencode(v, h.First, body)
		if err != nil {
			var we *Error
			if !errors.As(err, &we) || we.Clause == "" {
				t.Fatalf("error without a clause: %v", err)
			}
			return
		}
		h, n, err = ReadHeader(first)
		if err != nil || n == 0 || n+h.Remaining != len(first) {
			t.Fatalf("%x was written as %x, whose header is wrong: %v", b, first, err)
		}
		second, err := reencode(v, h.First, first[n:])
		if err != nil {
			t.Fatalf("%x was written as %x, which is refused: %v", b, first, err)
		}
		if !bytes.Equal(first, second) {
			t.Fatalf("%x was written as %x and then as %x", b, first, second)
		}
	})
}

func TestWhatBreaksAClauseIsRefusedByItsName(t *testing.T) {
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	for _, c := range []struct {
		name string
		v    Version
		in   []byte
		want error
	}{
		{"publish with QoS 3", V311, []byte{0x36, 5, 0, 1, 'a', 0, 1}, ErrQoS},
		{"publish at QoS 0 with DUP", V311, []byte{0x38, 3, 0, 1, 'a'}, ErrDupQoS0},
		{"publish with packet id 0", V311, []byte{0x32, 5, 0, 1, 'a', 0, 0}, ErrPacketIDZero},
		{"publish whose topic is longer than the packet", V311, []byte{0x30, 3, 0, 9, 'a'}, ErrTruncated},
		{"publish without a packet id", V311, []byte{0x32, 3, 0, 1, 'a'}, ErrTruncated},
		{"publish of no bytes", V311, []byte{0x30, 0}, ErrTruncated},
		{"publish 5 without properties", V5, []byte{0x30, 3, 0, 1, 'a'}, ErrTruncated},
		{"publish 5 with properties past its end", V5, []byte{0x30, 4, 0, 1, 'a', 9}, ErrTruncated},
		{"publish 5 with an unknown property", V5, []byte{0x30, 6, 0, 1, 'a', 2, 0x7e, 1}, ErrPropertyUnknown},
		{"publish 5 with a property of CONNACK", V5, []byte{0x30, 6, 0, 1, 'a', 2, 0x24, 1}, ErrPropertyUnknown},
		{"publish 5 with a property twice", V5, []byte{0x30, 8, 0, 1, 'a', 4, 1, 0, 1, 0}, ErrPropertyTwice},
		{"publish 5 with payload format 2", V5, []byte{0x30, 6, 0, 1, 'a', 2, 1, 2}, ErrPropertyValue},
		{"publish 5 with topic alias 0", V5, []byte{0x30, 7, 0, 1, 'a', 3, 0x23, 0, 0}, ErrTopicAliasZero},
		{"publish 5 with neither topic nor alias", V5, []byte{0x30, 3, 0, 0, 0}, ErrTopicAliasUnknown},
		{"publish 5 with subscription identifier 0", V5, []byte{0x30, 6, 0, 1, 'a', 2, 0x0b, 0}, ErrPropertyValue},
		{"publish 5 whose property length is too long", V5, []byte{0x30, 8, 0, 1, 'a', 0xff, 0xff, 0xff, 0xff, 1}, ErrPropertyLength},
		{"publish 5 whose property length has a zero too many", V5, []byte{0x30, 5, 0, 1, 'a', 0x80, 0}, ErrPropertyLength},
		{"publish 5 with a user property that is not UTF-8", V5, []byte{0x30, 10, 0, 1, 'a', 6, 0x26, 0, 1, 0xff, 0, 0}, ErrUTF8},
		{"publish 5 with a user property that holds U+0000", V5, []byte{0x30, 10, 0, 1, 'a', 6, 0x26, 0, 1, 0, 0, 0}, ErrUTF8Null},
		{"connack with reserved flags", V311, []byte{0x20, 2, 2, 0}, ErrConnackFlags},
		{"connack that refuses with a session", V311, []byte{0x20, 2, 1, 5}, ErrSessionPresent},
		{"connack of one byte", V311, []byte{0x20, 1, 0}, ErrTruncated},
		{"connack with receive maximum 0", V5, []byte{0x20, 6, 0, 0, 3, 0x21, 0, 0}, ErrPropertyValue},
		{"puback with flags", V311, []byte{0x41, 2, 0, 1}, ErrFlags},
		{"pubrel without its flags", V311, []byte{0x60, 2, 0, 1}, ErrFlags},
		{"puback 3.1.1 with a reason", V311, []byte{0x40, 3, 0, 1, 0}, ErrTrailingBytes},
		{"puback of packet id 0", V311, []byte{0x40, 2, 0, 0}, ErrPacketIDZero},
		{"subscribe without filters", V311, []byte{0x82, 2, 0, 1}, ErrSubscribeEmpty},
		{"subscribe with QoS 3", V311, []byte{0x82, 6, 0, 1, 0, 1, 'a', 3}, ErrSubscribeOptions},
		{"subscribe 3.1.1 with No Local", V311, []byte{0x82, 6, 0, 1, 0, 1, 'a', 4}, ErrSubscribeOptions},
		{"subscribe without its flags", V311, []byte{0x80, 6, 0, 1, 0, 1, 'a', 0}, ErrFlags},
		{"unsubscribe without filters", V311, []byte{0xa2, 2, 0, 1}, ErrSubscribeEmpty},
		{"suback without reasons", V311, []byte{0x90, 2, 0, 1}, ErrSubackEmpty},
		{"pingresp with a body", V311, []byte{0xd0, 1, 0}, ErrTrailingBytes},
		{"disconnect 3.1.1 with a reason", V311, []byte{0xe0, 1, 0}, ErrTrailingBytes},
		{"auth in 3.1.1", V311, []byte{0xf0, 0}, ErrPacketType},
		{"reserved packet type", V5, []byte{0x00, 0}, ErrPacketType},
		{"connect of another protocol", V311, append([]byte{0x10, 11, 0, 5, 'M', 'Q', 'T', 'T', 'X'}, 4, 0, 0, 0), ErrProtocolName},
		{"connect of a later version", V311, append([]byte{0x10, 10, 0, 4, 'M', 'Q', 'T', 'T'}, 6, 0, 0, 0), ErrProtocolVersion},
		{"connect with the reserved flag", V311, append([]byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T'}, 4, 1, 0, 0, 0, 0), ErrConnectFlags},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, body := split(t, c.in)
			if _, err := reencode(c.v, first, body); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
	if _, _, err := ReadHeader([]byte{0x30, 0x80, 0x80, 0x80, 0x80}); !errors.Is(err, ErrRemainingLength) {
		t.Errorf("a remaining length of five bytes: %v", err)
	}
	if _, n, err := ReadHeader([]byte{0x30, 0x80, 0x80}); n != 0 || err != nil {
		t.Errorf("an incomplete header: size %d, %v", n, err)
	}
	if h, n, err := ReadHeader([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}); h.Remaining != MaxRemaining || n != 5 || err != nil {
		t.Errorf("the largest header: %+v, %d, %v", h, n, err)
	}
	r := NewReader(bytes.NewReader(AppendPublish(nil, V311, &Publish{Topic: []byte("a"), Payload: long(5000)})), 4000)
	if _, _, err := r.Next(); !errors.Is(err, ErrPacketTooLarge) {
		t.Errorf("a packet over the reader's limit: %v", err)
	}
}

func TestTopicsAreJudgedAsTheStandardSays(t *testing.T) {
	for topic, want := range map[string]error{
		"plants/p03/lines/l2/devices/d00123/env": nil,
		"a":                                      nil,
		"/":                                      nil,
		"größe/temperatur/🌡":                     nil,
		"":                                       ErrTopicEmpty,
		"plants/+/x":                             ErrTopicWildcard,
		"plants/long enough/#":                   ErrTopicWildcard,
		"größe/#":                                ErrTopicWildcard,
		"a\x00b":                                 ErrUTF8Null,
		"plants/0123456789\x00/ab":               ErrUTF8Null,
		"a\xff":                                  ErrUTF8,
		"\xed\xa0\x80":                           ErrUTF8, // a surrogate
	} {
		if err := ValidTopicName([]byte(topic)); !errors.Is(err, want) {
			t.Errorf("topic %q: %v, want %v", topic, err, want)
		}
	}
	for filter, want := range map[string]error{
		"#": nil, "+": nil, "a/+/b/#": nil, "/": nil, "+/+": nil, "$share/g/a/#": nil, "$share/g//": nil,
		"": ErrTopicEmpty, "a#": ErrTopicFilter, "a/#/b": ErrTopicFilter, "a+/b": ErrTopicFilter, "##": ErrTopicFilter,
		"$share/g": ErrSharedFilter, "$share//a": ErrSharedFilter, "$share/g+/a": ErrSharedFilter, "$share/g/": ErrSharedFilter,
		"$share/g/a#": ErrTopicFilter,
	} {
		if err := ValidTopicFilter(filter); !errors.Is(err, want) {
			t.Errorf("filter %q: %v, want %v", filter, err, want)
		}
	}
}

func TestAConnackOf311IsUnderstoodByAClientOfVersion5(t *testing.T) {
	first, body := split(t, []byte{0x20, 2, 0, ReturnVersion})
	var c Connack
	if err := ParseConnack(&c, V5, first, body); err != nil || c.Reason != UnsupportedProtocolVersion {
		t.Fatalf("reason %v, %v", c.Reason, err)
	}
}

func TestReaderCutsAStreamWhereverItBreaks(t *testing.T) {
	var stream []byte
	for i := range 50 {
		stream = AppendPublish(stream, V311, &Publish{Topic: []byte("a/b"), Payload: bytes.Repeat([]byte{byte(i)}, i*200)})
	}
	r := NewReader(iotest.OneByteReader(bytes.NewReader(stream)), MaxRemaining)
	var p Publish
	for i := range 50 {
		first, body, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := ParsePublish(&p, V311, first, body); err != nil || len(p.Payload) != i*200 {
			t.Fatalf("packet %d: %d bytes, %v", i, len(p.Payload), err)
		}
	}
	if _, _, err := r.Next(); err != io.EOF {
		t.Fatalf("after the last packet: %v", err)
	}
	r = NewReader(bytes.NewReader(stream[:len(stream)-1]), MaxRemaining)
	for range 49 {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Fatalf("within the last packet: %v", err)
	}
}

func w1(v Version) []byte {
	p := Publish{
		Topic: []byte("plants/p03/lines/l2/devices/d00123/env"), QoS: 1, PacketID: 77,
		Payload: []byte(`{"ts":1750000000123,"temperature":21.53,"humidity":48.21,"pressure":1013.25,"battery":3.71,"status":"ok"}`),
	}
	return AppendPublish(nil, v, &p)
}

func TestAPublishIsParsedWithoutAllocation(t *testing.T) {
	p := Publish{Topic: []byte("a/b"), Payload: []byte("1"), QoS: 1, PacketID: 7, Alias: 3}
	p.Properties.Users = []User{{[]byte("k"), []byte("v")}, {[]byte("k"), []byte("w")}}
	p.Properties.SubscriptionIDs = []uint32{1, 200}
	p.Properties.SetText(ContentType, []byte("application/json"))
	var q Publish
	for _, b := range [][]byte{w1(V5), AppendPublish(nil, V5, &p)} {
		first, body := split(t, b)
		if n := testing.AllocsPerRun(100, func() {
			if err := ParsePublish(&q, V5, first, body); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkParsePublish(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		b.Run(v.String(), func(b *testing.B) {
			in := w1(v)
			var p Publish
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				h, n, err := ReadHeader(in)
				if err != nil {
					b.Fatal(err)
				}
				if err := ParsePublish(&p, v, h.First, in[n:n+h.Remaining]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValidTopicName(b *testing.B) {
	topic := []byte("plants/p03/lines/l2/devices/d00123/env")
	for b.Loop() {
		if err := ValidTopicName(topic); err != nil {
			b.Fatal(err)
		}
	}
}
