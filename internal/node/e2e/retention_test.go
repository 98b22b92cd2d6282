package e2e

import (
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// TestRetentionFromTheSchemaToTheQuarantine changes the retention of a running
// node, sends what is too late, and replays it when the retention was raised.
func TestRetentionFromTheSchemaToTheQuarantine(t *testing.T) {
	long(t)
	atVersion := func(v, retention string) string {
		return strings.Replace(timedSchema, "version: 1\n", "version: "+v+"\nretention: "+retention+"\nrollups: [1m, {every: 1h, keep: 730d}]\n", 1)
	}
	p := newPlace(t, map[string]string{"timed.yaml": atVersion("1", "1h")})
	r := p.serve()
	publish(t, r, "p", timed("a", 20)) // of June 2025
	if got := p.number("select count(*) from timed"); got != 0 {
		t.Errorf("%d readings are stored", got)
	}
	if out := p.must("quarantine", "list"); strings.Count(out, "too_late") < 20 {
		t.Errorf("the quarantine lists\n%s", out)
	}
	if out := p.must("retention", "show"); !strings.Contains(out, "timed: readings 1h; rollups 1m, 1h for 730d") || !strings.Contains(out, "ages count from 20") {
		t.Errorf("weir retention show:\n%s", out)
	}
	p.write("schemas/timed.yaml", atVersion("2", "36500d"))
	testkit.Eventually(t, "the node takes the new retention over", func() bool {
		return strings.Contains(p.must("retention", "show"), "timed: readings 36500d")
	})
	p.must("quarantine", "replay", "--reason", "too_late")
	if got := p.number("select count(*) from timed"); got != 20 {
		t.Errorf("%d readings are stored after the replay, want 20", got)
	}
	if _, text := r.get("/metrics"); !strings.Contains(text, "weir_rollup_debt_partitions") || !strings.Contains(text, "weir_retention_clock_ahead_seconds 0") {
		t.Error("/metrics does not tell of rollups and retention")
	}
	r.stop()
	if out := p.must("retention", "confirm"); !strings.Contains(out, "ages count from 20") {
		t.Errorf("weir retention confirm without a node:\n%s", out)
	}
}
