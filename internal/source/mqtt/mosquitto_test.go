package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		case <-time.After(time.Minute):
			tb.Error("Run does not return")
		}
		sink.see(func() {
			for _, f := range sink.faults {
				tb.Errorf("the session was misused: %s", f)
			}
			if sink.opens > 0 && !sink.closed {
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
	if err := p.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
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

func TestMosquittoOverTLS(t *testing.T) {
	ca := testkit.NewAuthority(t)
	serverCert, serverKey := ca.Issue("server")
	clientCert, clientKey := ca.Issue("node")
	m := testkit.StartMosquitto(t, "cafile "+ca.CAFile, "certfile "+serverCert, "keyfile "+serverKey, "require_certificate true", "use_identity_as_username true")
	url := "mqtts://" + m.Addr()
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			sink := &recorder{}
			s, stop := start(t, Config{
				URL: url, Topics: []string{"#"}, QoS: 1, Version: v, CAFile: ca.CAFile, CertFile: clientCert, KeyFile: clientKey,
				Username: "node", // Mosquitto 2.0 takes the certificate's name instead
			}, sink)
			connected(t, s)
			m.Publish("a", "over TLS", "--cafile", ca.CAFile, "--cert", clientCert, "--key", clientKey)
			testkit.Eventually(t, "the message came", func() bool { return sink.count() == 1 })
			stop()
		})
	}
	for name, c := range map[string]struct {
		change func(*Config)
		reason string
	}{
		"a certificate of nobody we trust": {func(c *Config) { c.CAFile = "" }, "certificate"},
		"a server of another name":         {func(c *Config) { c.ServerName = "elsewhere" }, "elsewhere"},
		"no client certificate":            {func(c *Config) { c.CertFile, c.KeyFile = "", "" }, ""},
		"a CA file that is none":           {func(c *Config) { c.CAFile = clientKey }, "no PEM certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{URL: url, Topics: []string{"#"}, CAFile: ca.CAFile, CertFile: clientCert, KeyFile: clientKey}
			c.change(&cfg)
			s, _ := start(t, cfg, &recorder{})
			testkit.Eventually(t, "the source says why it is not connected", func() bool {
				st := s.Status()
				return !st.Connected && st.Counts.Failures > 0 && strings.Contains(st.Reason, c.reason)
			})
		})
	}
}

func TestMosquittoAsksForAPassword(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "users")
	if out, err := exec.Command(testkit.Binary(t, "mosquitto_passwd"), "-c", "-b", file, "ada", "secret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	m := testkit.StartMosquitto(t, "allow_anonymous false", "password_file "+file)
	password := filepath.Join(dir, "password")
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			if err := os.WriteFile(password, []byte("wrong\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := Config{URL: m.URL(), Topics: []string{"#"}, QoS: 1, Version: v, Username: "ada", PasswordFile: password, RefusedMin: 100 * time.Millisecond}
			s, stop := start(t, cfg, &recorder{})
			testkit.Eventually(t, "the source says that it is refused", func() bool {
				st := s.Status()
				return !st.Connected && strings.Contains(st.Reason, "refuses") && strings.Contains(st.Reason, `"ada"`)
			})
			// The file is mended, and the source needs no restart.
			if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			connected(t, s)
			stop()
		})
	}
}

// The broker is killed and stopped in the middle of a stream; what it had
// acknowledged to the publisher before an orderly stop arrives.
func TestMosquittoRestartsInTheMiddleOfAStream(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			m := testkit.StartMosquitto(t, "persistence true", "max_queued_messages 0")
			sink := &recorder{}
			s, stop := start(t, Config{URL: m.URL(), Topics: []string{"#"}, QoS: 1, Version: v, StateDir: t.TempDir(), BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond}, sink)
			connected(t, s)
			sent := 0
			for round := range 4 {
				// Acknowledgements are held back while the broker goes down, so that it
				// has to deliver again.
				sink.see(func() { sink.held = round%2 == 0 })
				newPublisher(t, m.Addr()).publish(1, numbered("a", sent, 500)...)
				sent += 500
				m.Restart()
				sink.ackAll()
				testkit.Eventually(t, "the source is back", func() bool { return s.Status().Counts.Reconnects == uint64(round+1) })
			}
			complete(t, sink, sent)
			testkit.Eventually(t, "everything is acknowledged", func() bool { return s.Status().InFlight == 0 })
			stop()
			// Nothing new is left in the session. What Mosquitto had not yet taken the
			// acknowledgement of, when the connection ended, it may deliver again.
			after := &recorder{}
			s, _ = start(t, Config{URL: m.URL(), Topics: []string{"#"}, QoS: 1, Version: v, ClientID: s.Status().ClientID}, after)
			connected(t, s)
			newPublisher(t, m.Addr()).publish(1, numbered("a", sent, 1)...)
			testkit.Eventually(t, "the next message came", func() bool {
				got := after.messages()
				return len(got) > 0 && got[len(got)-1].payload == fmt.Sprint(sent)
			})
			came := map[string]bool{}
			for _, g := range sink.messages() {
				came[g.payload] = true
			}
			again := 0
			for _, g := range after.messages() {
				if came[g.payload] {
					again++
				}
			}
			if got := after.count(); got-again != 1 || !s.Status().SessionPresent {
				t.Errorf("%d messages that never came were left in the session (present: %v)", got-again-1, s.Status().SessionPresent)
			}
			t.Logf("%d messages came again", again)
		})
	}
}

