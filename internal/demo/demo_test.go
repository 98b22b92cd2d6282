package demo

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func compiled(t *testing.T) *schema.Set {
	t.Helper()
	var plans []*schema.Plan
	for name, doc := range Schemas() {
		p, problems := schema.Compile(name, doc)
		if len(problems) > 0 {
			t.Fatalf("%s: %v", name, problems)
		}
		plans = append(plans, p)
	}
	set, problems := schema.NewSet(plans)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

func TestTheFleetObeysItsSchemasExceptWhereItMeansNotTo(t *testing.T) {
	set, checker := compiled(t), schema.NewChecker()
	f := New(Options{Seed: 7})
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	seen := map[string]int{}
	wrong, messages := 0, 0
	for _, d := range f.devices {
		for at := start; at.Before(start.Add(20 * time.Minute)); at = at.Add(d.every) {
			for _, m := range d.at(at) {
				messages++
				route := set.Route([]byte(m.topic))
				if route == nil {
					t.Fatalf("no schema matches %s", m.topic)
				}
				plan, rows, fail := checker.Check(route, m.payload)
				if (fail != nil) != m.wrong {
					detail := ""
					if fail != nil {
						detail = fail.Detail()
					}
					t.Fatalf("%s %s: wrong is %v, and the verdict is %v %s", m.topic, m.payload, m.wrong, fail, detail)
				}
				if m.wrong {
					wrong++
					continue
				}
				seen[plan.Name()] += len(rows)
			}
		}
	}
	for _, name := range []string{"env", "spindle", "machine_state", "power"} {
		if seen[name] == 0 {
			t.Errorf("nothing for %s", name)
		}
	}
	if wrong*200 < messages || wrong*50 > messages {
		t.Errorf("%d of %d messages are wrong, want about 1 in 100", wrong, messages)
	}
}

func TestAFleetThatStartsAgainRepeatsItself(t *testing.T) {
	a, b := New(Options{Seed: 3}), New(Options{Seed: 3})
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range a.devices {
		ma, mb := a.devices[i].at(at), b.devices[i].at(at)
		for j := range ma {
			if ma[j].topic != mb[j].topic || string(ma[j].payload) != string(mb[j].payload) {
				t.Errorf("%s says %s, then %s", ma[j].topic, ma[j].payload, mb[j].payload)
			}
		}
	}
}

func TestSchemasAreWrittenOnlyWhereThereAreNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "schemas")
	if n, err := WriteSchemas(dir); err != nil || n != 4 {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "env.yaml"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := WriteSchemas(dir); err != nil || n != 0 {
		t.Errorf("wrote %d over what was there, %v", n, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "env.yaml")); err != nil || string(data) != "mine" {
		t.Errorf("a document was replaced: %q, %v", data, err)
	}
}

func TestTheFleetPublishesToARealBrokerAndSurvivesItsRestart(t *testing.T) {
	m := testkit.StartMosquitto(t)
	f := New(Options{Broker: m.Addr(), Sensors: 4, History: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	acked := func(n uint64) func() bool { return func() bool { return f.Stats().Acked >= n } }
	testkit.Eventually(t, "the history is acknowledged", acked(20))
	before := f.Stats().Acked
	m.Restart()
	testkit.Eventually(t, "the fleet is back", acked(before+5))
	cancel()
	<-done
	if s := f.Stats(); s.Acked > s.Sent {
		t.Errorf("%d acknowledged of %d sent", s.Acked, s.Sent)
	}
}
