package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// samples reads the text format of Prometheus: values by name and labels.
func samples(t *testing.T, text string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("metrics line %q: %v", line, err)
		}
		out[line[:i]] = v
	}
	return out
}

// balance returns received, and received less everything that became of it.
func balance(m map[string]float64, source string) (received, rest float64) {
	label := fmt.Sprintf("source=%q", source)
	for name, v := range m {
		if !strings.Contains(name, label) {
			continue
		}
		switch metric, _, _ := strings.Cut(name, "{"); metric {
		case "weir_messages_received_total":
			received += v
			rest += v
		case "weir_messages_stored_total", "weir_messages_duplicate_total", "weir_messages_quarantined_total",
			"weir_messages_dropped_total", "weir_messages_unmatched_total", "weir_messages_in_flight":
			rest -= v
		}
	}
	return received, rest
}

func TestCountsByReasonBeginWithZero(t *testing.T) {
	r := newPlace(t, map[string]string{"bare.yaml": bareSchema}).serve()
	publish(t, r, "p", bare("a", 1))
	_, body := r.get("/metrics")
	all := samples(t, body)
	for _, name := range []string{`weir_messages_quarantined_total{reason="invalid",source="broker"}`, `weir_messages_dropped_total{reason="retained",source="broker"}`} {
		if v, ok := all[name]; !ok || v != 0 {
			t.Errorf("%s is %v, given: %v", name, v, ok)
		}
	}
}

func TestMetricsAddUpAtEveryScrape(t *testing.T) {
	drop := strings.NewReplacer("name: narrow", "name: dropping", "n/{client}", "d/{client}").Replace(narrowSchema) + "on_invalid: drop\n"
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema, "bare.yaml": bareSchema, "narrow.yaml": narrowSchema, "drop.yaml": drop})
	r := p.serve()
	const n = 3000
	ctx := deadline(t)
	// The second half waits until a scrape saw something of the first.
	half := make(chan struct{})
	release := sync.OnceFunc(func() { close(half) })
	defer release()
	mixed := func(i int) (string, []byte, bool) {
		if i == n/2 {
			select {
			case <-half:
			case <-ctx.Done():
			}
		}
		switch i % 5 {
		case 0: // invalid every third time: quarantine
			return values(n)(i)
		case 1: // the same with on_invalid: drop
			_, payload, _ := values(n)(i)
			return "d/a", payload, i < n
		case 2: // the same reading over and over: duplicates
			return "t/a/timed", []byte(`{"ts":1750000000000,"seq":1}`), i < n
		case 3:
			return "nobody/knows", []byte("x"), i < n
		}
		return bare("a", n)(i)
	}
	l := &load{messages: n, errs: make(chan error, 8)}
	for i := range 4 {
		pub := &publisher{id: fmt.Sprint("mixed", i), qos: uint8(1 + i%2), window: 100, address: func() string { return r.broker }, next: mixed}
		l.publishers = append(l.publishers, pub)
		l.wg.Go(func() {
			if err := pub.run(ctx); err != nil {
				l.errs <- err
			}
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); l.wg.Wait() }()
	scrapes, moving := 0, 0
	for last, ended := 0.0, false; ; scrapes++ {
		_, text := r.get("/metrics")
		received, rest := balance(samples(t, text), "broker")
		if rest != 0 {
			t.Errorf("scrape %d: %v of %v messages are in no counter", scrapes, rest, received)
		}
		if received > last {
			moving++
			release()
		}
		last = received
		if ended {
			break
		}
		select {
		case <-done:
			ended = true // one more scrape sees all of it
		default:
		}
	}
	l.wait(t)
	if moving < 2 {
		t.Errorf("only %d of %d scrapes saw the stream move", moving, scrapes)
	}
	_, text := r.get("/metrics")
	m := samples(t, text)
	received, _ := balance(m, "broker")
	want := map[string]float64{
		`weir_messages_in_flight{source="broker"}`:                          0,
		`weir_messages_unmatched_total{source="broker"}`:                    4 * n / 5,
		`weir_messages_quarantined_total{reason="invalid",source="broker"}`: 4 * n / 15,
		`weir_messages_dropped_total{reason="invalid",source="broker"}`:     4 * n / 15,
		`weir_schemas`: 4,
		`weir_ready`:   1,
	}
	for name, v := range want {
		if m[name] != v {
			t.Errorf("%s is %v, want %v", name, m[name], v)
		}
	}
	if received != 4*n {
		t.Errorf("received %v, want %d", received, 4*n)
	}
	for _, name := range []string{"weir_store_wal_bytes", "weir_store_compaction_debt_bytes", "weir_store_series", "weir_commit_seconds_count", "weir_ack_seconds_sum", "go_goroutines", "weir_bytes_written_per_reading"} {
		if _, ok := m[name]; !ok {
			t.Errorf("/metrics lacks %s", name)
		}
	}
}

func TestMetricsOfAnExternalSourceNameIt(t *testing.T) {
	m := testkit.StartMosquitto(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	r := p.serve("--from", m.URL(), "--set", "sources[0].mqtt.name=plant")
	testkit.Eventually(t, "the node is subscribed", r.subscribed)
	if _, text := r.get("/metrics"); samples(t, text)[`weir_source_connected{source="plant"}`] != 1 {
		t.Error("/metrics does not say that the source is connected")
	}
	pub := &publisher{id: "p", qos: 1, window: 10, address: m.Addr, next: timed("a", 50)}
	if err := pub.run(deadline(t)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "fifty messages are stored", func() bool {
		_, text := r.get("/metrics")
		return samples(t, text)[`weir_messages_stored_total{source="plant"}`] == 50
	})
}
