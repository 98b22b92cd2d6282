package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// TestPeersGetTheSameReadings holds the line protocol to the payloads.
func TestPeersGetTheSameReadings(t *testing.T) {
	packets, lines := NewW1(100, 3), NewW1(100, 3)
	for i := range 350 {
		var p wire.Publish
		packet := packets.Append(nil, 1, 1, true)
		h, n, err := wire.ReadHeader(packet)
		if err == nil {
			err = wire.ParsePublish(&p, wire.V5, h.First, packet[n:])
		}
		var payload struct {
			TS                                       int64
			Temperature, Humidity, Pressure, Battery json.Number
			Status                                   string
		}
		if err == nil {
			err = json.Unmarshal(p.Payload, &payload)
		}
		if err != nil {
			t.Fatal(err)
		}
		device := strings.Split(string(p.Topic), "/")[5]
		want := fmt.Sprintf("env,plant=p03,line=l2,device=%s temperature=%s,humidity=%s,pressure=%s,battery=%s,status=%q %d\n",
			device, payload.Temperature, payload.Humidity, payload.Pressure, payload.Battery, payload.Status, payload.TS)
		if got := string(lines.AppendLine(nil, true)); got != want {
			t.Fatalf("reading %d is %q, the payload says %q", i, got, want)
		}
	}
}

// TestQueriesAreAskedOfPeers runs the comparison with the databases themselves.
func TestQueriesAreAskedOfPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; the long form runs in make test")
	}
	for _, binary := range []string{"victoria-metrics", "influxd"} {
		if _, err := exec.LookPath(binary); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("SKIPPED: %s is missing: scripts/install-test-deps installs it", binary)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var out bytes.Buffer
	o := smokeRun(t)
	o.Out, o.Count, o.Series, o.Baselines, o.Rest = &out, 30_000, 1000, true, time.Second
	if err := Queries(ctx, o, 1); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rows := strings.Count(out.String(), " ms |")
	if asked := 5*len(timedQueries) - strings.Count(out.String(), "not asked"); rows != asked || !strings.Contains(out.String(), "InfluxDB") {
		t.Errorf("%d times, want %d\n%s", rows, asked, out.String())
	}
}

// TestAPeerThatIsMissingIsSaidToBe looks for the loud line.
func TestAPeerThatIsMissingIsSaidToBe(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	o := Options{Out: &out}
	peers, err := o.startPeers(t.Context(), t.TempDir())
	if err != nil || len(peers) != 0 || strings.Count(out.String(), "SKIPPED: ") != 2 {
		t.Errorf("%v, %v\n%s", peers, err, out.String())
	}
}
