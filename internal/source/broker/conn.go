package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// conn is one client connection, and the net.Conn that mochi is given for it:
// mochi's Read runs the loop that handles packets, in mochi's goroutine, and
// returns only with bytes that are for mochi; mochi's Write appends whole packets
// to the same output as everything else.
type conn struct {
	b         *Broker
	nc        net.Conn
	transport string
	raw       *rawReader // nil where the socket cannot be waited for without a buffer
	serial    uint64     // tells connections apart

	ctx    context.Context // ends when the connection is closed
	cancel context.CancelFunc
	done   chan struct{} // closed when everything of the connection ended

	reader           // what only the reading goroutine touches
	output           // what several goroutines write to
	session *session // set before the client is connected
	owner   atomic.Pointer[session]
}

// reader is the state of the goroutine that reads.
type reader struct {
	buf      []byte // borrowed; buf[r:w] is not yet handled
	r, w     int
	need     int       // bytes from r that make the next step possible
	small    []byte    // where there is no raw: the buffer of a connection that is not busy
	busy     bool      // the last read filled the buffer
	pass     []byte    // for mochi, as it reads on
	now      int64     // time of the last read, unix nanoseconds
	deadline time.Time // when the read deadline was set, zero: that for CONNECT holds

	version  wire.Version
	phase    phase
	clientID string
	assigned bool // the client id was made up here
	connect  *connectInfo
	keep     time.Duration // silence after which the client is taken for dead; 0: for ever
	graceful bool          // DISCONNECT came, and says that the will is not wanted
	present  bool          // CONNACK said that a session was there
	expired  bool          // the session ends with the connection

	publish wire.Publish
	aliases map[uint16][]byte
	aliased int // bytes in aliases
	intake
}

type phase uint8

const (
	awaitConnect phase = iota // the next packet must be CONNECT
	connecting                // mochi has the CONNECT
	accepted                  // CONNACK says success
	connected                 // the session is established
)

var errClosed = fmt.Errorf("broker: %w", net.ErrClosed)

func newConn(b *Broker, nc net.Conn, transport string) *conn {
	c := &conn{b: b, nc: nc, transport: transport, raw: newRawReader(nc), done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(b.ctx)
	c.cond.L = &c.mu
	return c
}

// run gives the connection to mochi and cleans up behind it.
func (c *conn) run() {
	c.now = c.b.cfg.Now()
	_ = c.nc.SetReadDeadline(time.Now().Add(connectTimeout))
	err := c.b.server.EstablishConnection(c.transport, c)
	c.endBurst()
	_ = c.Close()
	c.b.release(c)
	c.awaitWritten()
	if c.buf != nil {
		returnRead(c.buf)
		c.buf = nil
	}
	if c.phase == connected && err != nil && !c.b.stopping.Load() {
		c.b.log.Debug("client is gone", "client", c.clientID, "error", err)
	}
}

// Read hands mochi the packets that are its own and handles all others.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if len(c.pass) > 0 {
			n := copy(p, c.pass)
			c.pass = c.pass[n:]
			return n, nil
		}
		switch c.phase {
		case connecting: // mochi reads on only if it accepted, and then CONNACK was seen
			return 0, errClosed
		case accepted: // also where it is closed already: its will is due
			if err := c.b.establish(c); err != nil {
				return 0, c.fail(err)
			}
		}
		if c.closing.Load() {
			c.endBurst()
			return 0, errClosed
		}
		more, err := c.step()
		if err != nil {
			c.endBurst()
			return 0, c.fail(err)
		}
		if !more {
			continue
		}
		c.endBurst()
		if err := c.fill(); err != nil {
			return 0, c.fail(err)
		}
	}
}

// step handles the packet at the front of the buffer. It returns true when the
// buffer ends before the packet does; need says how much there must be then.
func (c *conn) step() (more bool, err error) {
	if c.phase == awaitConnect && c.r < c.w && c.buf[c.r] != byte(wire.CONNECT)<<4 { // [MQTT-3.1.0-1]
		return false, &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.1.0-1", Text: "the first packet is not CONNECT"}
	}
	h, n, err := wire.ReadHeader(c.buf[c.r:c.w])
	if err != nil {
		return false, err
	}
	if n == 0 {
		c.need = min(c.w-c.r+1, 5)
		return true, nil
	}
	size := n + h.Remaining
	if size > c.limit(h) {
		return false, wire.ErrPacketTooLarge
	}
	if h.Type() == wire.PUBLISH && h.Remaining > c.b.cfg.MaxPayload+oversizePrefix && c.phase == connected {
		return c.oversized(h, n)
	}
	if c.w-c.r < size {
		c.need = size
		return true, nil
	}
	body := c.buf[c.r+n : c.r+size : c.r+size]
	packet := c.buf[c.r : c.r+size]
	c.r += size
	if c.phase == awaitConnect {
		return false, c.onConnect(h, body)
	}
	return false, c.handle(h, body, packet)
}

