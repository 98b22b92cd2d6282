package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// testLogger shows the source's log where WEIR_TEST_LOG is set.
func testLogger() *slog.Logger {
	if os.Getenv("WEIR_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start runs a source until the test ends, and returns it with what stops it
// earlier and waits for it.
func start(tb testing.TB, cfg Config, sink *recorder) (*Source, func()) {
	tb.Helper()
	s, err := New(cfg, sink, testLogger())
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				tb.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			tb.Error("Run does not return")
		}
		sink.see(func() {
			for _, f := range sink.faults {
				tb.Errorf("the session was misused: %s", f)
			}
			if !sink.closed {
				tb.Error("the session was left open")
			}
		})
	}
	tb.Cleanup(stop)
	return s, stop
}

// connected waits until every filter is granted.
func connected(tb testing.TB, s *Source) {
	tb.Helper()
	testkit.Eventually(tb, "the source is subscribed", func() bool {
		st := s.Status()
		for _, f := range st.Filters {
			if f.Granted < 0 {
				return false
			}
		}
		return st.Connected
	})
}

// publisher is a client that publishes at QoS 1 and waits for the answers.
type publisher struct {
	tb   testing.TB
	conn net.Conn
	r    *wire.Reader
	id   uint16
}

func newPublisher(tb testing.TB, addr string) *publisher {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	p := &publisher{tb: tb, conn: conn, r: wire.NewReader(conn, wire.MaxRemaining)}
	p.write(wire.AppendConnect(nil, &wire.Connect{Version: wire.V311, Clean: true, ClientID: "publisher"}))
	first, body, err := p.r.Next()
	var c wire.Connack
	if err == nil {
		err = wire.ParseConnack(&c, wire.V311, first, body)
	}
	if err != nil || c.Reason != wire.Success {
		tb.Fatalf("connect the publisher: %v, %v", err, c.Reason)
	}
	return p
}

func (p *publisher) write(b []byte) {
	p.tb.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.tb.Fatalf("publish: %v", err)
	}
}

// publish sends messages and waits until the broker has acknowledged all. At QoS
// 2 it sends twenty at a time: Mosquitto 2.0.11 drops what exceeds its limit.
func (p *publisher) publish(qos uint8, messages ...wire.Publish) {
	p.tb.Helper()
	for qos == 2 && len(messages) > 20 {
		p.publish(qos, messages[:20]...)
		messages = messages[20:]
	}
	var b []byte
	for i := range messages {
		m := &messages[i]
		m.QoS = qos
		p.id = p.id%60000 + 1
		m.PacketID = p.id
		b = wire.AppendPublish(b, wire.V311, m)
	}
	go p.conn.Write(b) //nolint:errcheck // the missing acknowledgement fails the test
	if err := p.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		p.tb.Fatal(err)
	}
	for left := len(messages); left > 0 && qos > 0; {
		first, body, err := p.r.Next()
		if err != nil {
			p.tb.Fatalf("wait for acknowledgements: %v", err)
		}
		var a wire.Ack
		if err := wire.ParseAck(&a, wire.V311, first, body); err != nil {
			p.tb.Fatal(err)
		}
		switch a.Type {
		case wire.PUBREC:
			p.write(wire.AppendAck(nil, wire.PUBREL, a.PacketID))
		default:
			left--
		}
	}
}

// numbered makes n messages whose payloads are numbers from the first.
func numbered(topic string, first, n int) []wire.Publish {
	out := make([]wire.Publish, n)
	for i := range out {
		out[i] = wire.Publish{Topic: []byte(topic), Payload: fmt.Append(nil, first+i)}
	}
	return out
}

var versions = []string{"3.1.1", "5"}

func TestMosquittoDeliversAndIsAcknowledged(t *testing.T) {
	for _, v := range versions {
		for qos := range 3 {
			t.Run(fmt.Sprintf("version %s QoS %d", v, qos), func(t *testing.T) {
				m := testkit.StartMosquitto(t)
				sink := &recorder{}
				s, stop := start(t, Config{URL: m.URL(), Topics: []string{"plants/#"}, QoS: qos, Version: v, StateDir: t.TempDir()}, sink)
				connected(t, s)
				newPublisher(t, m.Addr()).publish(uint8(qos), numbered("plants/a", 0, 50)...)
				testkit.Eventually(t, "all messages came", func() bool { return sink.count() == 50 })
				for i, g := range sink.messages() {
					if g.topic != "plants/a" || g.payload != fmt.Sprint(i) || int(g.QoS) != qos || g.Size != len(g.payload) {
						t.Fatalf("message %d is %+v", i, g)
					}
				}
				testkit.Eventually(t, "the broker has every acknowledgement", func() bool { return s.Status().InFlight == 0 })
				if qos == 2 {
					testkit.Eventually(t, "every id is released", func() bool {
						return len(sink.releases()) == 50
					})
				}
				if st := s.Status(); st.Version.String() != v {
					t.Errorf("speaks version %s", st.Version)
				}
				stop()
			})
		}
	}
}
