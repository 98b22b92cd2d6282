package bench

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// feeder plays the broker: it listens on loopback, takes one subscriber, and
// sends it the workload.
type feeder struct {
	listener net.Listener
}

func listenFeeder() (*feeder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &feeder{l}, nil
}

func (f *feeder) url() string { return "mqtt://" + f.listener.Addr().String() }

func (f *feeder) close() { _ = f.listener.Close() }

// accept waits for a subscriber, answers its hand-shake, and returns a pump to it.
func (f *feeder) accept(ctx context.Context, w Workload, o pumpOptions) (*pump, []byte, error) {
	stop := context.AfterFunc(ctx, f.close)
	defer stop()
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return nil, nil, fmt.Errorf("wait for the subscriber: %w", err)
		}
		p, rest, err := f.greet(conn, w, o)
		if err != nil {
			_ = conn.Close() // as a node does that tries MQTT 5 first
			continue
		}
		return p, rest, nil
	}
}

func (f *feeder) greet(conn net.Conn, w Workload, o pumpOptions) (*pump, []byte, error) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := wire.NewReader(conn, 64<<10)
	first, body, err := r.Next()
	if err != nil {
		return nil, nil, err
	}
	var c wire.Connect
	if err := wire.ParseConnect(&c, first, body); err != nil {
		return nil, nil, err
	}
	version := c.Version
	o.v5 = version == wire.V5
	if limit := c.Properties.UintOr(wire.ReceiveMaximum, 65535); o.window == 0 || o.window > int(limit) {
		o.window = int(limit)
	}
	if _, err := conn.Write(wire.AppendConnack(nil, version, &wire.Connack{})); err != nil {
		return nil, nil, err
	}
	for {
		first, body, err := r.Next()
		if err != nil {
			return nil, nil, err
		}
		switch wire.PacketType(first >> 4) {
		case wire.SUBSCRIBE:
			var s wire.Subscribe
			if err := wire.ParseSubscribe(&s, version, first, body); err != nil {
				return nil, nil, err
			}
			ack := wire.Suback{PacketID: s.PacketID}
			for range s.Subscriptions {
				ack.Reasons = append(ack.Reasons, wire.ReasonCode(o.qos))
			}
			if _, err := conn.Write(wire.AppendSuback(nil, version, &ack)); err != nil {
				return nil, nil, err
			}
			_ = conn.SetDeadline(time.Time{})
			return newPump(conn, w, o), r.Buffered(), nil
		case wire.PINGREQ:
			if _, err := conn.Write(wire.AppendPingresp(nil)); err != nil {
				return nil, nil, err
			}
		}
	}
}

// dialPublisher connects to a broker as a client and returns a pump to it.
func dialPublisher(ctx context.Context, address, clientID string, w Workload, o pumpOptions) (*pump, []byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	version := wire.V311
	if o.v5 {
		version = wire.V5
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	hello := wire.AppendConnect(nil, &wire.Connect{Version: version, Clean: true, ClientID: clientID})
	if _, err := conn.Write(hello); err != nil {
		return nil, nil, err
	}
	r := wire.NewReader(conn, 64<<10)
	first, body, err := r.Next()
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	var ack wire.Connack
	if err := wire.ParseConnack(&ack, version, first, body); err != nil {
		return nil, nil, err
	}
	if ack.Reason != wire.Success {
		return nil, nil, fmt.Errorf("%s refused the connection: reason 0x%02x", address, byte(ack.Reason))
	}
	if limits := ack.Limits(); o.window == 0 || o.window > int(limits.ReceiveMaximum) {
		o.window = int(limits.ReceiveMaximum)
	}
	_ = conn.SetDeadline(time.Time{})
	return newPump(conn, w, o), r.Buffered(), nil
}
