package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// stat reads a number of what a device prints at its end.
func stat(t *testing.T, out, name string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.Fields(between(out, " "+name+"=", "\n"))[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWhatTheRingGaveUpIsDeclaredAndCounted: no card, a small ring, a link that is
// down most of the time. What is not stored is what the gateway counts as lost.
func TestWhatTheRingGaveUpIsDeclaredAndCounted(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	out := d.run("--no-card", "--virtual", "3600", "--sense", "1000", "--ring", "4000", "--overflow", "oldest", "--link-period", "300", "--link-seed", "7")
	all, _ := d.recorded()
	got := p.stored()
	dropped := stat(t, out, "dropped_oldest")
	if dropped == 0 || len(got) == 0 || len(got) == len(all) {
		t.Fatalf("of %d readings %d are stored, %d were dropped: the test says nothing", len(all), len(got), dropped)
	}
	// Time records are dropped like readings.
	if missing := len(all) - len(got); missing > dropped {
		t.Errorf("%d readings are missing, and %d records were dropped", missing, dropped)
	}
	n.metric(fmt.Sprintf(`weir_uplink_lost_total{device="d1"} %d`, dropped))
	n.metric(`weir_uplink_lag_records{device="d1"} 0`)
	for ts, value := range got {
		if all[ts] != value {
			t.Fatalf("the reading of %s was %s and is %s", ts, all[ts], value)
		}
	}
}

// TestAnotherCardIsSweptWhole: two cards that were filled without a link, put in one
// after the other.
func TestAnotherCardIsSweptWhole(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	a := newRecorder(t, p.dir, n.broker)
	other := filepath.Join(p.dir, "other")
	p.must("card", "format", other, "--size", "64M")
	one, two := a.card, other
	for _, card := range []string{one, two} {
		a.card = card
		a.unlinked("--virtual", "300", "--sense", "1000")
		a.base += 3_600_000_000
	}
	for _, card := range []string{two, one, two} {
		a.card = card
		a.run("--virtual", "60", "--sense", "1000")
		a.base += 3_600_000_000
		if all, _ := a.recorded(); card == one && !maps.Equal(p.stored(), all) {
			t.Errorf("after both cards were in, %d of %d readings are stored", len(p.stored()), len(all))
		}
	}
	all, _ := a.recorded()
	if got := p.stored(); len(all) < 700 || !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, %d are stored", len(all), len(got))
	}
}

// TestTheUplinkIsOpenInItsWindowsOnly: one connection for each period.
func TestTheUplinkIsOpenInItsWindowsOnly(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	out := d.run("--local-only", "--virtual", "3600", "--sense", "5000", "--period", "600", "--window", "60")
	t.Log(out)
	all, _ := d.recorded()
	if got := p.stored(); len(all) < 700 || !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, %d are stored", len(all), len(got))
	}
	if hellos, connects := stat(t, out, "hellos"), stat(t, out, "connects"); connects < 6 || connects > 8 {
		t.Errorf("%d connections and %d hellos in six periods", connects, hellos)
	}
}

// TestWhatRotationOverwroteIsDeclaredAndCounted: a card with room for two segments
// goes round while there is no link. The gateway gets what is left, and counts the
// rest as lost.
func TestWhatRotationOverwroteIsDeclaredAndCounted(t *testing.T) {
	if !testkit.Soak() {
		t.Skip("SKIPPED: it takes half a minute; WEIR_SOAK=1 runs it")
	}
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	d.card = filepath.Join(p.dir, "small.img")
	p.must("card", "format", d.card, "--size", "64M", "--budget", "8M")
	d.runs = 1 // it is formatted
	d.unlinked("--virtual", "2600", "--sense", "10", "--flush", "1000")
	d.base += 3_600_000_000
	d.run("--virtual", "600", "--sense", "60000")
	all, _ := d.recorded()
	got := p.stored()
	missing := len(all) - len(got)
	if missing == 0 || len(got) < len(all)/20 {
		t.Fatalf("of %d readings %d are stored: the test says nothing", len(all), len(got))
	}
	t.Logf("%d readings, %d stored, %d overwritten", len(all), len(got), missing)
	oldest := ""
	for ts := range got {
		if oldest == "" || ts < oldest {
			oldest = ts
		}
	}
	for ts, value := range all {
		if ts > oldest && got[ts] != value {
			t.Fatalf("the reading of %s is newer than the oldest that is stored, and is %q", ts, got[ts])
		}
	}
	n.metric(`weir_uplink_lag_records{device="d1"} 0`)
	// Records that name plans, a few for each segment, were overwritten like readings.
	const others = 16
	lost := n.value(`weir_uplink_lost_total{device="d1"}`)
	if lost < missing || lost > missing+others {
		t.Errorf("%d readings are missing, and %d records are counted as lost", missing, lost)
	}
}

// value reads a metric.
func (r *running) value(name string) int {
	r.p.t.Helper()
	_, body := r.get("/metrics")
	_, rest, ok := strings.Cut("\n"+body, "\n"+name+" ")
	if !ok {
		r.p.t.Fatalf("there is no metric %s", name)
	}
	text, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		r.p.t.Fatal(err)
	}
	return int(v)
}
