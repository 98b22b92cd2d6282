package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

func TestDoctorSizesTheBrokersQueue(t *testing.T) {
	long(t)
	m := testkit.StartMosquitto(t)
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	out, stderr, code := p.run("doctor", "--set", "sources[0].mqtt.url="+m.URL(), "--rate", "100", "--outage", "2h")
	if code != 0 || !contains(out, "mosquitto version", "max_queued_messages 865000", "10s of the stream", "making 8 KB durable", "none is running") {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	m.Stop()
	if out, _, code := p.run("doctor", "--set", "sources[0].mqtt.url="+m.URL()); code != 5 || !contains(out, "FAIL", "cannot be asked") {
		t.Errorf("without the broker: exit code %d\n%s", code, out)
	}
}

// settings are the lines of mosquitto.conf that doctor prints.
func settings(t *testing.T, out string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "        "); ok {
			lines = append(lines, strings.TrimSpace(rest))
		}
	}
	if len(lines) != 6 {
		t.Fatalf("%d settings are printed, want 6:\n%s", len(lines), out)
	}
	return lines
}

// outage lets n messages come while the node is away, and returns how many of
// them it has in the end, and what doctor said of the broker.
func outage(t *testing.T, n int, lines ...string) (arrived int, said string) {
	t.Helper()
	m := testkit.StartMosquitto(t, append(lines, "sys_interval 1")...)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	connect := func() *running {
		r := p.serve("--from", m.URL())
		testkit.Eventually(t, "the node is subscribed", r.subscribed)
		return r
	}
	if code := connect().stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	pub := &publisher{id: "device", qos: 1, window: 100, address: m.Addr, next: timed("away", n)}
	if err := pub.run(deadline(t)); err != nil {
		t.Fatal(err)
	}
	connect()
	// The broker delivers in order: a message of now comes after all that it kept.
	last := 0
	testkit.Eventually(t, "a message of after the outage arrives", func() bool {
		last++ // those before may have found the queue full
		pub := &publisher{id: fmt.Sprint("after", last), qos: 1, window: 1, address: m.Addr, next: timed("after", 1)}
		if err := pub.run(deadline(t)); err != nil {
			t.Fatal(err)
		}
		return p.number("select count(*) from timed where client = 'after'") > 0
	})
	said, _, _ = p.run("doctor", "--set", "sources[0].mqtt.url="+m.URL(), "--watch", "1500ms")
	return p.number("select count(distinct seq) from timed where client = 'away'"), said
}

func TestWhatDoctorPrintsHoldsAnOutageThatTheDefaultsLose(t *testing.T) {
	long(t)
	const n = 6000 // a minute of 100 messages/s
	m := testkit.StartMosquitto(t)
	p := newPlace(t, nil)
	out, stderr, code := p.run("doctor", "--set", "sources[0].mqtt.url="+m.URL(), "--rate", "100", "--outage", "1m")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, stderr)
	}
	t.Run("WithTheSettings", func(t *testing.T) {
		arrived, said := outage(t, n, settings(t, out)...)
		if arrived != n || strings.Contains(said, "has dropped") || !contains(said, "dropped nothing while it was watched") {
			t.Errorf("%d of %d messages arrived; doctor says:\n%s", arrived, n, said)
		}
	})
	t.Run("WithTheDefaults", func(t *testing.T) {
		arrived, said := outage(t, n)
		if arrived >= n || !contains(said, "the broker has dropped ") && !contains(said, "the broker dropped ") {
			t.Errorf("%d of %d messages arrived, so the settings are not needed; doctor says:\n%s", arrived, n, said)
		}
		t.Logf("%d of %d messages outlived the outage", arrived, n)
	})
}
