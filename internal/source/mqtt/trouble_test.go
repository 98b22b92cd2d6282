package mqtt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestABrokerThatClosesInTheMiddleOfAPacket(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				sink := &recorder{}
				cfg := f.config()
				cfg.Version = v
				start(t, cfg, sink)
				m := message(1, strings.Repeat("x", 100))
				p := f.accept(wire.Connack{})
				whole := wire.AppendPublish(nil, p.version, &m)
				p.close()
				// Every place where the packet can break.
				for cut := 1; cut < len(whole); cut += 7 {
					p = f.resume()
					p.send(whole[:cut])
					p.hangUp()
					if sink.count() != 0 {
						t.Fatalf("a packet of %d bytes that broke after %d was handed on", len(whole), cut)
					}
				}
				p = f.resume()
				m.Dup = true
				p.publish(m)
				got := sink.messages()
				if len(got) != 1 || !got[0].Dup || got[0].payload != string(m.Payload) {
					t.Fatalf("got %+v", got)
				}
				if ids := p.acks(wire.PUBACK); !slices.Equal(ids, []uint16{1}) {
					t.Fatalf("acknowledged %v", ids)
				}
			})
		})
	}
}

func TestRedeliveryIsHandedOnWithItsDupAndItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{held: true}
		s, _ := start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		p.publish(message(4, "x"))
		p.hangUp()
		p = f.resume()
		again := message(4, "x")
		again.Dup = true
		p.publish(again)
		// Mosquitto sets DUP also on what it never delivered: it is handed on as it
		// came, and the sink decides.
		never := message(9, "never seen")
		never.Dup = true
		p.publish(never)
		got := sink.messages()
		if len(got) != 3 || got[0].Dup || !got[1].Dup || !got[2].Dup || got[1].PacketID != 4 || got[2].PacketID != 9 {
			t.Fatalf("got %+v", got)
		}
		sink.see(func() {
			if sink.resets != 1 || sink.opens != 2 {
				t.Errorf("%d resets, want the one of the first connection; %d sessions, want one for each", sink.resets, sink.opens)
			}
		})
		sink.ackAll()
		if ids := p.acks(wire.PUBACK); !slices.Equal(ids, []uint16{4, 9}) {
			t.Fatalf("acknowledged %v", ids)
		}
		if c := s.Status().Counts; c.Duplicates != 2 || c.Reconnects != 1 || c.SessionsLost != 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

func TestASinkThatCannotOpenTheSessionIsAskedAgainBeforeTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{away: 5}
		s, _ := start(t, f.config(), sink)
		synctest.Wait()
		if r := s.Status().Reason; !strings.Contains(r, "the store is away") {
			t.Errorf("reason %q", r)
		}
		began := time.Now()
		f.accept(wire.Connack{}).publish(message(1, "x"))
		if took := time.Since(began); took < 2*time.Second || len(f.dialed()) != 1 {
			t.Errorf("%d connections within %s", len(f.dialed()), took)
		}
		if sink.count() != 1 {
			t.Errorf("%d messages; %s", sink.count(), s.Status().Reason)
		}
	})
}

func TestALostSessionIsToldToTheSinkAndSubscribedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{}
		s, _ := start(t, f.config(), sink)
		f.accept(wire.Connack{}).hangUp()
		p := f.accept(wire.Connack{})
		if sink.wasReset() != 2 {
			t.Errorf("%d resets, want 2", sink.wasReset())
		}
		if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, []string{"#"}) {
			t.Errorf("subscribed %v", got)
		}
		if c := s.Status().Counts; c.SessionsLost != 1 {
			t.Errorf("counts %+v", c)
		}
		if p.connect.Clean {
			t.Error("asked for a clean session")
		}
	})
}

func TestAnEvictedClientStopsAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{}
		s, _ := start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		p.send(wire.AppendDisconnect(nil, wire.V5, &wire.Disconnect{Reason: wire.SessionTakenOver}))
		synctest.Wait()
		before := len(f.dialed())
		time.Sleep(24 * time.Hour)
		if n := len(f.dialed()) - before; n != 0 {
			t.Errorf("connected again %d times", n)
		}
		st := s.Status()
		if st.Connected || !st.Stopped || !strings.Contains(st.Reason, "0x8E") || !strings.Contains(st.Reason, `"node"`) {
			t.Errorf("status %+v", st)
		}
	})
}

