package broker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// TestNothingIsLeftOfManyClientsThatDoAsTheyLike lets clients connect, subscribe, publish,
// acknowledge, break off and take each other's ids over, at random. At the end no
// session of the sink is open, and every byte in the outboxes belongs to a session.
// WEIR_SOAK=1 makes it a minute.
func TestNothingIsLeftOfManyClientsThatDoAsTheyLike(t *testing.T) {
	long := 700 * time.Millisecond
	if os.Getenv("WEIR_SOAK") == "1" {
		long = time.Minute
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sink := newFakeSink(t)
	b := start(t, sink, inDir(t.TempDir()), func(c *Config) { c.MaxQueuedBytes, c.MaxInflight = 200_000, 100 })
	end := time.Now().Add(long)
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			for time.Now().Before(end) {
				if err := chaos(b, r); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	stop(t, b)
	if len(sink.open) > 0 {
		t.Errorf("%d sessions of the sink are open", len(sink.open))
	}
	var sum int64
	for _, s := range b.sessions {
		held := 0
		for _, d := range s.flight {
			held += d.m.size()
		}
		for i := s.first; i < len(s.queue); i++ {
			held += s.queue[i].m.size()
		}
		if held != s.bytes {
			t.Errorf("session %q holds %d bytes and accounts for %d", s.id, held, s.bytes)
		}
		sum += int64(s.bytes)
	}
	if q := b.queued.Load(); q != sum {
		t.Errorf("%d bytes are accounted for in all, %d in sessions", q, sum)
	}
	t.Logf("%+v", b.Stats())
}

// chaos is one connection's life.
func chaos(b *Broker, r *rand.Rand) error {
	nc, err := net.Dial("tcp", b.address("tcp"))
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	v := versions[r.IntN(2)]
	p := wire.Connect{Version: v, ClientID: fmt.Sprint("c", r.IntN(40)), Clean: r.IntN(3) == 0, KeepAlive: 60}
	if v >= wire.V5 && r.IntN(2) == 0 {
		p.Properties.SetUint(wire.SessionExpiry, uint32(r.IntN(3)*1000))
		p.Properties.SetUint(wire.ReceiveMaximum, uint32(1+r.IntN(20)))
	}
	if r.IntN(4) == 0 {
		p.Will = &wire.Will{Topic: []byte("t/will"), Payload: []byte("x"), QoS: 1}
	}
	if _, err := nc.Write(wire.AppendConnect(nil, &p)); err != nil {
		return nil // taken over already
	}
	rd := wire.NewReader(nc, 1<<20)
	if r.IntN(4) > 0 {
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := rd.Next(); err != nil {
			if isTimeout(err) {
				return fmt.Errorf("client %s gets no CONNACK: %w", p.ClientID, err)
			}
			return nil
		}
	}
	go func() { // acknowledges what comes, now and then
		for n := 0; ; n++ {
			first, body, err := rd.Next()
			if err != nil {
				return
			}
			switch wire.PacketType(first >> 4) {
			case wire.PUBLISH:
				var m wire.Publish
				if wire.ParsePublish(&m, v, first, body) == nil && m.QoS > 0 && n%5 != 0 {
					kind := wire.PUBACK
					if m.QoS == 2 {
						kind = wire.PUBREC
					}
					_, _ = nc.Write(wire.AppendAck(nil, kind, m.PacketID))
				}
			case wire.PUBREL:
				_, _ = nc.Write(wire.AppendAck(nil, wire.PUBCOMP, uint16(body[0])<<8|uint16(body[1])))
			case wire.PUBREC:
				_, _ = nc.Write(wire.AppendAck(nil, wire.PUBREL, uint16(body[0])<<8|uint16(body[1])))
			}
		}
	}()
	for range r.IntN(40) {
		var out []byte
		switch r.IntN(6) {
		case 0:
			out = wire.AppendSubscribe(nil, v, &wire.Subscribe{PacketID: 1, Subscriptions: []wire.Subscription{
				{Filter: []string{"t/#", "t/+", "t/1", "$share/g/t/#", "#"}[r.IntN(5)], QoS: uint8(r.IntN(3))},
			}})
		case 1:
			out = wire.AppendUnsubscribe(nil, v, &wire.Unsubscribe{PacketID: 2, Filters: []string{"t/#", "#"}})
		default:
			out = wire.AppendPublish(nil, v, &wire.Publish{
				Topic: fmt.Append(nil, "t/", r.IntN(4)), Payload: make([]byte, r.IntN(2000)), QoS: uint8(r.IntN(3)),
				PacketID: uint16(1 + r.IntN(60000)), Retain: r.IntN(5) == 0,
			})
		}
		if _, err := nc.Write(out); err != nil {
			return nil
		}
	}
	time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond) // it stays a while
	if r.IntN(2) == 0 {
		_, _ = nc.Write(wire.AppendDisconnect(nil, v, &wire.Disconnect{}))
	}
	return nil
}
