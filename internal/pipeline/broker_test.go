package pipeline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// modelBroker is the other side of a session, as the standard has it: it sends a
// message under a packet id, again with DUP after a reconnection until it has the
// acknowledgement, and then uses the id again.
type modelBroker struct {
	t      *testing.T
	st     *tap
	r      *rig
	p      *peer
	policy brokerPolicy

	inFlight []*delivery // in the order of publishing
	nextID   uint16
	sent     int                   // messages published
	lost     int                   // in flight when the session was lost
	given    map[uint64]givenToken // token -> what its acknowledgement says
	answered uint64                // tokens up to here were answered on the wire
	wire     []givenToken          // answers on their way to the broker
	heard    uint64                // the highest token whose answer arrived
	stalled  bool
}

// brokerPolicy is how a broker chooses.
type brokerPolicy struct {
	qos        uint8
	lowestID   bool // packet ids: the lowest that is free, else counted up
	equal      bool // all contents are equal
	losesAll   bool // it may lose the session
	crashes    bool // the node may crash
	neverDup   bool // DUP is never set, which the standard forbids
	dupUnsent  bool // DUP also on what was never sent, after a reconnection
	confirms   bool
	invalidToo bool // some messages are quarantined
}

type delivery struct {
	id       uint16
	number   int
	sentNow  bool // on this connection
	sentEver bool
	old      bool // was in flight at a reconnection
	received bool // QoS 2: PUBREC came, PUBREL is next
}

type givenToken struct {
	token    uint64
	id       uint16
	complete bool // PUBACK or PUBCOMP: the id is free
}

func (b *modelBroker) connect() {
	b.p = b.r.open("broker")
	b.given = map[uint64]givenToken{}
	b.wire, b.answered, b.heard = nil, 0, 0
	for _, d := range b.inFlight {
		d.sentNow, d.old = false, true
	}
}

// do interprets one random number.
func (b *modelBroker) do(n int) {
	arg := n / 16
	switch n % 16 {
	case 0, 1, 2:
		b.publish()
	case 3, 4, 5, 6:
		b.deliver(1 + arg%4)
	case 7, 8, 9:
		time.Sleep(time.Duration(arg%4) * time.Millisecond)
		b.answer()
	case 10, 11:
		b.hear(arg % 8)
	case 12:
		if b.policy.confirms && b.heard > 0 {
			b.p.Confirm(b.heard)
		}
	case 13:
		b.p.Close()
		b.connect()
		if b.policy.losesAll && arg%3 == 0 {
			b.lost += len(b.inFlight)
			b.inFlight = nil
			b.p.Reset()
		}
	case 14:
		if b.policy.crashes {
			b.crash()
		}
	case 15:
		b.stall(arg%2 == 0)
	}
}

func (b *modelBroker) stall(on bool) {
	b.stalled = on
	b.st.onCommit(nil)
	if on {
		b.st.onCommit(func(*seen) error { return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "stalled") })
	}
}

func (b *modelBroker) crash() {
	b.r.crash()
	b.r = start(b.t, b.st, Config{CommitInterval: time.Millisecond}, pulseDoc, envDoc)
	b.connect()
}

func (b *modelBroker) publish() {
	if len(b.inFlight) >= 20 {
		return
	}
	used := func(id uint16) bool {
		return slices.ContainsFunc(b.inFlight, func(d *delivery) bool { return d.id == id })
	}
	id := uint16(1)
	if !b.policy.lowestID {
		b.nextID++
		id = b.nextID
	}
	for used(id) {
		id++
	}
	b.inFlight = append(b.inFlight, &delivery{id: id, number: b.sent})
	b.sent++
}

// deliver sends the first messages that were not sent on this connection.
func (b *modelBroker) deliver(n int) {
	b.p.begin()
	for _, d := range b.inFlight {
		if d.sentNow || n == 0 {
			continue
		}
		n--
		d.sentNow = true
		if d.received {
			b.p.token++
			b.p.Release(d.id, b.p.token)
			b.given[b.p.token] = givenToken{b.p.token, d.id, true}
			continue
		}
		v := float64(d.number)
		if b.policy.equal {
			v = 1
		}
		m := pulse(1, v)
		if b.policy.invalidToo && d.number%5 == 0 {
			m = msg("pulse/m1", fmt.Sprintf("bad %g", v))
		}
		m.QoS, m.PacketID = b.policy.qos, d.id
		m.Dup = (d.sentEver || d.old && b.policy.dupUnsent) && !b.policy.neverDup
		d.sentEver = true
		b.p.add(m)
		b.given[b.p.token] = givenToken{b.p.token, d.id, b.policy.qos == 1}
	}
	b.p.End()
}

// answer puts on the wire what the pipeline has acknowledged.
func (b *modelBroker) answer() {
	synctest.Wait()
	for upTo := b.p.acked.upTo(); b.answered < upTo; {
		b.answered++
		b.wire = append(b.wire, b.given[b.answered])
	}
}

// hear lets the broker receive some answers.
func (b *modelBroker) hear(n int) {
	for ; n > 0 && len(b.wire) > 0; n-- {
		g := b.wire[0]
		b.wire = b.wire[1:]
		b.heard = g.token
		i := slices.IndexFunc(b.inFlight, func(d *delivery) bool { return d.id == g.id })
		if i < 0 {
			continue
		}
		if d := b.inFlight[i]; g.complete {
			b.inFlight = slices.Delete(b.inFlight, i, i+1)
		} else {
			d.received, d.sentNow = true, false
		}
	}
}