// In version 3.1.1, and with Mosquitto also in 5, an eviction is only a closed
// connection. Whoever of two comes back evicts the other.
func TestTwoClientsOfOneIdentifierDoNotEvictEachOtherInAHotLoop(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				cfg := f.config()
				cfg.Version = v
				one, _ := start(t, cfg, &recorder{})
				two, _ := start(t, cfg, &recorder{})
				began := time.Now()
				p := f.resume()
				for range 60 {
					next := f.resume()
					p.hangUp()
					p = next
				}
				synctest.Wait()
				if took := time.Since(began); took < 10*time.Minute {
					t.Errorf("60 evictions within %s", took)
				}
				if r := one.Status().Reason + two.Status().Reason; !strings.Contains(r, `does another client use the client identifier "node"`) {
					t.Errorf("reason %q", r)
				}
			})
		})
	}
}

func TestABrokerThatRefusesIsAskedSlowly(t *testing.T) {
	for _, c := range []struct {
		version string
		reason  wire.ReasonCode
		slow    bool
	}{
		{"3.1.1", wire.BadUserNameOrPassword, true},
		{"3.1.1", wire.NotAuthorized, true},
		{"3.1.1", wire.ClientIdentifierNotValid, true},
		{"3.1.1", wire.ServerUnavailable, false},
		{"3.1.1", wire.UnsupportedProtocolVersion, true},
		{"5", wire.BadUserNameOrPassword, true},
		{"5", wire.NotAuthorized, true},
		{"5", wire.Banned, true},
		{"5", wire.ServerMoved, true},
		{"5", wire.ServerBusy, false},
		{"5", wire.QuotaExceeded, false},
	} {
		t.Run(fmt.Sprintf("version %s %s", c.version, c.reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				cfg := f.config()
				cfg.Version = c.version
				cfg.Username = "ada"
				s, _ := start(t, cfg, &recorder{})
				began := time.Now()
				for range 10 {
					f.accept(wire.Connack{Reason: c.reason})
				}
				took := time.Since(began)
				if c.slow != (took > 10*time.Minute) || took < 10*time.Second {
					t.Errorf("10 attempts within %s", took)
				}
				st := s.Status()
				if st.Connected || !strings.Contains(st.Reason, c.reason.String()) {
					t.Errorf("reason %q", st.Reason)
				}
				if c.reason == wire.BadUserNameOrPassword && !strings.Contains(st.Reason, `"ada"`) {
					t.Errorf("reason %q does not name the user", st.Reason)
				}
			})
		})
	}
}

func TestAutoFallsBackTo311WhereTheBrokerKnowsNoOther(t *testing.T) {
	for name, refuse := range map[string]func(f *fake){
		"reason 0x84":         func(f *fake) { f.accept(wire.Connack{Reason: wire.UnsupportedProtocolVersion}) },
		"a CONNACK of 3.1.1":  func(f *fake) { f.answer(func(*wire.Connect) []byte { return []byte{0x20, 2, 0, wire.ReturnVersion} }) },
		"a closed connection": func(f *fake) { f.answer(func(*wire.Connect) []byte { return nil }).hangUp() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				s, _ := start(t, f.config(), &recorder{})
				refuse(f)
				p := f.accept(wire.Connack{})
				if p.version != wire.V311 {
					t.Fatalf("version %s", p.version)
				}
				connected(t, s)
				p.hangUp()
				if p = f.resume(); p.version != wire.V311 {
					t.Fatalf("version %s after a reconnect", p.version)
				}
			})
		})
	}
}

func TestABrokerThatSpeaks5IsNotLeftFor311OverAClosedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		cfg.StateDir = t.TempDir()
		_, stop := start(t, cfg, &recorder{})
		f.accept(wire.Connack{})
		stop()
		// Also in the next run.
		start(t, cfg, &recorder{})
		for range 3 {
			p := f.answer(func(*wire.Connect) []byte { return nil })
			if p.version != wire.V5 {
				t.Fatalf("version %s", p.version)
			}
			p.hangUp()
		}
	})
}

