package probe

import (
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
