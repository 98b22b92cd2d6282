// Package probe looks at what a node depends on, for weir doctor: a broker's
// limits and dropped messages, the time that the disk takes to make a write
// durable, and whether the clock is kept right.
package probe

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// Login is how to reach a broker.
type Login struct {
	Address      string // host:port
	TLS          bool
	Username     string
	PasswordFile string
	CAFile       string
	CertFile     string
	KeyFile      string
	ServerName   string
	MinTLS       string
	Insecure     bool
}

// Broker is what a broker says about itself.
type Broker struct {
	Version    wire.Version // that it speaks
	Limits     wire.Limits
	Expiry     time.Duration // of a session that asks for a week; 0 where it does not say
	Software   string        // $SYS/broker/version
	Dropped    string        // $SYS/broker/publish/messages/dropped
	RoundTrip  time.Duration // from CONNECT to CONNACK
	Restricted bool          // $SYS may not be read
}

// sysTopics are where brokers publish about themselves; Mosquitto's names, which
// others follow.
var sysTopics = []string{"$SYS/broker/version", "$SYS/broker/publish/messages/dropped"}

const sysWait = 1500 * time.Millisecond

// Ask connects to a broker as a client of its own, without touching the session of
// the node, and reads what it announces.
func Ask(ctx context.Context, l Login) (*Broker, error) {
	b, err := ask(ctx, l, wire.V5)
	var refused *refusal
	if errors.As(err, &refused) && refused.otherVersion {
		return ask(ctx, l, wire.V311)
	}
	return b, err
}

type refusal struct {
	reason       wire.ReasonCode
	otherVersion bool
}

func (r *refusal) Error() string { return "the broker refuses the connection: " + r.reason.String() }

func ask(ctx context.Context, l Login, v wire.Version) (*Broker, error) {
	s, err := open(ctx, l, v, 30*time.Second)
	if err != nil {
		return nil, err
	}
	defer s.close()
	b := &Broker{Version: v, Limits: s.ack.Limits(), RoundTrip: s.took, Expiry: week}
	if seconds, ok := s.ack.Properties.Uint(wire.SessionExpiry); ok {
		b.Expiry = time.Duration(seconds) * time.Second
	}
	b.readSys(s.conn, s.r)
	return b, nil
}

// session is a connection of our own to a broker.
type session struct {
	version wire.Version
	conn    net.Conn
	r       *wire.Reader
	ack     wire.Connack
	took    time.Duration // from CONNECT to CONNACK
	stop    func() bool
}

// open connects as a new client.
func open(ctx context.Context, l Login, v wire.Version, keepAlive time.Duration) (_ *session, err error) {
	conn, err := dial(ctx, l)
	if err != nil {
		return nil, err
	}
	s := &session{version: v, conn: conn, r: wire.NewReader(conn, 1<<20)}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer func() {
		if err != nil {
			s.stop()
			_ = conn.Close()
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	hello := wire.Connect{
		Version: v, Clean: true, KeepAlive: uint16(min(keepAlive/time.Second, 65535)), ClientID: "weirdoctor" + hex.EncodeToString(id),
		Username: l.Username, HasUser: l.Username != "",
	}
	if v >= wire.V5 {
		hello.Properties.SetUint(wire.SessionExpiry, uint32(week/time.Second))
	}
	if l.PasswordFile != "" {
		data, err := os.ReadFile(l.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read password file: %w", err)
		}
		line, _, _ := strings.Cut(string(data), "\n")
		hello.Password, hello.HasPass = []byte(strings.TrimSuffix(line, "\r")), true
	}
	start := time.Now()
	if _, err := conn.Write(wire.AppendConnect(nil, &hello)); err != nil {
		return nil, err
	}
	first, body, err := s.r.Next()
	if err != nil {
		if v >= wire.V5 { // some brokers refuse a version without a word
			return nil, errors.Join(&refusal{wire.UnsupportedProtocolVersion, true}, err)
		}
		return nil, fmt.Errorf("no answer to CONNECT: %w", err)
	}
	if err := wire.ParseConnack(&s.ack, v, first, body); err != nil {
		return nil, fmt.Errorf("the answer to CONNECT: %w", err)
	}
	if s.ack.Reason.Failed() {
		return nil, &refusal{s.ack.Reason, s.ack.Reason == wire.UnsupportedProtocolVersion}
	}
	s.took = time.Since(start)
	return s, nil
}

// close ends the session; what was asked for must not stay behind.
func (s *session) close() {
	bye := wire.Disconnect{}
	if s.version >= wire.V5 {
		bye.Properties.SetUint(wire.SessionExpiry, 0)
	}
	_ = s.conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = s.conn.Write(wire.AppendDisconnect(nil, s.version, &bye))
	s.stop()
	_ = s.conn.Close()
}

const week = 7 * 24 * time.Hour

// readSys reads the broker's own topics as far as it lets us.
func (b *Broker) readSys(conn net.Conn, r *wire.Reader) {
	sub := wire.Subscribe{PacketID: 1}
	for _, topic := range sysTopics {
		sub.Subscriptions = append(sub.Subscriptions, wire.Subscription{Filter: topic})
	}
	_ = conn.SetDeadline(time.Now().Add(sysWait))
	if _, err := conn.Write(wire.AppendSubscribe(nil, b.Version, &sub)); err != nil {
		return
	}
	for found := 0; found < len(sysTopics); {
		first, body, err := r.Next()
		if err != nil {
			break // the wait is over, or the broker ended it
		}
		switch wire.PacketType(first >> 4) {
		case wire.SUBACK:
			var ack wire.Suback
			if wire.ParseSuback(&ack, b.Version, first, body) == nil {
				for _, code := range ack.Reasons {
					b.Restricted = b.Restricted || code.Failed()
				}
			}
		case wire.PUBLISH:
			var p wire.Publish
			if wire.ParsePublish(&p, b.Version, first, body) != nil {
				return
			}
			switch string(p.Topic) {
			case sysTopics[0]:
				b.Software = printable(p.Payload)
				found++
			case sysTopics[1]:
				b.Dropped = printable(p.Payload)
				found++
			}
		}
	}
}

func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, string(b[:min(len(b), 100)]))
}

func dial(ctx context.Context, l Login) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if !l.TLS {
		return d.DialContext(ctx, "tcp", l.Address)
	}
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS13, InsecureSkipVerify: l.Insecure} //nolint:gosec // off unless a person asked for it
	if l.ServerName != "" {
		c.ServerName = l.ServerName
	}
	if l.MinTLS == "1.2" {
		c.MinVersion = tls.VersionTLS12
	}
	if l.CAFile != "" {
		pem, err := os.ReadFile(l.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %q holds no PEM certificate", l.CAFile)
		}
	}
	if l.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return (&tls.Dialer{NetDialer: &d, Config: c}).DialContext(ctx, "tcp", l.Address)
}