// A broker without persistence that is killed forgets the session: the sink is
// told, and the stream goes on.
func TestMosquittoIsKilledAndForgetsTheSession(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			m := testkit.StartMosquitto(t)
			sink := &recorder{held: true}
			s, _ := start(t, Config{URL: m.URL(), Topics: []string{"#"}, QoS: 1, Version: v, BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond}, sink)
			connected(t, s)
			newPublisher(t, m.Addr()).publish(1, numbered("a", 0, 10)...)
			testkit.Eventually(t, "the messages came", func() bool { return sink.count() == 10 })
			m.Kill()
			m.Start()
			testkit.Eventually(t, "the sink was told", func() bool { return sink.wasReset() == 2 })
			sink.ackAll() // stale: must not acknowledge what has these ids now
			connected(t, s)
			newPublisher(t, m.Addr()).publish(1, numbered("a", 10, 10)...)
			complete(t, sink, 20)
			testkit.Eventually(t, "everything is acknowledged", func() bool { return s.Status().InFlight == 0 })
			if c := s.Status().Counts; c.SessionsLost != 1 || c.Acks != 10 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}

// complete waits until every number below n came.
func complete(tb testing.TB, sink *recorder, n int) {
	tb.Helper()
	missing := func() int {
		seen := make(map[string]bool, n)
		for _, g := range sink.messages() {
			seen[g.payload] = true
		}
		return n - len(seen)
	}
	testkit.Eventually(tb, "every message came", func() bool { return missing() == 0 })
}

// An untouched Mosquitto queues 1,000 messages and has 20 in flight for a
// subscriber of 3.1.1. The source stalls; what fits into these limits arrives,
// nothing is acknowledged early, and the connection stays.
func TestAStallBehindMosquittosDefaultLimits(t *testing.T) {
	const stall = 10 * time.Second
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			t.Parallel() // both wait at the same time
			m := testkit.StartMosquitto(t)
			sink := &recorder{block: make(chan struct{})}
			s, stop := start(t, Config{URL: m.URL(), Topics: []string{"#"}, QoS: 1, Version: v, KeepAlive: 3 * time.Second}, sink)
			connected(t, s)
			const n = 1000
			newPublisher(t, m.Addr()).publish(1, numbered("a", 0, n)...)
			time.Sleep(stall) // the stall is the subject
			if st := s.Status(); !st.Connected || !st.Stalled || st.Counts.Acks != 0 {
				t.Errorf("after the stall: %+v", st)
			}
			sink.see(func() { close(sink.block); sink.block = nil })
			complete(t, sink, n)
			for i, g := range sink.messages() {
				if g.payload != fmt.Sprint(i) {
					t.Fatalf("message %d is %s: out of order or twice", i, g.payload)
				}
			}
			testkit.Eventually(t, "everything is acknowledged", func() bool { return s.Status().InFlight == 0 })
			if c := s.Status().Counts; c.Reconnects != 0 {
				t.Errorf("counts %+v", c)
			}
			stop()
		})
	}
}

