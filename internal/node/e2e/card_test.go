package e2e

import (
	"maps"
	"os"
	"strings"
	"testing"
)

// TestTheCardOfARecorderIsImportedOnce: a card that was carried to the machine, the
// same card again, and the device's own uplink bring each reading once.
func TestTheCardOfARecorderIsImportedOnce(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	d := newRecorder(t, p.dir, "127.0.0.1:1") // no link
	for _, seconds := range []string{"1800", "600"} {
		out, err := d.command("--virtual", seconds, "--sense", "1000").CombinedOutput()
		if !strings.Contains(string(out), "the gateway did not take everything") {
			t.Fatalf("the device: %v\n%s", err, out)
		}
		d.base += 3_600_000
	}
	all, _ := d.recorded()
	if len(all) < 2000 {
		t.Fatalf("%d readings were recorded", len(all))
	}
	importCard := func(path string, want ...string) {
		t.Helper()
		out, stderr, code := p.run("import", path, "--config", "weir.yaml")
		if code != 0 {
			t.Fatalf("import: exit code %d\n%s%s", code, out, stderr)
		}
		t.Log(out, stderr)
		for _, w := range want {
			if !strings.Contains(out+stderr, w) {
				t.Errorf("not said: %q", w)
			}
		}
	}
	importCard(d.card, "of 2 runs", "(0 of them in quarantine), 0 had been taken before")
	if got := p.stored(); !maps.Equal(got, all) {
		t.Fatalf("%d readings were recorded, %d are stored", len(all), len(got))
	}
	importCard(d.card, ": 0 are new")

	// With a link the device hands over what is new; the rest is known.
	n := p.serve("--config", "weir.yaml")
	d.broker = n.broker
	t.Log(d.run("--virtual", "900", "--sense", "1000"))
	importCard(d.card, "of 3 runs")
	all, _ = d.recorded()
	if got := p.stored(); !maps.Equal(got, all) {
		t.Fatalf("%d readings were recorded, %d are stored", len(all), len(got))
	}
	n.kill()

	// A card without a file system, into an empty store: every block says itself what it holds.
	data, err := os.ReadFile(d.card)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[:8<<20])
	if err := os.WriteFile(d.card, data, 0o600); err != nil {
		t.Fatal(err)
	}
	other := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	other.write("weir.yaml", "")
	out, stderr, code := other.run("import", d.card, "--format", "card", "--config", "weir.yaml")
	if code != 0 || !strings.Contains(stderr, "every sector is searched") {
		t.Fatalf("import: exit code %d\n%s%s", code, out, stderr)
	}
	if got := other.stored(); !maps.Equal(got, all) {
		t.Fatalf("%d readings were recorded, %d are stored", len(all), len(got))
	}

	// Without the block that says first which schema the readings are of: it is said again further on.
	clear(data[24577*512:][:512])
	if err := os.WriteFile(d.card, data, 0o600); err != nil {
		t.Fatal(err)
	}
	third := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	third.write("weir.yaml", "")
	out, stderr, code = third.run("import", d.card, "--format", "card", "--config", "weir.yaml")
	if code != 0 || !strings.Contains(stderr, "are not on the card: overwritten earlier, or in damaged blocks") || !strings.Contains(out, "(0 of them in quarantine)") {
		t.Fatalf("import: exit code %d\n%s%s", code, out, stderr)
	}
	if got := third.stored(); len(got) >= len(all) || len(got) < len(all)-20 {
		t.Fatalf("%d readings were recorded, %d are stored without one block", len(all), len(got))
	}
}
