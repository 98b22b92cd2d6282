package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// fake is a scripted broker on pipes, for tests in a synctest bubble: time is
// fake, and after synctest.Wait everything that can happen has happened.
type fake struct {
	t     *testing.T
	conns chan net.Conn
	dials []time.Time
	mu    sync.Mutex

	writes atomic.Int64 // calls of Write by the source
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// countWrites returns how many writes there were since the call.
func countWrites(f *fake) func() int64 {
	before := f.writes.Load()
	return func() int64 { return f.writes.Load() - before }
}

func newFake(t *testing.T) *fake { return &fake{t: t, conns: make(chan net.Conn)} }

var errNobody = errors.New("connection refused")

// dial hands the other end to accept; where nobody accepts for a second it fails.
func (f *fake) dial(ctx context.Context, _ string) (net.Conn, error) {
	f.mu.Lock()
	f.dials = append(f.dials, time.Now())
	f.mu.Unlock()
	here, there := net.Pipe()
	select {
	case f.conns <- there:
		return &countingConn{here, &f.writes}, nil
	case <-time.After(time.Second):
		return nil, errNobody
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fake) dialed() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.dials...)
}

// config is that of a source which talks to the fake.
func (f *fake) config() Config {
	return Config{URL: "mqtt://broker", Topics: []string{"#"}, QoS: 1, Dial: f.dial, ClientID: "node"}
}

// packet is a copy of what the source sent.
type packet struct {
	first byte
	body  []byte
	at    time.Time
}

func (p packet) kind() wire.PacketType { return wire.PacketType(p.first >> 4) }

// peer is the broker's end of one connection. It answers SUBSCRIBE, UNSUBSCRIBE
// and PINGREQ by itself, and never blocks: what it sends waits in a queue.
type peer struct {
	t       *testing.T
	conn    net.Conn
	version wire.Version
	connect wire.Connect

	mu      sync.Mutex
	packets []packet
	mute    bool                                    // answers no PINGREQ
	slow    bool                                    // answers no SUBSCRIBE; the test does
	grant   func(wire.Subscription) wire.ReasonCode // nil: as asked
	ended   bool                                    // the source closed
	out     chan []byte
}

// accept waits for the next connection and answers its CONNECT.
func (f *fake) accept(ack wire.Connack) *peer {
	f.t.Helper()
	p := f.answer(func(c *wire.Connect) []byte { return wire.AppendConnack(nil, c.Version, &ack) })
	synctest.Wait()
	return p
}

// resume is accept with the session present.
func (f *fake) resume() *peer { return f.accept(wire.Connack{SessionPresent: true}) }

// answer waits for the next connection and sends what reply returns.
func (f *fake) answer(reply func(c *wire.Connect) []byte) *peer {
	f.t.Helper()
	p := &peer{t: f.t, conn: <-f.conns, out: make(chan []byte, 1<<16)}
	r := wire.NewReader(p.conn, wire.MaxRemaining)
	first, body, err := r.Next()
	if err == nil {
		err = wire.ParseConnect(&p.connect, first, body)
	}
	if err != nil {
		f.t.Fatalf("CONNECT: %v", err)
	}
	p.version = p.connect.Version
	go func() {
		for b := range p.out {
			if _, err := p.conn.Write(b); err != nil {
				for range p.out { // nobody reads any more
				}
			}
		}
	}()
	f.t.Cleanup(p.close)
	p.send(reply(&p.connect))
	go p.read(r)
	return p
}

func (p *peer) read(r *wire.Reader) {
	for {
		first, body, err := r.Next()
		if err != nil {
			p.mu.Lock()
			p.ended = true
			p.mu.Unlock()
			return
		}
		p.handle(packet{first, bytes.Clone(body), time.Now()})
	}
}

