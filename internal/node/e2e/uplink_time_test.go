package e2e

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/schema"
)

// timeless gives the recorder a schema without a time in its payload.
func (r *recorder) timeless() (document string) {
	r.t.Helper()
	document = strings.Replace(deviceSchema, "time: {at: /ts, as: unix_ms}\n", "", 1)
	_, plan, problems := schema.CompileDevice("env.yaml", []byte(document))
	if len(problems) > 0 {
		r.t.Fatal(problems)
	}
	if err := os.WriteFile(r.plan, plan, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return document
}

// unlinked runs the device without a link until its virtual time is over.
func (r *recorder) unlinked(args ...string) {
	r.t.Helper()
	broker := r.broker
	r.broker = "127.0.0.1:1"
	out, err := r.command(args...).CombinedOutput()
	r.broker = broker
	if !strings.Contains(string(out), "the gateway did not take everything") {
		r.t.Fatalf("the device: %v\n%s", err, out)
	}
}

// TestReadingsOfAnEarlierRunArePlacedByATimeThatComesAfterThem: the first run learns
// the time, by its own clock, after it recorded everything, and never has a link.
// The second hands it over; so does the card.
func TestReadingsOfAnEarlierRunArePlacedByATimeThatComesAfterThem(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": strings.Replace(deviceSchema, "time: {at: /ts, as: unix_ms}\n", "", 1)})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	d.timeless()
	d.unlinked("--virtual", "600", "--sense", "1000", "--readings", "500", "--wall", "gps", "--wall-error", "3", "--wall-after", "550")
	d.base += 3_600_000_000
	t.Log(d.run("--virtual", "120", "--sense", "1000", "--wall", "gps", "--wall-error", "3"))
	all, _ := d.recorded()
	if len(all) < 600 {
		t.Fatalf("%d readings were recorded", len(all))
	}
	if got := p.stored(); !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, the gateway has %d, or others", len(all), len(got))
	}
	// Which clock it was, and how good, is with the gateway.
	n.metric(`weir_uplink_time_source{device="d1"} 3`)
	n.metric(`weir_uplink_time_error_seconds{device="d1"} 0.003`)
	n.metric(`weir_uplink_refused_total{device="d1"} 0`)
	n.kill()

	other := newPlace(t, map[string]string{"env.yaml": strings.Replace(deviceSchema, "time: {at: /ts, as: unix_ms}\n", "", 1)})
	other.write("weir.yaml", "")
	if out, stderr, code := other.run("import", d.card, "--config", "weir.yaml"); code != 0 {
		t.Fatalf("import: exit code %d\n%s%s", code, out, stderr)
	}
	if got := other.stored(); !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, %d are imported, or others", len(all), len(got))
	}
}

// TestARunThatNeverLearntTheTimeIsQuarantinedOnce: and what it holds up is handed over.
func TestARunThatNeverLearntTheTimeIsQuarantinedOnce(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": strings.Replace(deviceSchema, "time: {at: /ts, as: unix_ms}\n", "", 1)})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	d.timeless()
	d.unlinked("--virtual", "100", "--sense", "1000", "--readings", "50")
	d.base += 3_600_000_000
	d.run("--virtual", "60", "--sense", "1000", "--wall", "sntp")
	n.metric(`weir_uplink_refused_total{device="d1"} 50`)
	n.metric(`weir_uplink_time_source{device="d1"} 2`)
	all, _ := d.recorded()
	if got := p.stored(); len(got) != len(all)-50 {
		t.Errorf("%d readings were recorded, %d are stored", len(all), len(got))
	}
	// Nothing of it is sent again: the sweep is over, durably.
	n.kill()
	n = p.serve("--config", "weir.yaml")
	d.broker = n.broker
	d.base += 3_600_000_000
	d.run("--virtual", "60", "--sense", "1000", "--wall", "sntp")
	n.metric(`weir_uplink_refused_total{device="d1"} 0`)
}