// limit returns the largest size that a packet of this kind may have.
func (c *conn) limit(h wire.Header) int {
	if h.Type() == wire.PUBLISH && c.phase == connected {
		return c.b.cfg.MaxPacket
	}
	return min(maxControl, c.b.cfg.MaxPacket)
}

// handle dispatches one packet of a connected client.
func (c *conn) handle(h wire.Header, body, packet []byte) error {
	switch h.Type() {
	case wire.PUBLISH:
		return c.onPublish(h.First, body)
	case wire.PUBREL:
		return c.onPubrel(h.First, body)
	case wire.PUBACK, wire.PUBREC, wire.PUBCOMP:
		var a wire.Ack
		if err := wire.ParseAck(&a, c.version, h.First, body); err != nil {
			return err
		}
		c.session.onAck(&a)
		return nil
	case wire.PINGREQ:
		if err := wire.ParsePing(h.First, body); err != nil {
			return err
		}
		c.append(func(out []byte) []byte { return wire.AppendPingresp(out) })
		return nil
	case wire.SUBSCRIBE:
		c.endBurst()
		return c.onSubscribe(h.First, body)
	case wire.UNSUBSCRIBE:
		c.endBurst()
		return c.onUnsubscribe(h.First, body)
	case wire.DISCONNECT:
		c.endBurst()
		var d wire.Disconnect
		if err := wire.ParseDisconnect(&d, c.version, h.First, body); err != nil {
			return err
		}
		if v, ok := d.Properties.Uint(wire.SessionExpiry); ok {
			// [MQTT-3.14.2-2]: what began without expiry cannot get one.
			if v > 0 && c.connect.expiry == 0 {
				return &wire.Error{Reason: wire.ProtocolError, Clause: "3.14.2.2.2", Text: "DISCONNECT sets a session expiry although CONNECT set none"}
			}
			c.connect.expiry = v
		}
		c.graceful = d.Reason == wire.Success // [MQTT-3.14.4-3]
		c.pass = packet
		return nil
	case wire.CONNECT: // [MQTT-3.1.0-2]
		return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.1.0-2", Text: "a second CONNECT"}
	case wire.AUTH: // no method was agreed on in CONNECT
		return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-4.12.0-1", Text: "AUTH without an authentication method"}
	}
	return &wire.Error{Reason: wire.ProtocolError, Clause: "2.1.2", Text: "a client does not send " + h.Type().String()}
}

// fill waits for bytes and reads them into the buffer.
func (c *conn) fill() error {
	if err := c.awaitRoom(); err != nil {
		return err
	}
	c.refreshDeadline()
	n, err := c.read()
	if n > 0 {
		c.b.stats.bytesIn.Add(uint64(n))
		c.now = c.b.cfg.Now()
		return c.resumeReading()
	}
	switch {
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.closing.Load() && c.phase == connected:
		return &wire.Error{Reason: wire.KeepAliveTimeout, Clause: "MQTT-3.1.2-22", Text: "nothing came for one and a half times the keep alive"}
	}
	return err
}

// read reads once.
func (c *conn) read() (int, error) {
	if c.raw != nil {
		return c.raw.read(c)
	}
	if c.w == c.r && !c.busy && c.need <= smallBuffer {
		returnRead(c.buf)
		if c.small == nil {
			c.small = make([]byte, smallBuffer)
		}
		c.buf, c.r, c.w = c.small, 0, 0
	}
	c.room()
	space := len(c.buf) - c.w
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	c.busy = n == space
	return n, err
}

