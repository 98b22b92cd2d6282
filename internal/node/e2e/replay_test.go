package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

const narrowSchema = `name: narrow
version: 1
topic: n/{client}
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, value]
  properties:
    ts:    {type: integer}
    value: {type: number, maximum: 10}
`

// values publishes n readings of which every third is over the maximum.
func values(n int) func(int) (string, []byte, bool) {
	return func(i int) (string, []byte, bool) {
		v := 5
		if i%3 == 0 {
			v = 50
		}
		return "n/a", fmt.Appendf(nil, `{"ts":%d,"value":%d}`, 1_750_000_000_000+i, v), i < n
	}
}

func publish(t *testing.T, r *running, id string, next func(int) (string, []byte, bool)) {
	t.Helper()
	pub := &publisher{id: id, qos: 1, window: 100, address: func() string { return r.broker }, next: next}
	if err := pub.run(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

func TestAMendedSchemaReplaysTheQuarantineExactlyOnce(t *testing.T) {
	p := newPlace(t, map[string]string{"narrow.yaml": narrowSchema})
	r := p.serve()
	publish(t, r, "values", values(300))
	if n := p.number("select count(*) from narrow"); n != 200 {
		t.Fatalf("%d readings are valid, want 200", n)
	}
	out := p.must("quarantine", "list", "--limit", "0", "--format", "json")
	if got := strings.Count(out, "\n"); got != 100 || !contains(out, `"reason":"invalid"`, `"pointer":"/value"`, `"payload":"{\"ts\":`, `"schema":"narrow"`, `"version":1`) {
		t.Fatalf("%d records are in quarantine, want 100; the first: %.300s", got, out)
	}
	if out := p.must("quarantine", "replay"); !contains(out, "tried 100", "0 stored", "100 stay") {
		t.Errorf("a replay without a mended schema: %s", out)
	}

	p.write("schemas/narrow.yaml", strings.NewReplacer("version: 1", "version: 2", "maximum: 10", "maximum: 100").Replace(narrowSchema))
	testkit.Eventually(t, "the mended schema is active", func() bool {
		return strings.Contains(p.must("schema", "list", "--format", "json"), `"version": 2`)
	})
	// Several replays at once must not store a record twice.
	var replays sync.WaitGroup
	for range 3 {
		replays.Go(func() { _, _, _ = p.run("quarantine", "replay", "--schema", "narrow") })
	}
	replays.Wait()
	if n := p.number("select count(*) from narrow"); n != 300 {
		t.Errorf("%d readings after the replay, want 300", n)
	}
	if n := p.number("select count(distinct time) from narrow"); n != 300 {
		t.Errorf("%d different ones after the replay, want 300", n)
	}
	if out := p.must("quarantine", "list"); !strings.Contains(out, "nothing is in quarantine") {
		t.Errorf("quarantine still has:\n%s", out)
	}
	r.kill()
	if n := p.number("select count(*) from narrow"); n != 300 {
		t.Errorf("%d readings after kill -9, want 300", n)
	}
}

func TestAReplayWithoutANodeOpensTheDirectoryItself(t *testing.T) {
	p := newPlace(t, map[string]string{"narrow.yaml": narrowSchema})
	r := p.serve()
	publish(t, r, "values", values(30))
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.write("schemas/narrow.yaml", strings.NewReplacer("version: 1", "version: 2", "maximum: 10", "maximum: 100").Replace(narrowSchema))
	if out := p.must("quarantine", "replay"); !contains(out, "tried 10", "10 stored") {
		t.Errorf("the replay says %s", out)
	}
	if n := p.number("select count(*) from narrow"); n != 30 {
		t.Errorf("%d readings, want 30", n)
	}
}

func TestABreakingSchemaIsRefusedUntilItIsAcceptedAndThenOpensATable(t *testing.T) {
	p := newPlace(t, map[string]string{"narrow.yaml": narrowSchema})
	r := p.serve()
	publish(t, r, "before", values(3))
	breaking := strings.NewReplacer("version: 1", "version: 2", "value: {type: number, maximum: 10}", "value: {type: string}").Replace(narrowSchema)
	p.write("schemas/narrow.yaml", breaking)
	testkit.Eventually(t, "/readyz names what breaks", func() bool {
		status, body := r.get("/readyz")
		return status == 200 && contains(body, "does not fit", "value", "schema accept --break")
	})
	// The last good version goes on.
	publish(t, r, "meanwhile", func(i int) (string, []byte, bool) { return "n/a", []byte(`{"ts":1750000001000,"value":1}`), i < 1 })
	if n := p.number("select count(*) from narrow"); n != 3 {
		t.Errorf("%d readings under version 1, want 3", n)
	}
	if _, stderr, code := p.run("schema", "accept", "schemas/narrow.yaml"); code != 4 || !contains(stderr, "does not fit", "--break") {
		t.Errorf("accepting without --break: exit code %d\n%s", code, stderr)
	}
	if out := p.must("schema", "accept", "--break", "schemas/narrow.yaml"); !strings.Contains(out, "narrow_v2") {
		t.Errorf("accepting it says %s", out)
	}
	testkit.Eventually(t, "version 2 is active", func() bool { return strings.Contains(p.must("schema", "list"), "narrow_v2") })
	publish(t, r, "after", func(i int) (string, []byte, bool) {
		return "n/a", fmt.Appendf(nil, `{"ts":%d,"value":"v%d"}`, 1_750_000_002_000+i, i), i < 5
	})
	check := func(when string) {
		t.Helper()
		if n := p.number("select count(*) from narrow_v2"); n != 5 {
			t.Errorf("%s: %d readings in narrow_v2, want 5", when, n)
		}
		if n := p.number("select count(*) from narrow where typeof(value) <> 'text'"); n != 3 {
			t.Errorf("%s: %d readings of version 1 are left, want 3", when, n)
		}
	}
	check("running")
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.serve()
	check("after a restart")
	if out := p.must("schema", "list"); !strings.Contains(out, "narrow_v2") {
		t.Errorf("the acceptance is forgotten:\n%s", out)
	}
}

func TestABrokenDocumentKeepsTheLastGoodOne(t *testing.T) {
	p := newPlace(t, map[string]string{"narrow.yaml": narrowSchema})
	r := p.serve()
	p.write("schemas/narrow.yaml", "name: narrow\nversion: 2\ntopic: [\n")
	testkit.Eventually(t, "/readyz names the line", func() bool {
		status, body := r.get("/readyz")
		return status == 200 && strings.Contains(body, "narrow.yaml:")
	})
	publish(t, r, "still", values(2))
	if n := p.number("select count(*) from narrow"); n != 1 {
		t.Errorf("%d readings, want 1", n)
	}
	p.write("schemas/narrow.yaml", strings.Replace(narrowSchema, "version: 1", "version: 2", 1)+"# with a field more\n")
	testkit.Eventually(t, "the mended document is active", func() bool {
		return strings.Contains(p.must("schema", "list", "--format", "json"), `"version": 2`)
	})
}
