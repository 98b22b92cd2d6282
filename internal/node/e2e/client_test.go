package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// publisher is a device that knows what MQTT 3.1.1 asks of it: a persistent
// session, and after each reconnect everything that was not acknowledged once
// more, in order, with its old packet id and DUP set. It survives any number of
// broken connections.
type publisher struct {
	id      string
	qos     uint8
	window  int
	address func() string // of the broker, which may move
	next    func(n int) (topic string, payload []byte, ok bool)

	mu     sync.Mutex
	sent   int // messages that were begun
	acked  int
	lost   int     // times that the broker did not know the session any more
	breaks []error // why connections ended
}

// pending is a message on its way: at QoS 2 it is released once PUBREC came.
type pending struct {
	id       uint16
	packet   []byte
	released bool
}

func (p *publisher) counts() (sent, acked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.acked
}

// run publishes everything, and returns when all of it is acknowledged.
func (p *publisher) run(ctx context.Context) error {
	var unacked []pending
	id := uint16(0)
	done := false
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %d messages are not acknowledged: %w", p.id, len(unacked), ctx.Err())
		}
		if done && len(unacked) == 0 {
			return nil
		}
		conn, r, present, err := p.connect(ctx)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the node is down; there is nothing to wait on
			continue
		}
		p.mu.Lock()
		// A session of which nothing was acknowledged yet may be forgotten.
		if !present && p.acked > 0 {
			p.lost++
		}
		p.mu.Unlock()
		unacked, id, done, err = p.converse(ctx, conn, r, unacked, id, done)
		if err != nil {
			p.mu.Lock()
			p.breaks = append(p.breaks, err)
			p.mu.Unlock()
		}
		_ = conn.Close()
	}
}

func (p *publisher) connect(ctx context.Context) (net.Conn, *wire.Reader, bool, error) {
	d := net.Dialer{Timeout: time.Minute}
	conn, err := d.DialContext(ctx, "tcp", p.address())
	if err != nil {
		return nil, nil, false, err
	}
	hello := wire.Connect{Version: wire.V311, ClientID: p.id, KeepAlive: 60}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	r := wire.NewReader(conn, 1<<16)
	_, err = conn.Write(wire.AppendConnect(nil, &hello))
	var ack wire.Connack
	if err == nil {
		var first byte
		var body []byte
		if first, body, err = r.Next(); err == nil {
			err = wire.ParseConnack(&ack, wire.V311, first, body)
		}
	}
	if err == nil && ack.Reason.Failed() {
		err = errors.New(ack.Reason.String())
	}
	if err != nil {
		return nil, nil, false, errors.Join(err, conn.Close())
	}
	return conn, r, ack.SessionPresent, conn.SetDeadline(time.Time{})
}

// converse publishes over one connection until it breaks or everything is
// acknowledged.
func (p *publisher) converse(ctx context.Context, conn net.Conn, r *wire.Reader, unacked []pending, id uint16, done bool) ([]pending, uint16, bool, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	acks := make(chan wire.Ack, 4*p.window)
	go func() {
		defer close(acks)
		for {
			first, body, err := r.Next()
			if err != nil {
				return
			}
			var a wire.Ack
			if wire.ParseAck(&a, wire.V311, first, body) == nil {
				acks <- a
			}
		}
	}()
	defer func() {
		_ = conn.Close()
		for range acks { //nolint:revive // what was acknowledged after the break is sent again
		}
	}()
	var out []byte
	for i := range unacked {
		if unacked[i].released {
			out = wire.AppendAck(out, wire.PUBREL, unacked[i].id)
			continue
		}
		unacked[i].packet[0] |= 0x08 // DUP
		out = append(out, unacked[i].packet...)
	}
	for {
		for len(unacked) < p.window && !done {
			topic, payload, ok := p.next(p.sent)
			if !ok {
				done = true
				break
			}
			if id++; id == 0 {
				id = 1
			}
			m := wire.Publish{Topic: []byte(topic), Payload: payload, QoS: p.qos, PacketID: id}
			packet := wire.AppendPublish(nil, wire.V311, &m)
			unacked = append(unacked, pending{id: id, packet: packet})
			p.mu.Lock()
			p.sent++
			p.mu.Unlock()
			out = append(out, packet...)
		}
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return unacked, id, done, err
			}
			out = out[:0]
		}
		if len(unacked) == 0 && done {
			return unacked, id, done, nil
		}
		a, ok := <-acks
		if !ok {
			return unacked, id, done, errors.New("the connection broke")
		}
		var err error
		if unacked, out, err = p.acknowledged(unacked, out, a); err != nil {
			return unacked, id, done, err
		}
	}
}

// acknowledged takes one acknowledgement into account.
func (p *publisher) acknowledged(unacked []pending, out []byte, a wire.Ack) ([]pending, []byte, error) {
	for i := range unacked {
		if unacked[i].id != a.PacketID {
			continue
		}
		switch a.Type {
		case wire.PUBREC:
			unacked[i].released = true
			return unacked, wire.AppendAck(out, wire.PUBREL, a.PacketID), nil
		case wire.PUBACK, wire.PUBCOMP:
			p.mu.Lock()
			p.acked++
			p.mu.Unlock()
			return append(unacked[:i], unacked[i+1:]...), out, nil
		}
	}
	return unacked, out, fmt.Errorf("%s: acknowledgement %v of packet id %d, which is not in flight", p.id, a.Type, a.PacketID)
}
