package probe

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/testkit"
)

func TestARealBrokerIsUnderstood(t *testing.T) {
	m := testkit.StartMosquitto(t, "sys_interval 1", "max_inflight_messages 33")
	b, err := Ask(t.Context(), Login{Address: m.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if b.Version != wire.V5 || !strings.Contains(b.Software, "mosquitto") {
		t.Errorf("the broker is %+v", b)
	}
	if b.Limits.MaximumQoS != 2 || b.Expiry != week {
		t.Errorf("its limits are %+v", b)
	}
}

func TestABrokerThatIsNotThereIsAnError(t *testing.T) {
	if b, err := Ask(t.Context(), Login{Address: "127.0.0.1:1"}); err == nil {
		t.Errorf("got %+v", b)
	}
}

func TestSyncingIsMeasuredAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f, err := MeasureFsync(dir, 10*time.Millisecond)
	if err != nil || f.Writes < 5 || f.P50 > f.P99 || f.P99 > f.Max || f.P50 <= 0 {
		t.Errorf("measured %+v, %v", f, err)
	}
	if _, err := MeasureFsync(dir+"/missing", 0); err == nil {
		t.Error("a missing directory was measured")
	}
}

func TestTheDroppedCounterOfARealBrokerIsWatched(t *testing.T) {
	m := testkit.StartMosquitto(t, "sys_interval 1", "max_queued_messages 10")
	away := func() { // a persistent session whose client is gone
		out, err := exec.CommandContext(t.Context(), testkit.Binary(t, "mosquitto_sub"), "-h", "127.0.0.1", "-p", strconv.Itoa(m.Port),
			"-c", "-i", "away", "-q", "1", "-t", "drop", "-E").CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_sub: %v: %s", err, out)
		}
	}
	away()
	login := Login{Address: m.Addr()}
	if d, err := WatchDropped(t.Context(), login, 500*time.Millisecond); err != nil || d.Dropped() != 0 {
		t.Errorf("a quiet broker: %+v, %v", d, err)
	}
	lines := strings.Repeat("x\n", 200)
	var seen Dropped
	done := make(chan error, 1)
	go func() {
		var err error
		seen, err = WatchDropped(t.Context(), login, 4*time.Second)
		done <- err
	}()
	testkit.Eventually(t, "the watcher is subscribed", func() bool { return strings.Contains(m.Log(), "weirdoctor") })
	pub := exec.CommandContext(t.Context(), testkit.Binary(t, "mosquitto_pub"), "-h", "127.0.0.1", "-p", strconv.Itoa(m.Port), "-q", "1", "-t", "drop", "-l")
	pub.Stdin = strings.NewReader(lines)
	if out, err := pub.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
	if err := <-done; err != nil || seen.Dropped() != 190 || seen.Times < 2 {
		t.Errorf("200 messages for a queue of 10: %+v, %v", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WatchDropped(ctx, login, time.Minute); err == nil {
		t.Error("it was watched after its end")
	}
}
