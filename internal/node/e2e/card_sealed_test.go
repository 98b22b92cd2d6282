package e2e

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestASealedCardIsImportedWithItsKeyOnly: and the device that sealed it hands over
// what it holds.
func TestASealedCardIsImportedWithItsKeyOnly(t *testing.T) {
	long(t)
	const key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	p := newPlace(t, map[string]string{"env.yaml": onceSchema})
	p.write("weir.yaml", uplinkConfig)
	d := newRecorder(t, p.dir, "127.0.0.1:1") // no link
	d.unlinked("--virtual", "300", "--sense", "1000", "--card-key", key)
	all, _ := d.recorded()
	image, err := os.ReadFile(d.card)
	if err != nil {
		t.Fatal(err)
	}
	tag := []byte("d00123") // which an unsealed card shows in each block
	count := 0
	for _, b := range recordBlocks(t, d.card) {
		count += b.count
		if bytes.Contains(image[b.at+40:b.at+512], tag) {
			t.Fatal("a sealed block shows a tag of its readings")
		}
	}
	if len(all) < 250 || count < len(all) {
		t.Fatalf("%d readings were recorded, %d records are on the card", len(all), count)
	}

	p.write("other.key", strings.Repeat("5a", 32))
	p.write("own.key", key+"\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "are sealed and were left out"},
		{[]string{"--card-key", "other.key"}, "are sealed with another key than that of other.key"},
	} {
		out, stderr, code := p.run(append([]string{"import", d.card, "--config", "weir.yaml"}, c.args...)...)
		if code == 0 || !strings.Contains(stderr, c.want) {
			t.Errorf("import %v: exit code %d, %q is not said:\n%s%s", c.args, code, c.want, out, stderr)
		}
	}
	p.must("import", d.card, "--config", "weir.yaml", "--card-key", "own.key")
	if got := p.stored(); !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, %d are imported", len(all), len(got))
	}

	// The uplink reads it as well.
	other := newPlace(t, map[string]string{"env.yaml": onceSchema})
	other.write("weir.yaml", uplinkConfig)
	n := other.serve("--config", "weir.yaml")
	d.broker = n.broker
	d.base += 3_600_000_000
	d.run("--virtual", "30", "--sense", "1000", "--card-key", key)
	all, _ = d.recorded()
	if got := other.stored(); !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, the gateway has %d", len(all), len(got))
	}
}

// TestADeviceThatSensesWithoutABaseHasTheTimeOfTheMachine: not that of 1970. And it
// learns the time from the gateway, with its source and how far it may be off.
func TestADeviceThatSensesWithoutABaseHasTheTimeOfTheMachine(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": onceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, filepath.Clean(p.dir), n.broker)
	d.base = 0
	out := d.run("--virtual", "20", "--sense", "1000")
	if !strings.Contains(out, "times: the readings carry the time of this machine's clock") {
		t.Errorf("the device does not say whose time it is:\n%s", out)
	}
	// Virtual time runs ahead of the machine's by at most what the device ran.
	if got := p.number(`SELECT count(*) FROM env WHERE time > ago('1h')`); got < 15 {
		t.Errorf("%d readings are of the last hour", got)
	}
	n.metric(`weir_uplink_time_source{device="d1"} 1`)
	if e := n.number(`weir_uplink_time_error_seconds{device="d1"}`); e < 0.1 || e > 60 {
		t.Errorf("the device's clock may be off by %g s", e)
	}
}
