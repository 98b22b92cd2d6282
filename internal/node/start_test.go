package node

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// A defect of this shows under the race detector.
func TestANodeMayBeAskedAndItsSchemasChangedWhileItStarts(t *testing.T) {
	broker := startNode(t, testConfig(t), Options{})
	c := testConfig(t, "sources[0].mqtt.url=mqtt://"+listener(broker, "mqtt tcp"), "sources[1].mqtt.url=mqtt://"+listener(broker, "mqtt tcp"))
	n, err := Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n)
	over := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for i := 0; ; i++ {
			name := []string{"a", "b", "c"}[i%3]
			if err := os.WriteFile(filepath.Join(c.Schemas, name+".yaml"), document(name, 1, "number"), 0o600); err != nil {
				t.Error(err)
			}
			_ = n.registry.Reload() // a file may be half-written
			select {
			case <-over:
				return
			default:
			}
		}
	})
	tasks.Go(func() {
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(c.DataDir, "weir.sock"))
		}}}
		defer client.CloseIdleConnections()
		for {
			if r, err := client.Get("http://weir/v1/status"); err == nil {
				_ = r.Body.Close()
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	err = n.Start(t.Context())
	testkit.Eventually(t, "the sources want what the schemas match", func() bool {
		for _, s := range n.sources {
			if len(s.Status().Filters) != 3 {
				return false
			}
		}
		return true
	})
	close(over)
	tasks.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

func startNode(t *testing.T, c *config.Loaded, o Options) *Node {
	t.Helper()
	n, err := Open(t.Context(), c, o)
	if err == nil {
		t.Cleanup(func() { stop(t, n) })
		err = n.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func listener(n *Node, what string) string {
	for _, l := range n.Listeners() {
		if l.What == what {
			return l.Address
		}
	}
	return ""
}

// hands are the clocks of a machine, which a test moves.
type hands struct {
	began time.Time
	shift atomic.Int64
}

func (h *hands) read() (int64, time.Duration) {
	mono := time.Since(h.began)
	return h.began.Add(mono).UnixNano() + h.shift.Load(), mono
}

func TestAWallClockThatJumpsDoesNotMoveTheTimeOfReceipt(t *testing.T) {
	h := &hands{began: time.Now()}
	write := func(c *config.Loaded) *config.Loaded {
		if err := os.MkdirAll(c.Schemas, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Schemas, "bare.yaml"), document("bare", 1, "integer"), 0o600); err != nil {
			t.Fatal(err)
		}
		return c
	}
	broker := startNode(t, write(testConfig(t)), Options{Clock: h.read})
	source := startNode(t, write(testConfig(t, "sources[0].mqtt.url=mqtt://"+listener(broker, "mqtt tcp"), "broker.enabled=false")), Options{Clock: h.read})
	testkit.Eventually(t, "the source is subscribed", func() bool {
		f := source.sources[0].Status().Filters
		return len(f) == 1 && f[0].Granted == 1
	})

	conn, err := net.Dial("tcp", listener(broker, "mqtt tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(wire.AppendConnect(nil, &wire.Connect{Version: wire.V311, ClientID: "device", KeepAlive: 60, Clean: true})); err != nil {
		t.Fatal(err)
	}
	rows := func(n *Node) []string {
		var out strings.Builder
		if err := n.Query(t.Context(), "select value, time, received_at from bare order by value", "csv", &out); err != nil {
			t.Fatal(err)
		}
		return strings.Fields(out.String())[1:] // no value holds a space
	}
	day := int64(24 * time.Hour)
	for i, shift := range []int64{0, -day, 365 * day, 0} {
		h.shift.Store(shift)
		m := wire.Publish{Topic: []byte("bare/x"), Payload: []byte(`{"value":` + string(rune('0'+i)) + `}`), QoS: 1, PacketID: uint16(i + 1)}
		if _, err := conn.Write(wire.AppendPublish(nil, wire.V311, &m)); err != nil {
			t.Fatal(err)
		}
		for _, n := range []*Node{broker, source} {
			testkit.Eventually(t, "the reading is durable", func() bool { return len(rows(n)) == i+1 })
		}
	}
	for name, n := range map[string]*Node{"the broker": broker, "the MQTT source": source} {
		for _, row := range rows(n) {
			fields := strings.Split(row, ",")
			for _, field := range fields[1:] {
				at, err := time.Parse(time.RFC3339Nano, field)
				if err != nil || at.Before(h.began.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
					t.Errorf("%s stamped %s, %v; it began at %s", name, row, err, h.began)
				}
			}
		}
		if _, metrics := page(t, n.webHandler(nil), "/metrics", "", ""); !strings.Contains(metrics, "weir_clock_jumps_total 2") {
			t.Errorf("%s does not count two jumps, but %d", name, n.pipeline.Clock().Jumps())
		}
	}
}
