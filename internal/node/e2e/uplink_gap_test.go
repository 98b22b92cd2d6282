package e2e

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// onceSchema is deviceSchema for a table that keeps equal readings: only the uplink
// sees to it that nothing is stored twice.
var onceSchema = strings.Replace(deviceSchema, "unknown: drop\n", "unknown: drop\nidentity: none\n", 1)

// live is a device that runs until the test ends it.
type live struct {
	t   *testing.T
	cmd *exec.Cmd
	out bytes.Buffer
}

func (r *recorder) start(args ...string) *live {
	r.t.Helper()
	l := &live{t: r.t, cmd: r.command(args...)}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	if err := l.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(l.kill)
	return l
}

func (l *live) kill() {
	if l.cmd.ProcessState == nil {
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
	}
}

// stop ends the device as a service manager does, and returns what it said.
func (l *live) stop() string {
	l.t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		l.t.Fatal(err)
	}
	hung := time.AfterFunc(time.Minute, func() { _ = l.cmd.Process.Kill() })
	defer hung.Stop()
	if err := l.cmd.Wait(); err != nil {
		l.t.Fatalf("the device: %v\n%s", err, l.out.String())
	}
	return l.out.String()
}

// TestBatchesThatTheBrokerLostAreAskedFor: some batches are acknowledged by the
// broker and never come to the gateway, which asks for them when later ones show the
// gap, without a hello. Their records are on the card by then, or in the ring alone.
func TestBatchesThatTheBrokerLostAreAskedFor(t *testing.T) {
	for name, args := range map[string][]string{
		"of the card":                    {"--linger", "60", "--flush", "10"},
		"of the ring, not yet on a card": {"--linger", "6", "--flush", "60000"},
		"of the ring, without a card":    {"--linger", "40", "--no-card"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, map[string]string{"env.yaml": onceSchema})
			p.write("weir.yaml", uplinkConfig)
			n := p.serve("--config", "weir.yaml")
			link := newLossy(t, n.broker)
			d := newRecorder(t, p.dir, link.address)

			const losses = 4
			var newest, cursor uint64
			var batches, asked int // asked: losses that the gateway asked for by itself
			var lost *stretch      // and not asked for yet
			link.up = func(m []byte) bool {
				switch m[0] {
				case upHello:
					lost = nil // what its answer asks for shows nothing
				case upRecords:
					s, _ := recordsOf(m)
					if s.first <= newest {
						break // it comes again
					}
					newest = s.end - 1
					if batches++; batches%3 == 0 && lost == nil && asked < losses {
						lost = &s
						return false
					}
				}
				return true
			}
			link.down = func(m []byte) bool {
				switch m[0] {
				case downCursor:
					_, cursor = cursorOf(m)
				case downAsk:
					for _, s := range asksOf(m) {
						if lost != nil && s.first <= lost.first && s.end >= lost.end {
							asked, lost = asked+1, nil
						}
					}
				}
				return true
			}
			device := d.start(append(args, "--sense", "2")...)
			testkit.EventuallyWithin(t, time.Minute, "the gateway has asked for what was lost on the way, and has it", func() (done bool) {
				link.with(func() { done = asked == losses && cursor >= newest })
				return done
			})
			t.Log(device.stop())
			all, durable := d.recorded()
			got := p.stored()
			for ts := range got {
				if got[ts] != all[ts] {
					t.Fatalf("the reading of %s was %q and is %q", ts, all[ts], got[ts])
				}
			}
			// Without a card the gateway's cursor is what the device calls durable.
			if strings.HasSuffix(name, "without a card") {
				for ts := range durable {
					if got[ts] == "" {
						t.Errorf("the reading of %s was confirmed, and is not stored", ts)
					}
				}
			} else {
				d.base += 3_600_000_000
				d.run("--virtual", "10", "--sense", "1000")
				all, _ = d.recorded()
				if got = p.stored(); len(got) != len(all) {
					t.Errorf("%d readings were recorded, %d are stored", len(all), len(got))
				}
			}
			if lost := n.value(`weir_uplink_lost_total{device="d1"}`); lost != 0 {
				t.Errorf("the device declared %d records lost", lost)
			}
		})
	}
}

