package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/testkit"
)

const timedSchema = `name: timed
version: 1
topic: t/{client}/timed
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, seq]
  properties:
    ts:  {type: integer}
    seq: {type: integer, minimum: 0}
`

const bareSchema = `name: bare
version: 1
topic: t/{client}/bare
format: json
payload:
  type: object
  required: [seq]
  properties:
    seq: {type: integer, minimum: 0}
`

// timed returns the messages of a client whose payloads carry their time.
func timed(client string, n int) func(int) (string, []byte, bool) {
	return func(i int) (string, []byte, bool) {
		return "t/" + client + "/timed", fmt.Appendf(nil, `{"ts":%d,"seq":%d}`, 1_750_000_000_000+int64(i), i), i < n
	}
}

// bare returns the messages of a client whose payloads carry no time.
func bare(client string, n int) func(int) (string, []byte, bool) {
	return func(i int) (string, []byte, bool) {
		return "t/" + client + "/bare", fmt.Appendf(nil, `{"seq":%d}`, i), i < n
	}
}

// patience bounds what is waited for: long beyond any machine's slowness, so that it
// ends only what hangs.
const patience = 5 * time.Minute

func deadline(t *testing.T) context.Context {
	t.Helper()
	limit := patience
	if testkit.Soak() {
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestTheDemoAnswersSQLAndEndsInOrder(t *testing.T) {
	p := newPlace(t, nil)
	r := p.serve("--demo")
	testkit.Eventually(t, "every demo schema and device has readings and quarantine has something", func() bool {
		for _, table := range []string{"env", "spindle", "machine_state", "power"} {
			if _, _, code := p.run("query", "select 1 from "+table+" limit 1"); code != 0 {
				return false
			}
			if len(p.rows("select 1 from "+table+" limit 1")) == 0 {
				return false
			}
		}
		if len(p.rows("select distinct device from env")) < 12 {
			return false
		}
		out := p.must("quarantine", "list", "--limit", "3")
		return strings.Contains(out, "invalid") || strings.Contains(out, "malformed")
	})
	rows := p.rows("select device, avg(temperature) from env group by device")
	if len(rows) != 12 {
		t.Errorf("%d devices answer, want 12: %q", len(rows), rows)
	}
	if status, body := r.get("/readyz"); status != 200 || !strings.Contains(body, `"ready": true`) {
		t.Errorf("/readyz is %d %s", status, body)
	}
	if status, _ := r.get("/healthz"); status != 200 {
		t.Errorf("/healthz is %d", status)
	}
	for _, said := range []string{"MQTT broker", "HTTP", "weir-data", "demo fleet", "query"} {
		if !strings.Contains(r.out.String(), said) {
			t.Errorf("the start-up output does not name %q:\n%s", said, r.out.String())
		}
	}
	before := p.number("select count(*) from env")
	if code := r.stop(); code != 0 {
		t.Errorf("SIGTERM ends it with code %d\n%s", code, r.out.String())
	}
	if after := p.number("select count(*) from env"); after < before {
		t.Errorf("%d readings of %d are left after the stop", after, before)
	}
}

func TestARestartKeepsTheDataAndTheSessions(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema, "bare.yaml": bareSchema})
	r := p.serve()
	const n = 500
	ctx := deadline(t)
	publish := func(from int) {
		for name, next := range map[string]func(int) (string, []byte, bool){"timed": timed("a", from+n), "bare": bare("a", from+n)} {
			pub := &publisher{id: "restart-" + name, qos: 1, window: 64, address: func() string { return r.broker }, next: next, sent: from}
			if err := pub.run(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(0)
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	offline := p.number("select count(*) from timed")
	r = p.serve()
	publish(n)
	for _, table := range []string{"timed", "bare"} {
		if got := p.number("select count(distinct seq) from " + table); got != 2*n {
			t.Errorf("%s has %d readings, want %d", table, got, 2*n)
		}
		if got := p.number("select count(*) from " + table); got != 2*n {
			t.Errorf("%s has %d rows, want %d", table, got, 2*n)
		}
	}
	if offline != n {
		t.Errorf("without a node the query answers %d, want %d", offline, n)
	}
}

func TestMosquittosOwnClientIsServed(t *testing.T) {
	pub := testkit.Binary(t, "mosquitto_pub")
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve()
	host, port, _ := strings.Cut(r.broker, ":")
	for i, version := range []string{"mqttv311", "mqttv5"} {
		for qos := range 3 {
			args := []string{"-h", host, "-p", port, "-V", version, "-q", fmt.Sprint(qos), "-t", "t/m/bare", "-m", fmt.Sprintf(`{"seq":%d}`, 3*i+qos)}
			if out, err := exec.Command(pub, args...).CombinedOutput(); err != nil {
				t.Fatalf("mosquitto_pub %v: %v\n%s", args, err, out)
			}
		}
	}
	testkit.Eventually(t, "all six messages are readings", func() bool {
		return p.number("select count(distinct seq) from bare") == 6
	})
}

func TestASecondNodeOnTheSameDirectoryIsRefused(t *testing.T) {
	p := newPlace(t, nil)
	p.serve()
	_, stderr, code := p.run("serve")
	if code != 4 || !strings.Contains(stderr, "in use") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func TestATakenBrokerPortSaysSoAndOffersFrom(t *testing.T) {
	m := testkit.StartMosquitto(t)
	p := newPlace(t, nil)
	_, stderr, code := p.run("serve", "--set", "broker.listen="+m.Addr())
	if code != 5 || !strings.Contains(stderr, "--from mqtt://"+m.Addr()) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func contains(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}