func (p *peer) handle(k packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packets = append(p.packets, k)
	var reply []byte
	switch k.kind() {
	case wire.SUBSCRIBE:
		var s wire.Subscribe
		if err := wire.ParseSubscribe(&s, p.version, k.first, k.body); err != nil {
			p.t.Errorf("SUBSCRIBE: %v", err)
		}
		ack := wire.Suback{PacketID: s.PacketID}
		for _, f := range s.Subscriptions {
			reason := wire.ReasonCode(f.QoS)
			if p.grant != nil {
				reason = p.grant(f)
			}
			ack.Reasons = append(ack.Reasons, reason)
		}
		if !p.slow {
			reply = wire.AppendSuback(nil, p.version, &ack)
		}
	case wire.UNSUBSCRIBE:
		var u wire.Unsubscribe
		if err := wire.ParseUnsubscribe(&u, p.version, k.first, k.body); err != nil {
			p.t.Errorf("UNSUBSCRIBE: %v", err)
		}
		reply = wire.AppendUnsuback(nil, p.version, &wire.Suback{PacketID: u.PacketID, Reasons: make([]wire.ReasonCode, len(u.Filters))})
	case wire.PINGREQ:
		if !p.mute {
			reply = wire.AppendPingresp(nil)
		}
	}
	if reply != nil {
		p.out <- reply
	}
}

// send queues bytes for the source.
func (p *peer) send(b []byte) { p.out <- bytes.Clone(b) }

// publish sends one message and waits until the source dealt with it.
func (p *peer) publish(m wire.Publish) {
	p.t.Helper()
	p.send(wire.AppendPublish(nil, p.version, &m))
	synctest.Wait()
}

// message is a QoS 1 message of that packet id.
func message(id uint16, payload string) wire.Publish {
	return wire.Publish{Topic: []byte("a/b"), Payload: []byte(payload), PacketID: id, QoS: 1}
}

// close ends the connection from the broker's side.
func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil {
		close(p.out)
		p.out = nil
	}
	_ = p.conn.Close() // it may be closed already
}

// hangUp closes once everything queued was taken.
func (p *peer) hangUp() {
	synctest.Wait()
	p.close()
}

// of returns the packets of one kind that the source sent.
func (p *peer) of(kind wire.PacketType) (out []packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.packets {
		if k.kind() == kind {
			out = append(out, k)
		}
	}
	return out
}

// acks returns the packet ids of one kind of acknowledgement, in order.
func (p *peer) acks(kind wire.PacketType) (ids []uint16) {
	synctest.Wait()
	for _, k := range p.of(kind) {
		var a wire.Ack
		if err := wire.ParseAck(&a, p.version, k.first, k.body); err != nil {
			p.t.Errorf("%s: %v", kind, err)
		}
		ids = append(ids, a.PacketID)
	}
	return ids
}

// left returns the reason of the source's DISCONNECT, and whether it came.
func (p *peer) left() (wire.ReasonCode, bool) {
	synctest.Wait()
	k := p.of(wire.DISCONNECT)
	if len(k) == 0 {
		return 0, false
	}
	var d wire.Disconnect
	if err := wire.ParseDisconnect(&d, p.version, k[0].first, k[0].body); err != nil {
		p.t.Errorf("DISCONNECT: %v", err)
	}
	return d.Reason, true
}

func (p *peer) gone() bool {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// filters returns those of all SUBSCRIBE or UNSUBSCRIBE packets.
func (p *peer) filters(kind wire.PacketType) (filters []string) {
	synctest.Wait()
	for _, k := range p.of(kind) {
		switch kind {
		case wire.SUBSCRIBE:
			var s wire.Subscribe
			if err := wire.ParseSubscribe(&s, p.version, k.first, k.body); err != nil {
				p.t.Errorf("SUBSCRIBE: %v", err)
			}
			for _, f := range s.Subscriptions {
				filters = append(filters, f.Filter)
			}
		case wire.UNSUBSCRIBE:
			var u wire.Unsubscribe
			if err := wire.ParseUnsubscribe(&u, p.version, k.first, k.body); err != nil {
				p.t.Errorf("UNSUBSCRIBE: %v", err)
			}
			filters = append(filters, u.Filters...)
		}
	}
	return filters
}

// stream is n QoS 1 messages of the workload W1, with packet ids from 1.
func stream(v wire.Version, n int) []byte {
	var b []byte
	for i := range n {
		b = wire.AppendPublish(b, v, &wire.Publish{
			Topic:    fmt.Appendf(nil, "plants/p03/lines/l2/devices/d%05d/env", i%1000),
			Payload:  []byte(`{"ts":1750000000123,"temperature":21.53,"humidity":48.21,"pressure":1013.25,"battery":3.71,"status":"ok"}`),
			PacketID: uint16(i + 1), QoS: 1,
		})
	}
	return b
}