func TestASilentBrokerIsLeft(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				cfg := f.config()
				cfg.Version = v
				cfg.KeepAlive = 20 * time.Second
				s, _ := start(t, cfg, &recorder{})
				p := f.accept(wire.Connack{})
				for range 10 { // while it answers, all is well
					time.Sleep(time.Minute)
					if p.gone() {
						t.Fatal("left although pings are answered")
					}
				}
				for i, k := range p.of(wire.PINGREQ)[1:] {
					if gap := k.at.Sub(p.of(wire.PINGREQ)[i].at); gap > 20*time.Second {
						t.Fatalf("%s between two PINGREQ", gap)
					}
				}
				p.mu.Lock()
				p.mute = true
				p.mu.Unlock()
				silent := time.Now()
				f.resume()
				if took := time.Since(silent); took > 45*time.Second {
					t.Errorf("left after %s", took)
				}
				if !p.gone() || s.Status().Counts.Failures != 1 {
					t.Errorf("failures %d", s.Status().Counts.Failures)
				}
			})
		})
	}
}

func TestBackPressureIsNotMistakenForSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{block: make(chan struct{})}
		s, _ := start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		p.publish(message(1, "x"))
		if !s.Status().Stalled {
			t.Error("does not say that it is stalled")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if p.gone() {
			t.Fatalf("left: %s", s.Status().Reason)
		}
		pings := p.of(wire.PINGREQ)
		if len(pings) < 100 {
			t.Errorf("%d PINGREQ in an hour: the broker would have left", len(pings))
		}
		sink.see(func() { close(sink.block); sink.block = nil })
		if ids := p.acks(wire.PUBACK); !slices.Equal(ids, []uint16{1}) {
			t.Fatalf("acknowledged %v", ids)
		}
		time.Sleep(time.Hour)
		if p.gone() {
			t.Fatalf("left after the stall: %s", s.Status().Reason)
		}
	})
}

func TestTheServersKeepAliveIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s, _ := start(t, f.config(), &recorder{})
		var ack wire.Connack
		ack.Properties.SetUint(wire.ServerKeepAlive, 4)
		p := f.accept(ack)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(p.of(wire.PINGREQ)); n < 15 || n > 30 {
			t.Errorf("%d PINGREQ in a minute", n)
		}
		if s.Status().KeepAlive != 4*time.Second {
			t.Errorf("keep alive %s", s.Status().KeepAlive)
		}
	})
}

