package bench

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smokeRun is a run that is long enough to see that everything is wired, and
// says nothing about speed.
func smokeRun(t *testing.T) Options {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "weir")
	build := exec.Command("go", "build", "-o", bin, "../../cmd/weir")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return Options{Weir: bin, QoS: 1, Count: 20_000}
}

func TestEveryKindOfRunMeasuresSomething(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; the long form runs in make test")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	o := smokeRun(t)
	for _, run := range []struct {
		name   string
		f      func(context.Context, Options) (*Result, error)
		change func(*Options)
		stored int64
	}{
		{"node", Node, func(*Options) {}, 20_000},
		{"node at a rate, 3.1.1", Node, func(o *Options) { o.Rate, o.Count, o.Version, o.CommitInterval = 5000, 2000, "3.1.1", "5ms" }, 2000},
		{"node with W2", Node, func(o *Options) { o.Workload, o.Series = "w2", 2000 }, -1},
		{"broker", Broker, func(o *Options) { o.Clients = 4 }, -1},
		{"mochi", Mochi, func(o *Options) { o.Clients = 4 }, -1},
		{"floor", Floor, func(*Options) {}, -1},
	} {
		o := o
		run.change(&o)
		r, err := run.f(ctx, o)
		if err != nil {
			t.Errorf("%s: %v", run.name, err)
			continue
		}
		if r.Messages != o.Count || int64(r.Ack.n) != o.Count || r.Strays != 0 || r.Stored != run.stored {
			t.Errorf("%s: %d messages, %d acknowledged, %d out of order, %d stored", run.name, r.Messages, r.Ack.n, r.Strays, r.Stored)
		}
		if o.Workload == "w2" && (r.Gauges["quarantined"] == 0 || r.Gauges["duplicate"] == 0 ||
			r.Gauges["stored"]+r.Gauges["quarantined"]+r.Gauges["duplicate"] != float64(o.Count)) {
			t.Errorf("%s: %v", run.name, r.Gauges)
		}
		var out bytes.Buffer
		r.Print(&out)
		t.Logf("%s", out.String())
	}
	var out bytes.Buffer
	o.Out, o.Count, o.Rest = &out, 50_000, time.Second
	if err := Queries(ctx, o, 1); err != nil || strings.Count(out.String(), " ms |") != 3*len(timedQueries) {
		t.Errorf("queries: %v\n%s", err, out.String())
	}
	out.Reset()
	o.Workload, o.Series = "w2", 4000
	if err := Queries(ctx, o, 1); err != nil || strings.Count(out.String(), " ms |") != 3*len(wideQueries) {
		t.Errorf("queries of W2: %v\n%s", err, out.String())
	}
}