// room makes place in the buffer for what is needed next.
func (c *conn) room() {
	have := c.w - c.r
	switch {
	case c.buf == nil:
		c.buf = borrowRead()
		c.r, c.w = 0, 0
	case cap(c.buf) < readBufferSize && (c.raw != nil || c.busy || c.need > cap(c.buf)): // parked bytes
		parked := c.buf[c.r:c.w]
		c.buf = borrowRead()
		c.w = copy(c.buf, parked)
		c.r = 0
	case c.r > 0 && (c.r == c.w || c.w == len(c.buf) || c.r+c.need > len(c.buf)):
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.r+c.need > len(c.buf) && c.w == len(c.buf) {
		// Grown step by step: what a header only announces costs nothing.
		grown := make([]byte, min(c.need, 2*len(c.buf)))
		copy(grown, c.buf[c.r:c.w])
		returnRead(c.buf)
		c.buf, c.r, c.w = grown, 0, have
	}
}

// park gives the buffer back before a wait, or what is too large for what is in it.
func (c *conn) park() {
	have := c.w - c.r
	switch {
	case c.buf == nil:
	case have == 0:
		returnRead(c.buf)
		c.buf, c.r, c.w = nil, 0, 0
	case have <= parkedSize && cap(c.buf) > parkedSize:
		small := make([]byte, have)
		copy(small, c.buf[c.r:c.w])
		returnRead(c.buf)
		c.buf, c.r, c.w = small, 0, have
	}
}

// refreshDeadline moves the read deadline, at most a few times per keep alive. The
// silence of a client counts from when its bytes are waited for: while the sink
// had no room, it may have sent what was not read.
func (c *conn) refreshDeadline() {
	if c.phase != connected || c.keep == 0 && !c.deadline.IsZero() {
		return
	}
	now := time.Now()
	if !c.deadline.IsZero() && now.Sub(c.deadline) < c.keep/16 { // by the monotonic clock
		return
	}
	c.deadline = now
	if c.keep == 0 {
		_ = c.nc.SetReadDeadline(time.Time{})
		return
	}
	_ = c.nc.SetReadDeadline(now.Add(c.keep))
}

// fail ends the connection for a reason: an MQTT 5 client that broke the standard
// is told how.
func (c *conn) fail(err error) error {
	var e *wire.Error
	if !errors.As(err, &e) {
		_ = c.Close()
		return err
	}
	c.b.stats.violations.Add(1)
	c.b.log.Debug("client broke the protocol", "client", c.clientID, "remote", c.RemoteAddr(), "error", err)
	if c.phase == connected {
		c.disconnect(e.Reason)
	} else {
		_ = c.Close()
	}
	return err
}

// disconnect tells an MQTT 5 client why, and closes.
func (c *conn) disconnect(reason wire.ReasonCode) {
	c.mu.Lock()
	if c.speaks5 && !c.closing.Load() {
		c.out = wire.AppendDisconnect(c.outLocked(), wire.V5, &wire.Disconnect{Reason: reason})
	}
	c.mu.Unlock()
	_ = c.Close()
}

// Close stops the reading; what is in the output is still written, for a short time.
func (c *conn) Close() error {
	if c.closing.CompareAndSwap(false, true) {
		_ = c.nc.SetWriteDeadline(time.Now().Add(closeTimeout))
		c.cancel()
		c.wake()
		c.kick()
	}
	return nil
}

// Write takes a whole packet from mochi.
func (c *conn) Write(p []byte) (int, error) {
	if c.closing.Load() {
		return 0, errClosed
	}
	c.mu.Lock()
	if c.greeting { // this is the CONNACK: from here on it may be told why it is disconnected
		c.greeting, c.speaks5 = false, c.version >= wire.V5
	}
	c.out = append(c.outLocked(), p...)
	c.mu.Unlock()
	c.kick()
	return len(p), nil
}

// LocalAddr, RemoteAddr and the deadlines make it a net.Conn. mochi's deadlines
// are ignored: it does not see most packets.
func (c *conn) LocalAddr() net.Addr              { return c.nc.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr             { return c.nc.RemoteAddr() }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// output is where packets to the client are collected.
type output struct {
	mu       sync.Mutex
	cond     sync.Cond // room in the output, acknowledgements done, closed
	out      []byte
	speaks5  bool // it takes DISCONNECT and reasons
	greeting bool // CONNACK is about to be written
	reading  bool // the reader handles what it read
	halted   bool // the reader is to stop
	broken   bool // the socket is closed
	acks
	closing atomic.Bool
	work    atomic.Uint32 // kicks that the writer has not seen
}

var _ telemetry.Acker = (*conn)(nil)