// end brings everything through.
func (b *modelBroker) end() {
	b.stall(false)
	for range 200 {
		b.deliver(1000)
		time.Sleep(5 * time.Second)
		b.answer()
		b.hear(1000)
		if len(b.inFlight) == 0 {
			break
		}
	}
	if len(b.inFlight) > 0 {
		b.t.Errorf("%d messages are never acknowledged", len(b.inFlight))
	}
}

// Promise 2 of the design: nothing twice, and two real readings are never taken for
// one, whatever broker and network do.
func TestNothingTwice(t *testing.T) {
	for name, policy := range map[string]brokerPolicy{
		"CountedIDsEqualContents":          {qos: 1, equal: true, crashes: true, confirms: true, invalidToo: true},
		"CountedIDsEqualContentsDupUnsent": {qos: 1, equal: true, crashes: true, confirms: true, dupUnsent: true},
		"LowestIDsDifferentContents":       {qos: 1, lowestID: true, crashes: true, confirms: true, dupUnsent: true, invalidToo: true},
		"LowestIDsEqualContentsNoCrash":    {qos: 1, lowestID: true, equal: true},
		"LostSessions":                     {qos: 1, equal: true, crashes: true, confirms: true, losesAll: true, invalidToo: true},
		"LostSessionsLowestIDs":            {qos: 1, lowestID: true, crashes: true, confirms: true, losesAll: true},
		"QoS2LowestIDsEqualContents":       {qos: 2, lowestID: true, equal: true, crashes: true, confirms: true, dupUnsent: true, invalidToo: true},
		"QoS2WithoutDup":                   {qos: 2, lowestID: true, equal: true, crashes: true, neverDup: true},
		"QoS2LostSessions":                 {qos: 2, lowestID: true, equal: true, crashes: true, losesAll: true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				seed, steps := rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(0, 300).Draw(rt, "steps")
				var stored, sent, lost int
				synctest.Test(t, func(t *testing.T) {
					b := &modelBroker{t: t, st: newTap(), policy: policy}
					b.r = start(t, b.st, Config{CommitInterval: time.Millisecond}, pulseDoc, envDoc)
					b.connect()
					r := rand.New(rand.NewPCG(seed, 0))
					for range steps {
						b.do(r.IntN(16 * 256))
					}
					b.end()
					stored = len(b.st.readings(t, "pulse")) + len(b.st.quarantined(t))
					sent, lost = b.sent, b.lost
					b.r.drain()
				})
				if stored > sent || stored < sent-lost {
					rt.Fatalf("%d messages were sent (%d of them lost by the broker), %d are stored", sent, lost, stored)
				}
			})
		})
	}
}

func TestLedgerEntriesEnd(t *testing.T) {
	first := pulse(1, 1)
	first.PacketID = 5
	again := first
	again.Dup = true
	for name, test := range map[string]struct {
		between func(p *peer)
		stored  int
	}{
		"NotByThemselves":         {func(*peer) {}, 1},
		"WhenTheirAckHasArrived":  {func(p *peer) { p.Confirm(p.token) }, 2},
		"NotByAnEarlierAck":       {func(p *peer) { p.Confirm(p.token - 1) }, 1},
		"WhenTheSessionIsLost":    {func(p *peer) { p.Reset() }, 2},
		"WhenTheIDReturnsAsNew":   {func(p *peer) { m := pulse(2, 9); m.PacketID = 5; p.send(m); p.wait() }, 3},
		"AlsoByAMessageWithATime": {func(p *peer) { m := env(1, 1, 20); m.PacketID = 5; p.send(m); p.wait() }, 3},
		"AlsoByAMessageNotStored": {func(p *peer) { m := msg("no/one", "1"); m.PacketID = 5; p.send(m); p.wait() }, 2},
		"WhenOtherContentComes":   {func(p *peer) { m := pulse(1, 2); m.PacketID, m.Dup = 5, true; p.send(m); p.wait() }, 3},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restart=%v", name, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					st := newTap()
					r := start(t, st, Config{}, pulseDoc, envDoc)
					p := r.open("a")
					p.send(pulse(7, 7))
					p.send(first)
					p.wait()
					test.between(p)
					time.Sleep(time.Second)
					if restart {
						r.crash()
						r = start(t, st, Config{}, pulseDoc, envDoc)
						p = r.open("a")
					}
					p.send(again)
					p.wait()
					if n := len(st.readings(t, "pulse")) + len(st.readings(t, "env")) - 1; n != test.stored {
						t.Errorf("%d readings, want %d", n, test.stored)
					}
				})
			})
		}
	}
	t.Run("OfAnEarlierConnectionWhenANewMessageIsConfirmed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{}, pulseDoc)
			p := r.open("a")
			second := pulse(1, 2)
			second.PacketID = 6
			p.send(first, second)
			p.wait()
			p.Close()
			p = r.open("a")
			p.send(again) // the second is still on its way
			p.wait()
			p.Confirm(p.token)
			second.Dup = true
			p.send(second)
			p.wait()
			if n := len(r.st.readings(t, "pulse")); n != 2 {
				t.Fatalf("%d readings, want 2: a redelivery may come after a confirmation", n)
			}
			p.Close()
			p = r.open("a")
			p.send(pulse(3, 3)) // new: nothing is redelivered after it
			p.wait()
			p.Confirm(p.token)
			if r.sessions["a"].ledger.n != 0 {
				t.Errorf("%d entries are left", r.sessions["a"].ledger.n)
			}
			time.Sleep(time.Second)
			if _, entries, err := r.st.OpenSession(t.Context(), "a"); err != nil || len(entries) != 0 {
				t.Errorf("the store holds %v, %v", entries, err)
			}
		})
	})
}
