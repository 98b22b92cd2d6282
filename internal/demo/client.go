package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// window is how many messages a device sends before it waits for an
// acknowledgement, as small clients do.
const window = 16

// client is a device's connection: MQTT 3.1.1, QoS 1. Its reader runs in a
// goroutine that ends with the connection.
type client struct {
	conn   net.Conn
	buf    []byte
	nextID uint16
	slots  chan struct{} // one for each message in flight
	ended  chan struct{} // closed when the reader has ended
	err    error         // the reader's, once ended is closed
	stop   func() bool
}

const ioTimeout = 10 * time.Second

func (f *Fleet) connect(ctx context.Context, d *device) (*client, error) {
	dialer := net.Dialer{Timeout: ioTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", f.opts.Broker)
	if err != nil {
		return nil, err
	}
	if f.opts.TLS != nil {
		conn = tls.Client(conn, f.opts.TLS)
	}
	c := &client{conn: conn, slots: make(chan struct{}, window), ended: make(chan struct{})}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) }) // ends reads and writes at once
	r := wire.NewReader(conn, 1024)
	if err := c.handshake(r, f, d); err != nil {
		c.stop()
		return nil, errors.Join(err, conn.Close())
	}
	go c.read(r, f)
	return c, nil
}

func (c *client) handshake(r *wire.Reader, f *Fleet, d *device) error {
	hello := wire.Connect{
		Version: wire.V311, Clean: true, KeepAlive: 60, ClientID: "weir-demo-" + d.name,
		Username: f.opts.Username, HasUser: f.opts.Username != "",
		Password: []byte(f.opts.Password), HasPass: f.opts.Password != "",
	}
	if err := c.conn.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return err
	}
	if _, err := c.conn.Write(wire.AppendConnect(nil, &hello)); err != nil {
		return err
	}
	first, body, err := r.Next()
	if err != nil {
		return err
	}
	var ack wire.Connack
	if err := wire.ParseConnack(&ack, wire.V311, first, body); err != nil {
		return err
	}
	if ack.Reason.Failed() {
		return fmt.Errorf("the broker refuses %s: %s", hello.ClientID, ack.Reason)
	}
	return c.conn.SetDeadline(time.Time{})
}

// read frees a slot for each acknowledgement.
func (c *client) read(r *wire.Reader, f *Fleet) {
	defer close(c.ended)
	for {
		first, _, err := r.Next()
		if err != nil {
			c.err = err
			return
		}
		if wire.PacketType(first>>4) == wire.PUBACK {
			select {
			case <-c.slots:
				f.acked.Add(1)
			default:
				c.err = errors.New("the broker acknowledged what was not sent")
				return
			}
		}
	}
}

func (c *client) publish(ctx context.Context, topic string, payload []byte) error {
	select {
	case c.slots <- struct{}{}:
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.nextID++; c.nextID == 0 {
		c.nextID = 1
	}
	p := wire.Publish{Topic: []byte(topic), Payload: payload, QoS: 1, PacketID: c.nextID}
	c.buf = wire.AppendPublish(c.buf[:0], wire.V311, &p)
	_, err := c.conn.Write(c.buf)
	return err
}

// idle waits, and pings where the wait is long.
func (c *client) idle(ctx context.Context, wait time.Duration) error {
	for wait > 0 {
		step := min(wait, 30*time.Second)
		t := time.NewTimer(step)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-c.ended:
			t.Stop()
			return c.err
		case <-t.C:
		}
		if wait -= step; wait > 0 {
			if _, err := c.conn.Write(wire.AppendPingreq(c.buf[:0])); err != nil {
				return err
			}
		}
	}
	return nil
}

// close says goodbye and waits for the reader.
func (c *client) close() {
	c.stop()
	_ = c.conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.conn.Write(wire.AppendDisconnect(c.buf[:0], wire.V311, &wire.Disconnect{})) // the broker may be gone
	_ = c.conn.Close()
	<-c.ended
}
