package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// send publishes n messages of the bare schema to a broker, from number from on,
// and waits until all are acknowledged.
func send(t *testing.T, address string, from, n int) {
	t.Helper()
	p := &publisher{
		id: fmt.Sprintf("device-%d", from), qos: 1, window: 64, address: func() string { return address },
		next: func(i int) (string, []byte, bool) {
			return "t/a/bare", fmt.Appendf(nil, `{"seq":%d}`, from+i), i < n
		},
	}
	if err := p.run(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

func TestASchemaThatIsSpoiltWhileTheNodeIsDownGoesOnAsItWas(t *testing.T) {
	const n = 50
	for name, spoilt := range map[string]struct{ doc, says string }{
		"Broken":          {"name: bare\nversion: [1\n", "bare.yaml:"},
		"Empty":           {"", "bare.yaml"},
		"EditedUnchanged": {strings.Replace(bareSchema, "minimum: 0", "minimum: 1000", 1), "give the changed document version: 2"},
		"OfAnotherType":   {strings.NewReplacer("version: 1", "version: 2", "integer", "string").Replace(bareSchema), "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
			r := p.serve()
			send(t, r.broker, 0, n)
			r.kill()
			p.write("schemas/bare.yaml", spoilt.doc)
			for i := range 2 { // the second restart finds what the first left
				r = p.serve()
				send(t, r.broker, (i+1)*n, n)
				status, body := r.get("/readyz")
				if status != 200 || !contains(body, spoilt.says, "version 1 of before stays active") {
					t.Errorf("/readyz is %d %s", status, body)
				}
				if got := p.number("select count(distinct seq) from bare"); got != (i+2)*n {
					t.Errorf("%d messages were acknowledged, and %d are stored", (i+2)*n, got)
				}
				if code := r.stop(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			}
		})
	}
}

func TestASchemaThatIsRemovedWhileTheNodeIsDownStaysInactive(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema, "timed.yaml": timedSchema})
	r := p.serve()
	send(t, r.broker, 0, 10)
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if err := os.Remove(filepath.Join(p.dir, "schemas", "bare.yaml")); err != nil {
		t.Fatal(err)
	}
	r = p.serve()
	send(t, r.broker, 10, 10)
	s, err := r.status()
	if err != nil || len(s.Schemas) != 1 || s.Schemas[0].Name != "timed" || len(s.Unmatched) != 1 || s.Unmatched[0].Count != 10 {
		t.Errorf("status is %+v, %v", s, err)
	}
	if got := p.number("select count(*) from bare"); got != 10 {
		t.Errorf("the table has %d readings, want the 10 of before", got)
	}
}

func TestTheBrokersSessionKeepsTheFiltersOfABrokenSchema(t *testing.T) {
	const n = 50
	m := testkit.StartMosquitto(t)
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema, "timed.yaml": timedSchema})
	args := []string{"--from", m.URL()}
	r := p.serve(args...)
	testkit.Eventually(t, "the node is subscribed", r.subscribed)
	send(t, m.Addr(), 0, n)
	testkit.Eventually(t, "the messages are stored", func() bool { return p.number("select count(*) from bare") == n })
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}

	p.write("schemas/bare.yaml", "name: [")
	if err := os.Remove(filepath.Join(p.dir, "weir-data", "schemas.json")); err != nil {
		t.Fatal(err) // the worst: nothing says what the document was
	}
	send(t, m.Addr(), n, n)
	r = p.serve(args...)
	testkit.Eventually(t, "the node is subscribed", r.subscribed)
	held := func() []string {
		state, err := os.ReadFile(filepath.Join(p.data, "source-mqtt.json"))
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, f := range []string{"t/+/bare", "t/+/third", "t/+/timed"} {
			if strings.Contains(string(state), f) {
				all = append(all, f)
			}
		}
		return all
	}
	// A message on the other filter shows that the source is past its SUBSCRIBE
	// and UNSUBSCRIBE.
	publishTimed(t, m.Addr(), 0)
	testkit.Eventually(t, "the other schema works", func() bool { return p.number("select count(*) from timed") > 0 })
	if got := held(); !slices.Equal(got, []string{"t/+/bare", "t/+/timed"}) {
		t.Errorf("the session holds %v", got)
	}
	// Nor does a change of another document give the filter up.
	p.write("schemas/third.yaml", strings.ReplaceAll(bareSchema, "bare", "third"))
	testkit.Eventually(t, "the third schema is subscribed", func() bool { return slices.Contains(held(), "t/+/third") })
	publishTimed(t, m.Addr(), 1)
	testkit.Eventually(t, "the source is past its UNSUBSCRIBE", func() bool { return p.number("select count(*) from timed") > 1 })
	if got := held(); !slices.Equal(got, []string{"t/+/bare", "t/+/third", "t/+/timed"}) {
		t.Errorf("the session holds %v", got)
	}
	p.write("schemas/bare.yaml", bareSchema)
	testkit.Eventually(t, "the mended schema is active", func() bool {
		s, err := r.status()
		return err == nil && len(s.Schemas) == 3
	})
	send(t, m.Addr(), 2*n, n)
	testkit.Eventually(t, "later messages are stored", func() bool {
		return p.number(fmt.Sprintf("select count(*) from bare where seq >= %d", 2*n)) == n
	})
	// A document that is removed while all is well gives its filter up.
	if err := os.Remove(filepath.Join(p.dir, "schemas", "bare.yaml")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the filter is given up", func() bool { return slices.Equal(held(), []string{"t/+/third", "t/+/timed"}) })
}

// publishTimed publishes one message of the timed schema, and waits for its acknowledgement.
func publishTimed(t *testing.T, address string, i int) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	topic, payload, _ := timed("a", i+1)(i)
	packets := wire.AppendConnect(nil, &wire.Connect{Version: wire.V311, ClientID: "once", KeepAlive: 60, Clean: true})
	packets = wire.AppendPublish(packets, wire.V311, &wire.Publish{Topic: []byte(topic), Payload: payload, QoS: 1, PacketID: 1})
	if _, err := conn.Write(packets); err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(conn, 1<<16)
	for range 2 { // CONNACK, PUBACK
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
}