func TestTwoNodesShareASubscriptionOnMosquitto(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			m := testkit.StartMosquitto(t)
			sinks := []*recorder{{}, {}}
			for _, sink := range sinks {
				s, _ := start(t, Config{URL: m.URL(), Topics: []string{"#"}, ShareGroup: "weir", QoS: 1, Version: v}, sink)
				connected(t, s)
			}
			newPublisher(t, m.Addr()).publish(1, numbered("a", 0, 500)...)
			testkit.Eventually(t, "all messages came", func() bool { return sinks[0].count()+sinks[1].count() == 500 })
			if sinks[0].count() == 0 || sinks[1].count() == 0 {
				t.Errorf("%d and %d messages: not shared", sinks[0].count(), sinks[1].count())
			}
		})
	}
}

// Mosquitto 2.0.11 closes the connection of an evicted client without a word, in
// version 5 too; later ones say 0x8E.
func TestMosquittoEvictsOneOfTwoWithTheSameIdentifier(t *testing.T) {
	m := testkit.StartMosquitto(t)
	cfg := Config{URL: m.URL(), Topics: []string{"#"}, ClientID: "twin", Version: "5", BackoffMin: 10 * time.Millisecond, BackoffMax: 200 * time.Millisecond}
	first, _ := start(t, cfg, &recorder{})
	connected(t, first)
	second, _ := start(t, cfg, &recorder{})
	testkit.Eventually(t, "one of them says why", func() bool {
		return strings.Contains(first.Status().LastFailure+second.Status().LastFailure, `client identifier "twin"`)
	})
}

func TestMosquittoSendsWhatWasRetainedAndWhatIsTooLarge(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			m := testkit.StartMosquitto(t)
			m.Publish("kept", "21.5", "-r")
			sink := &recorder{}
			s, _ := start(t, Config{URL: m.URL(), Topics: []string{"#"}, QoS: 1, Version: v}, sink)
			connected(t, s)
			testkit.Eventually(t, "the retained value came", func() bool { return sink.count() == 1 })
			newPublisher(t, m.Addr()).publish(1, wire.Publish{Topic: []byte("big"), Payload: make([]byte, 3<<20)}, wire.Publish{Topic: []byte("empty")})
			testkit.Eventually(t, "all came", func() bool { return sink.count() == 3 })
			got := sink.messages()
			if !got[0].Retained || got[0].payload != "21.5" || got[1].Retained || got[1].Size != 3<<20 || len(got[1].payload) != 4<<10 || got[2].Size != 0 {
				t.Errorf("got %d, %d, %d bytes", got[0].Size, got[1].Size, got[2].Size)
			}
			testkit.Eventually(t, "everything is acknowledged", func() bool { return s.Status().InFlight == 0 })
			if c := s.Status().Counts; c.Reconnects != 0 || c.Oversized != 1 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}

func TestMosquittoFreezesAndTheSourceNotices(t *testing.T) {
	m := testkit.StartMosquitto(t)
	s, _ := start(t, Config{URL: m.URL(), Topics: []string{"#"}, KeepAlive: time.Second, ConnectTimeout: time.Second, BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond}, &recorder{})
	connected(t, s)
	m.Pause()
	testkit.Eventually(t, "the silence is noticed", func() bool { return !s.Status().Connected })
	m.Resume()
	connected(t, s)
}

func TestTheSessionAtMosquittoFollowsTheTopics(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			m := testkit.StartMosquitto(t)
			cfg := Config{URL: m.URL(), Topics: []string{"a", "b"}, QoS: 1, Version: v, StateDir: t.TempDir()}
			s, stop := start(t, cfg, &recorder{})
			connected(t, s)
			stop()
			cfg.Topics = []string{"b", "c"} // a is left in the session
			sink := &recorder{}
			s, _ = start(t, cfg, sink)
			connected(t, s)
			p := newPublisher(t, m.Addr())
			p.publish(1, numbered("a", 1, 1)...)
			p.publish(1, numbered("b", 2, 1)...)
			if err := s.SetTopics([]string{"b"}, false); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "c is unsubscribed", func() bool {
				b, err := os.ReadFile(stateFile(cfg.StateDir, "mqtt"))
				return err == nil && !strings.Contains(string(b), `"c"`)
			})
			p.publish(1, numbered("c", 3, 1)...)
			p.publish(1, numbered("b", 4, 1)...)
			testkit.Eventually(t, "the last message came", func() bool { return sink.count() >= 2 })
			got := sink.messages()
			if len(got) != 2 || got[0].payload != "2" || got[1].payload != "4" {
				t.Errorf("got %+v", got)
			}
		})
	}
}
