package mqtt

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestAnAcknowledgementWaitsForTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{held: true}
		s, _ := start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		for id := range uint16(3) {
			p.publish(message(id+11, "x"))
		}
		if got := p.acks(wire.PUBACK); len(got) != 0 {
			t.Fatalf("acknowledged %v before the sink did", got)
		}
		if n := s.Status().InFlight; n != 3 {
			t.Errorf("%d in flight", n)
		}
		sink.acker.Ack(sink.messages()[1].Token)
		if got := p.acks(wire.PUBACK); !slices.Equal(got, []uint16{11, 12}) {
			t.Fatalf("acknowledged %v, want 11 and 12", got)
		}
		sink.ackAll()
		if got := p.acks(wire.PUBACK); !slices.Equal(got, []uint16{11, 12, 13}) {
			t.Fatalf("acknowledged %v", got)
		}
		if n := s.Status().InFlight; n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

func TestQoS2IsReceivedOnceDurableAndReleasedOnceDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{held: true}
		cfg := f.config()
		cfg.QoS = 2
		start(t, cfg, sink)
		p := f.accept(wire.Connack{})
		p.publish(wire.Publish{Topic: []byte("a"), Payload: []byte("x"), PacketID: 5, QoS: 2})
		if got := p.acks(wire.PUBREC); len(got) != 0 {
			t.Fatal("PUBREC before the sink acknowledged")
		}
		sink.acker.Ack(sink.token())
		if got := p.acks(wire.PUBREC); !slices.Equal(got, []uint16{5}) {
			t.Fatalf("PUBREC of %v", got)
		}
		p.send(wire.AppendAck(nil, wire.PUBREL, 5))
		if got := p.acks(wire.PUBCOMP); len(got) != 0 {
			t.Fatal("PUBCOMP before the removal was durable")
		}
		if !slices.Equal(sink.releases(), []uint16{5}) {
			t.Fatalf("released %v", sink.releases())
		}
		sink.acker.Ack(sink.token())
		if got := p.acks(wire.PUBCOMP); !slices.Equal(got, []uint16{5}) {
			t.Fatalf("PUBCOMP of %v", got)
		}
		// A PUBREL that the broker sends again for an id that is gone is answered too.
		p.send(wire.AppendAck(nil, wire.PUBREL, 5))
		synctest.Wait()
		sink.ackAll()
		if got := p.acks(wire.PUBCOMP); !slices.Equal(got, []uint16{5, 5}) {
			t.Fatalf("PUBCOMP of %v", got)
		}
	})
}

func TestAnAcknowledgementOfAnEarlierConnectionIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{held: true}
		start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		p.publish(message(1, "old"))
		old := sink.token()
		p.hangUp()

		p = f.resume()
		p.publish(message(1, "another under the same id"))
		sink.acker.Ack(old)
		if got := p.acks(wire.PUBACK); len(got) != 0 {
			t.Fatalf("acknowledged %v, which means another message by now", got)
		}
		sink.acker.Ack(sink.token())
		if got := p.acks(wire.PUBACK); !slices.Equal(got, []uint16{1}) {
			t.Fatalf("acknowledged %v", got)
		}
	})
}

func TestPacketIDsThatTheBrokerReusesAreAcknowledgedEachInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{held: true}
		start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		for _, id := range []uint16{7, 7, 8, 7} {
			p.publish(message(id, "x"))
		}
		sink.acker.Ack(sink.messages()[2].Token)
		if got := p.acks(wire.PUBACK); !slices.Equal(got, []uint16{7, 7, 8}) {
			t.Fatalf("acknowledged %v", got)
		}
	})
}

func TestThousandsOfAcknowledgementsGoInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{held: true}
		s, _ := start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		const n = 30000
		p.send(stream(wire.V5, n))
		synctest.Wait()
		before := s.Status().Counts.BytesOut
		writes := countWrites(f)
		sink.ackAll()
		if got := p.acks(wire.PUBACK); len(got) != n || got[0] != 1 || got[n-1] != n || !slices.IsSorted(got) {
			t.Fatalf("%d acknowledgements", len(got))
		}
		if got := s.Status().Counts.BytesOut - before; got != 4*n {
			t.Errorf("%d bytes for %d acknowledgements", got, n)
		}
		if w := writes(); w > 3 {
			t.Errorf("%d writes for %d acknowledgements", w, n)
		}
	})
}

