package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// refused is a CONNACK that says no.
type refused struct {
	version wire.Version
	reason  wire.ReasonCode
	text    string
}

func (e *refused) Error() string {
	return "the broker refuses the connection: " + said(e.reason, e.text)
}

// disconnected is a DISCONNECT from the broker.
type disconnected struct {
	reason wire.ReasonCode
	text   string
}

func (e *disconnected) Error() string {
	return "the broker disconnects: " + said(e.reason, e.text)
}

func said(r wire.ReasonCode, text string) string {
	if text == "" {
		return r.String()
	}
	return fmt.Sprintf("%s: %q", r, text)
}

// explanation is what a packet's properties add for people.
func explanation(p *wire.Properties) string {
	text := string(p.Text(wire.ReasonString))
	if ref := p.Text(wire.ServerReference); len(ref) > 0 {
		if text != "" {
			text += "; "
		}
		text += "use server " + string(ref)
	}
	return text
}

// errNoConnack is a connection that ended between CONNECT and CONNACK, which is
// how some brokers refuse a version that they do not know.
var errNoConnack = errors.New("the broker closed the connection without an answer to CONNECT")

// link is one network connection.
type link struct {
	s       *Source
	nc      net.Conn
	w       *writer
	session telemetry.Session
	version wire.Version
	connack wire.Connack
	since   time.Time

	// The reader's buffer: what is read and not yet parsed is buf[start:end].
	buf        []byte
	start, end int
	need       int       // bytes from start that the packet at hand needs, at least
	now        time.Time // of this burst
	busy       time.Time // when the buffer was last used well

	packet  wire.Publish
	message telemetry.Message
	aliases aliasTable
	large   oversized

	open    bool   // a burst is open
	room    bool   // the open burst may go on
	confirm uint64 // to be confirmed after the burst; 0: nothing
	count   burstCounts
}

// dial connects and shakes hands.
func (s *Source) dial(ctx context.Context, v wire.Version) (_ *link, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	nc, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	l := &link{s: s, nc: nc, version: v, buf: make([]byte, bufferStart), session: s.session}
	l.aliases.init(s.aliasMaximum())
	// Cancelling the context interrupts the hand-shake.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = l.handshake()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close() // the hand-shake's error matters
		if c := ctx.Err(); c != nil {
			err = fmt.Errorf("connect to %s: no answer within %s: %w", s.end.address, s.cfg.ConnectTimeout, c)
		}
		return nil, err
	}
	l.w = newWriter(nc, s.ring, &s.stats)
	l.w.keepAlive = s.cfg.KeepAlive
	if k, ok := l.connack.Properties.Uint(wire.ServerKeepAlive); ok && k > 0 {
		l.w.keepAlive = time.Duration(k) * time.Second // [MQTT-3.2.2-21]
	}
	l.w.confirmAfter = s.cfg.ConfirmAfter
	l.since = time.Now()
	l.busy = l.since
	if l.connack.SessionPresent {
		l.w.confirmFrom = l.since.Add(s.cfg.ConfirmGrace)
	}
	return l, nil
}

func (s *Source) open(ctx context.Context) (net.Conn, error) {
	dial := s.cfg.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	nc, err := dial(ctx, s.end.address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.end.address, err)
	}
	if !s.end.tls {
		return nc, nil
	}
	cfg, err := s.cfg.tlsConfig(s.end.host)
	if err == nil {
		tc := tls.Client(nc, cfg)
		if err = tc.HandshakeContext(ctx); err == nil {
			return tc, nil
		}
		err = fmt.Errorf("TLS with %s: %w", s.end.address, err)
	}
	_ = nc.Close() // the hand-shake's error matters
	return nil, err
}

func (s *Source) aliasMaximum() int {
	if s.noAliases || s.cfg.TopicAliasMaximum < 0 {
		return 0
	}
	return s.cfg.TopicAliasMaximum
}

func (l *link) handshake() error {
	cfg := &l.s.cfg
	password, err := cfg.password()
	if err != nil {
		return err
	}
	c := wire.Connect{
		Version: l.version, KeepAlive: uint16(cfg.KeepAlive / time.Second), ClientID: l.s.clientID,
		Username: cfg.Username, HasUser: cfg.Username != "", Password: password, HasPass: password != nil,
	}
	if l.version >= wire.V5 {
		c.Properties.SetUint(wire.SessionExpiry, uint32(min(cfg.SessionExpiry/time.Second, 0xffffffff)))
		c.Properties.SetUint(wire.ReceiveMaximum, uint32(cfg.ReceiveMaximum))
		if n := l.s.aliasMaximum(); n > 0 {
			c.Properties.SetUint(wire.TopicAliasMaximum, uint32(n))
		}
		// No maximum packet size: the broker would drop larger messages unseen
		// (3.1.2.11.4), while ours go to quarantine.
	}
	if _, err := l.nc.Write(wire.AppendConnect(nil, &c)); err != nil {
		return fmt.Errorf("send CONNECT: %w", err)
	}
	for {
		h, n, err := wire.ReadHeader(l.buf[:l.end])
		if err != nil {
			return err
		}
		if n > 0 {
			if h.Type() != wire.CONNACK && h.Type() != wire.AUTH {
				return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.2.0-1", Text: "the first packet is not a CONNACK but " + h.Type().String()}
			}
			if n+h.Remaining > len(l.buf) {
				return wire.ErrPacketTooLarge
			}
			if l.end >= n+h.Remaining {
				l.start = n + h.Remaining
				return l.accept(h.First, l.buf[n:l.start])
			}
		}
		got, err := l.nc.Read(l.buf[l.end:])
		l.end += got
		l.s.stats.bytesIn.Add(uint64(got))
		switch {
		case got > 0 || err == nil:
		case errors.Is(err, io.EOF):
			return errNoConnack
		default:
			return fmt.Errorf("wait for CONNACK: %w", err)
		}
	}
}

func (l *link) accept(first byte, body []byte) error {
	if wire.PacketType(first>>4) == wire.AUTH {
		// [MQTT-4.12.0-6]: no authentication method was named.
		return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-4.12.0-6", Text: "AUTH although no authentication method was named"}
	}
	if err := wire.ParseConnack(&l.connack, l.version, first, body); err != nil {
		return err
	}
	if r := l.connack.Reason; r.Failed() {
		return &refused{l.version, r, explanation(&l.connack.Properties)}
	}
	return nil
}

// close ends the connection. Gracefully: everything acknowledged so far is
// written, then a DISCONNECT with the reason.
func (l *link) close(reason wire.ReasonCode) {
	l.w.finish(wire.AppendDisconnect(nil, l.version, &wire.Disconnect{Reason: reason}))
	// Closing a socket with unread data resets it, and a reset may overtake the
	// acknowledgements. So the broker, which closes on DISCONNECT, goes first.
	if half, ok := l.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		if l.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			for err := error(nil); err == nil; {
				_, err = l.nc.Read(l.buf)
			}
		}
	}
	_ = l.nc.Close() // all that matters was sent
}

// lingerTime bounds the wait for the broker to close after a DISCONNECT.
const lingerTime = 500 * time.Millisecond

// drain waits until all that was handed on is acknowledged, or no longer.
func (l *link) drain(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for l.s.ring.written.Load() < l.s.ring.next {
		select {
		case <-l.s.ring.space:
		case <-l.w.done:
			return
		case <-timer.C:
			return
		}
	}
}