// TestWhatCameWhileTheGatewayWasAwayIsAskedFor: the gateway's node is killed and the
// broker forgets its session, so what the device publishes then is acknowledged and
// goes nowhere. The node that starts again finds what it lacks by the hello.
func TestWhatCameWhileTheGatewayWasAwayIsAskedFor(t *testing.T) {
	for name, args := range map[string][]string{
		"with a card":    {"--flush", "10"},
		"without a card": {"--no-card", "--ring", "200000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, map[string]string{"env.yaml": onceSchema})
			m := testkit.StartMosquitto(t)
			p.write("weir.yaml", uplinkConfig+"broker: {enabled: false}\nsources:\n  - mqtt: {url: \""+m.URL()+"\", client_id: gateway}\n")
			n := p.serve("--config", "weir.yaml")
			link := newLossy(t, m.Addr())
			d := newRecorder(t, p.dir, link.address)
			var cursor, sent uint64 // the last cursor, the end of what was sent
			var end uint64          // of what was sent while the gateway was away
			var ends []uint64       // of each batch
			card, away := byte(2), false
			unconfirmed := func() (n int) {
				for _, end := range ends {
					if end > cursor+1 {
						n++
					}
				}
				return n
			}
			link.up = func(m []byte) bool {
				switch m[0] {
				case upHello:
					card = cardOf(m)
				case upRecords:
					s, _ := recordsOf(m)
					sent = max(sent, s.end)
					ends = append(ends, s.end)
					// Nothing newer shows the gateway that something is missing.
					return end == 0 || s.first < end || cursor+1 >= end
				}
				return true
			}
			link.down = func(m []byte) bool {
				if away {
					return false // said before it was killed
				}
				if m[0] == downCursor {
					_, cursor = cursorOf(m)
				}
				return true
			}
			device := d.start(append(args, "--sense", "2", "--linger", "20")...)
			see := func(what string, cond func() bool) {
				t.Helper()
				testkit.Eventually(t, what, func() (ok bool) {
					link.with(func() { ok = cond() })
					return ok
				})
			}
			see("the gateway confirms", func() bool {
				if cursor <= 50 || card == 2 || unconfirmed() > 2 {
					return false
				}
				n.kill() // while nothing passes: of the eight batches that may be unconfirmed at least six are sent after this
				away = true
				return true
			})
			forgetSession(t, m.Addr(), "gateway")
			see("batches went nowhere", func() bool { return unconfirmed() >= 6 })
			link.with(func() { end, away = sent, false })
			n = p.serve("--config", "weir.yaml")
			testkit.Eventually(t, "the gateway's node is connected", func() bool {
				_, body := n.get("/metrics")
				return strings.Contains(body, "\nweir_source_connected{source=\"mqtt\"} 1")
			})
			link.cut() // the device says hello on its next connection
			see("the gateway has what came while it was away", func() bool { return cursor+1 >= end })
			t.Log(device.stop())
			all, durable := d.recorded()
			got := p.stored()
			missing := 0
			for ts := range durable {
				if got[ts] != all[ts] {
					missing++
				}
			}
			// What the card has and the gateway does not have yet comes with the next run.
			if name == "with a card" {
				link.with(func() { link.up = func([]byte) bool { return true } })
				d.base += 3_600_000_000
				d.run("--virtual", "10", "--sense", "1000")
				if all, _ = d.recorded(); len(p.stored()) != len(all) {
					t.Errorf("%d readings were recorded, %d are stored", len(all), len(p.stored()))
				}
			} else if missing > 0 {
				t.Errorf("%d readings were confirmed, and are not stored", missing)
			}
			if lost := n.value(`weir_uplink_lost_total{device="d1"}`); lost != 0 {
				t.Errorf("the device declared %d records lost", lost)
			}
		})
	}
}

// forgetSession makes a broker drop what it keeps for a client that is away.
func forgetSession(t *testing.T, broker, client string) {
	t.Helper()
	conn, err := net.Dial("tcp", broker)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := wire.Connect{Version: wire.V311, ClientID: client, Clean: true, KeepAlive: 60}
	if _, err := conn.Write(wire.AppendConnect(nil, &hello)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := wire.NewReader(conn, 1<<10).Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(wire.AppendDisconnect(nil, wire.V311, &wire.Disconnect{})); err != nil {
		t.Fatal(err)
	}
}