func TestABrokerThatExceedsEveryLimitIsHeldBackAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{held: true}
		s, _ := start(t, f.config(), sink)
		s.ring.limit = 2 * ringStart
		p := f.accept(wire.Connack{})
		const n = 5 * ringStart
		p.send(stream(wire.V5, n))
		synctest.Wait()
		if got := sink.count(); got != 2*ringStart {
			t.Fatalf("took %d, want %d", got, 2*ringStart)
		}
		if !s.Status().Stalled {
			t.Error("does not say that it is stalled")
		}
		time.Sleep(10 * time.Minute) // longer than every timeout
		if p.gone() {
			t.Fatalf("the connection was given up: %s", s.Status().Reason)
		}
		sink.ackAll()
		synctest.Wait()
		if got := p.acks(wire.PUBACK); len(got) != n {
			t.Fatalf("%d acknowledgements of %d", len(got), n)
		}
		for i, m := range sink.messages() {
			if int(m.PacketID) != i+1 {
				t.Fatalf("message %d has id %d", i, m.PacketID)
			}
		}
	})
}

func TestAPingProvesWhatArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{}
		start(t, f.config(), sink)
		p := f.accept(wire.Connack{})
		p.mute = true
		p.publish(message(1, "x"))
		first := sink.token()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(p.of(wire.PINGREQ)); n != 1 {
			t.Fatalf("%d PINGREQ one second after the acknowledgement", n)
		}
		p.publish(message(2, "y")) // its acknowledgement goes after the PINGREQ
		if sink.confirmed() != 0 {
			t.Fatal("confirmed without an answer")
		}
		p.send(wire.AppendPingresp(nil))
		synctest.Wait()
		if sink.confirmed() != first {
			t.Fatalf("confirmed %d, want %d: what went before the PINGREQ", sink.confirmed(), first)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		p.send(wire.AppendPingresp(nil))
		synctest.Wait()
		if sink.confirmed() != sink.token() {
			t.Fatalf("confirmed %d, want %d", sink.confirmed(), sink.token())
		}
		n := len(p.of(wire.PINGREQ))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(p.of(wire.PINGREQ)) != n {
			t.Error("asks although nothing waits for confirmation")
		}
		// An answer that nobody asked for proves nothing.
		p.send(wire.AppendPingresp(nil))
		synctest.Wait()
		if sink.confirmed() != sink.token() || p.gone() {
			t.Error("a PINGRESP out of turn did something")
		}
	})
}

func TestAResumedSessionConfirmsNothingAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{}
		start(t, f.config(), sink)
		f.accept(wire.Connack{}).hangUp()
		p := f.resume()
		p.publish(message(1, "x"))
		time.Sleep(4900 * time.Millisecond)
		synctest.Wait()
		if sink.confirmations() != 0 {
			t.Fatal("confirmed while redelivery may still be under way")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if sink.confirmed() != sink.token() {
			t.Fatalf("confirmed %d, want %d after the grace", sink.confirmed(), sink.token())
		}
	})
}

func TestShutdownDrainsThenDisconnects(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				sink := &recorder{held: true}
				cfg := f.config()
				cfg.Version = v
				_, stop := start(t, cfg, sink)
				p := f.accept(wire.Connack{})
				p.publish(message(1, "x"))
				p.publish(message(2, "y"))
				go func() {
					time.Sleep(time.Second)
					sink.ackAll()
				}()
				began := time.Now()
				stop()
				if took := time.Since(began); took != time.Second {
					t.Errorf("took %s, want 1s: as long as the sink", took)
				}
				if got := p.acks(wire.PUBACK); !slices.Equal(got, []uint16{1, 2}) {
					t.Errorf("acknowledged %v", got)
				}
				if r, ok := p.left(); !ok || r != wire.Success {
					t.Errorf("DISCONNECT %v, %v", r, ok)
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				if last := p.packets[len(p.packets)-1]; last.kind() != wire.DISCONNECT {
					t.Errorf("the last packet is %s", last.kind())
				}
			})
		})
	}
}

func TestShutdownIsBoundedWhateverHolds(t *testing.T) {
	for name, prepare := range map[string]func(*recorder, *peer){
		"a sink that never acknowledges": func(_ *recorder, p *peer) {
			p.publish(message(1, "x"))
		},
		"a sink that is full": func(r *recorder, p *peer) {
			r.see(func() { r.block = make(chan struct{}) })
			p.publish(message(1, "x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				sink := &recorder{held: true}
				_, stop := start(t, f.config(), sink)
				p := f.accept(wire.Connack{})
				prepare(sink, p)
				began := time.Now()
				stop()
				if took := time.Since(began); took > 8*time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestShutdownWhileConnectingIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		_, stop := start(t, f.config(), &recorder{})
		f.answer(func(*wire.Connect) []byte { return []byte{0x20} }) // half a header, then silence
		synctest.Wait()
		began := time.Now()
		stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

func TestAStoppedPipelineEndsTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		sink := &recorder{stopped: fmt.Errorf("pipeline closed")}
		s, err := New(f.config(), sink, nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context()) }()
		p := f.accept(wire.Connack{})
		p.publish(message(1, "x"))
		if err := <-done; err == nil {
			t.Fatal("Run returned nil")
		}
		if len(p.acks(wire.PUBACK)) != 0 {
			t.Error("acknowledged what nobody took")
		}
	})
}