func TestAMalformedPacketEndsTheConnectionWithItsReason(t *testing.T) {
	for _, c := range []struct {
		name   string
		bytes  []byte
		reason wire.ReasonCode
	}{
		{"remaining length of five bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, wire.MalformedPacket},
		{"QoS 3", []byte{0x36, 6, 0, 1, 'a', 0, 1, 0}, wire.MalformedPacket},
		{"packet id 0", []byte{0x32, 6, 0, 1, 'a', 0, 0, 0}, wire.MalformedPacket},
		{"topic past the end", []byte{0x32, 6, 0, 99, 'a', 0, 1, 0}, wire.MalformedPacket},
		{"reserved type", []byte{0x00, 0}, wire.ProtocolError},
		{"a packet of clients", []byte{0x82, 7, 0, 1, 0, 0, 1, 'a', 0}, wire.ProtocolError},
		{"a second CONNACK", []byte{0x20, 3, 0, 0, 0}, wire.ProtocolError},
		{"AUTH out of nowhere", []byte{0xf0, 0}, wire.ProtocolError},
		{"SUBACK that answers nothing", []byte{0x90, 4, 0x77, 0x77, 0, 0}, wire.ProtocolError},
		{"PUBREL without its flags", []byte{0x60, 2, 0, 1}, wire.MalformedPacket},
		{"unknown topic alias", []byte{0x30, 6, 0, 0, 3, 0x23, 0, 9}, wire.ProtocolError},
		{"topic alias over the maximum", []byte{0x30, 7, 0, 1, 'a', 3, 0x23, 0xff, 0xff}, wire.TopicAliasInvalid},
		{"unknown property", []byte{0x30, 6, 0, 1, 'a', 2, 0x7f, 0}, wire.MalformedPacket},
		{"a control packet of megabytes", []byte{0x90, 0xff, 0xff, 0x7f}, wire.PacketTooLarge},
		{"256 MB of properties without a topic", []byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0xf0, 0xff, 0xff, 0x7f}, wire.PacketTooLarge},
		{"an oversized message at QoS 3", []byte{0x36, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a', 0, 1, 0xf0, 0xff, 0xff, 0x7f}, wire.MalformedPacket},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				sink := &recorder{}
				s, _ := start(t, f.config(), sink)
				p := f.accept(wire.Connack{})
				p.publish(message(1, "before"))
				p.send(c.bytes)
				if r, ok := p.left(); !ok || r != c.reason {
					t.Fatalf("DISCONNECT %v (%v), want %v; %s", r, ok, c.reason, s.Status().Reason)
				}
				if ids := p.acks(wire.PUBACK); !slices.Equal(ids, []uint16{1}) {
					t.Errorf("acknowledged %v", ids)
				}
				if n := s.Status().Counts.Malformed; n != 1 {
					t.Errorf("%d malformed", n)
				}
				// The same again at every connect: no hot loop.
				began := time.Now()
				for range 20 {
					f.resume().send(c.bytes)
					synctest.Wait()
				}
				if took := time.Since(began); took < 4*time.Minute {
					t.Errorf("20 connections within %s", took)
				}
				if s.Status().Counts.Malformed != 21 {
					t.Errorf("%d malformed", s.Status().Counts.Malformed)
				}
			})
		})
	}
}

func TestAServersDisconnectIsObeyed(t *testing.T) {
	for reason, least := range map[wire.ReasonCode]time.Duration{
		wire.ServerShuttingDown: 100 * time.Millisecond,
		wire.KeepAliveTimeout:   100 * time.Millisecond,
		wire.UseAnotherServer:   10 * time.Second,
		wire.NotAuthorized:      10 * time.Second,
	} {
		t.Run(reason.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				s, _ := start(t, f.config(), &recorder{})
				p := f.accept(wire.Connack{})
				d := wire.Disconnect{Reason: reason}
				d.Properties.SetText(wire.ReasonString, []byte("because"))
				d.Properties.SetText(wire.ServerReference, []byte("other:1883"))
				p.send(wire.AppendDisconnect(nil, wire.V5, &d))
				synctest.Wait()
				if r := s.Status().Reason; !strings.Contains(r, reason.String()) || !strings.Contains(r, "because") || !strings.Contains(r, "other:1883") {
					t.Errorf("reason %q", r)
				}
				began := time.Now()
				f.resume()
				if took := time.Since(began); took < least || took > time.Minute {
					t.Errorf("connected again after %s", took)
				}
			})
		})
	}
}

func TestReconnectsBackOffWithJitterAndStartOverAfterAStableConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		start(t, f.config(), &recorder{})
		f.accept(wire.Connack{}).hangUp()
		time.Sleep(10 * time.Minute) // nobody listens; a dial fails after a second
		dials := f.dialed()[1:]
		var pauses []time.Duration
		for i := range dials[1:] {
			pauses = append(pauses, dials[i+1].Sub(dials[i])-time.Second)
		}
		want := 500 * time.Millisecond // the first 250ms went before the first of these
		for i, d := range pauses {
			if d < want/2 || d > want {
				t.Errorf("pause %d is %s, want %s to %s", i, d, want/2, want)
			}
			want = min(2*want, 30*time.Second)
		}
		slices.Sort(pauses)
		if len(slices.Compact(pauses)) < len(dials)-3 {
			t.Error("the pauses have no jitter")
		}
		p := f.resume()
		time.Sleep(5 * time.Minute)
		p.hangUp()
		began := time.Now()
		f.resume()
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("after a stable connection the pause is %s", took)
		}
	})
}
