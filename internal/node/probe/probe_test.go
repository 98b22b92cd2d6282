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
	m := testkit.StartMosquitto(t, "sys_interval 1", "max_queued_messages 10", "log_type all")
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
	var err error
	// The watch takes its time whatever happens: where it was too short for this machine,
	// the same is done once more, with more of it. The queue is full by then.
	want := uint64(190)
	for _, d := range []time.Duration{3 * time.Second, 15 * time.Second, time.Minute} {
		subscribed := strings.Count(m.Log(), "Sending SUBACK to weirdoctor")
		done := make(chan struct{})
		go func() {
			defer close(done)
			seen, err = WatchDropped(t.Context(), login, d)
		}()
		testkit.Eventually(t, "the watcher is subscribed", func() bool { return strings.Count(m.Log(), "Sending SUBACK to weirdoctor") > subscribed })
		pub := exec.CommandContext(t.Context(), testkit.Binary(t, "mosquitto_pub"), "-h", "127.0.0.1", "-p", strconv.Itoa(m.Port), "-q", "1", "-t", "drop", "-l")
		pub.Stdin = strings.NewReader(lines)
		if out, err := pub.CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub: %v: %s", err, out)
		}
		if <-done; err == nil && seen.Dropped() == want && seen.Times >= 2 {
			break
		}
		t.Logf("in %s: %+v, %v", d, seen, err)
		want = 200
	}
	if t.Logf("%+v", seen); err != nil || seen.Dropped() != 190 && seen.Dropped() != 200 {
		t.Errorf("200 messages for a queue of 10: %+v, %v", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WatchDropped(ctx, login, time.Minute); err == nil {
		t.Error("it was watched after its end")
	}
}
