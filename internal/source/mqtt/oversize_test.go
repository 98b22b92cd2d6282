package mqtt

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// announce is the beginning of a PUBLISH whose payload has size bytes.
func announce(v wire.Version, m wire.Publish, size int) []byte {
	m.Payload = nil
	b := wire.AppendPublish(nil, v, &m)
	_, n, _ := wire.ReadHeader(b)
	body := b[n:]
	return append(wire.AppendHeader(nil, b[0], len(body)+size), body...)
}

func TestAPayloadOverTheLimitIsDrainedAndHandedOnTruncated(t *testing.T) {
	for _, v := range versions {
		for _, alias := range []uint16{0, 3} {
			t.Run("version "+v, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake(t)
					sink := &recorder{}
					cfg := f.config()
					cfg.Version, cfg.MaxPayload, cfg.KeepOversized = v, 1000, 10
					s, _ := start(t, cfg, sink)
					p := f.accept(wire.Connack{})
					if p.version == wire.V311 {
						alias = 0
					}
					p.publish(message(1, "before"))
					p.publish(message(2, strings.Repeat("y", 1000)))          // exactly the limit
					over := message(3, "0123456789"+strings.Repeat("z", 991)) // one byte over
					over.Topic, over.Alias = []byte("big"), alias
					p.publish(over)
					over.PacketID, over.Payload = 4, append(over.Payload, bytes.Repeat([]byte("z"), 400_000)...)
					if alias != 0 {
						over.Topic = nil
					}
					p.publish(over)
					p.publish(message(5, "after"))

					got := sink.messages()
					if len(got) != 5 {
						t.Fatalf("%d messages; %s", len(got), s.Status().Reason)
					}
					if len(got[1].payload) != 1000 || got[1].Size != 1000 {
						t.Errorf("the limit itself: %d of %d bytes", len(got[1].payload), got[1].Size)
					}
					for i, size := range map[int]int{2: 1001, 3: 401_001} {
						if g := got[i]; g.payload != "0123456789" || g.Size != size || g.topic != "big" || g.QoS != 1 {
							t.Errorf("message %d: %q of %d bytes on %q", i, g.payload, g.Size, g.topic)
						}
					}
					if ids := p.acks(wire.PUBACK); !slices.Equal(ids, []uint16{1, 2, 3, 4, 5}) {
						t.Errorf("acknowledged %v", ids)
					}
					if c := s.Status().Counts; c.Oversized != 2 || c.Failures != 0 {
						t.Errorf("counts %+v", c)
					}
				})
			})
		}
	}
}

func TestTheLargestPayloadCostsNoMemory(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				sink := &recorder{}
				cfg := f.config()
				cfg.Version = v
				start(t, cfg, sink)
				p := f.accept(wire.Connack{})
				head := announce(p.version, wire.Publish{Topic: []byte("big"), PacketID: 9, QoS: 1}, 0)
				size := wire.MaxRemaining - len(head) + 2 // its header said one byte of length
				p.send(announce(p.version, wire.Publish{Topic: []byte("big"), PacketID: 9, QoS: 1}, size))
				chunk := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for left := size; left > 0; left -= len(chunk) {
					p.out <- chunk[:min(len(chunk), left)]
				}
				synctest.Wait()
				runtime.ReadMemStats(&after)
				if grown := after.TotalAlloc - before.TotalAlloc; grown > 2<<20 {
					t.Errorf("allocated %d bytes for a payload of %d", grown, size)
				}
				p.publish(message(10, "after"))
				got := sink.messages()
				if len(got) != 2 || got[0].Size != size || len(got[0].payload) != 4<<10 || got[1].payload != "after" {
					t.Fatalf("%d messages", len(got))
				}
				if ids := p.acks(wire.PUBACK); !slices.Equal(ids, []uint16{9, 10}) {
					t.Errorf("acknowledged %v", ids)
				}
			})
		})
	}
}

func TestAnOversizedPayloadThatBreaksOffIsNotHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{}
		start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		m := wire.Publish{Topic: []byte("big"), PacketID: 9, QoS: 1}
		p.send(announce(wire.V5, m, 2<<20))
		p.send(make([]byte, 1<<20))
		p.hangUp()
		if sink.count() != 0 {
			t.Fatal("handed on")
		}
		p = f.resume()
		m.Dup = true
		p.send(announce(wire.V5, m, 2<<20))
		p.send(make([]byte, 2<<20))
		synctest.Wait()
		if got := sink.messages(); len(got) != 1 || got[0].Size != 2<<20 || !got[0].Dup {
			t.Fatalf("got %d messages", len(got))
		}
	})
}

func TestPropertiesTooLargeToHoldAreDrainedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{}
		s, _ := start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		m := message(1, "small")
		for range 40 {
			m.Properties.Users = append(m.Properties.Users, wire.User{Key: bytes.Repeat([]byte("k"), 60000), Value: []byte("v")})
		}
		p.publish(m)
		p.publish(message(2, "after"))
		got := sink.messages()
		if len(got) != 2 || got[0].topic != "a/b" || got[0].Size <= len(got[0].payload) || got[1].payload != "after" {
			t.Fatalf("got %d messages; %s", len(got), s.Status().Reason)
		}
		if ids := p.acks(wire.PUBACK); !slices.Equal(ids, []uint16{1, 2}) {
			t.Errorf("acknowledged %v", ids)
		}
	})
}

func TestTopicAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{}
		s, _ := start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		if n := p.connect.Properties.UintOr(wire.TopicAliasMaximum, 0); n != aliasDefault {
			t.Errorf("offers %d aliases", n)
		}
		send := func(topic string, alias uint16) {
			p.publish(wire.Publish{Topic: []byte(topic), Alias: alias})
		}
		send("one", 1)
		send("two", 2000)
		send("", 1)
		send("", 2000)
		send("three and longer", 1) // set anew
		send("", 1)
		send("no alias", 0)
		var topics []string
		for _, g := range sink.messages() {
			topics = append(topics, g.topic)
		}
		if want := []string{"one", "two", "one", "two", "three and longer", "three and longer", "no alias"}; !slices.Equal(topics, want) {
			t.Errorf("topics %q", topics)
		}
		p.hangUp()
		// Aliases end with the connection [MQTT-3.3.2-7].
		p = f.resume()
		send("", 1)
		if r, ok := p.left(); !ok || r != wire.ProtocolError {
			t.Errorf("an alias of the last connection: %v, %v", r, ok)
		}
		// A broker that makes us keep megabytes is left, and offered none next time.
		p = f.resume()
		for i := range uint16(200) {
			p.send(wire.AppendPublish(nil, wire.V5, &wire.Publish{Topic: bytes.Repeat([]byte("t"), 65000), Alias: i + 1}))
		}
		if r, ok := p.left(); !ok || r != wire.QuotaExceeded {
			t.Errorf("megabytes of aliases: %v, %v, %s", r, ok, s.Status().Reason)
		}
		p = f.resume()
		if p.connect.Properties.Has(wire.TopicAliasMaximum) {
			t.Error("offers aliases again")
		}
	})
}
