package e2e

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

func TestTwoBrokersAndTheEmbeddedOneFeedOneNode(t *testing.T) {
	old, recent := testkit.StartMosquitto(t), testkit.StartMosquitto(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema, "bare.yaml": bareSchema, "narrow.yaml": narrowSchema})
	p.write("weir.yaml", fmt.Sprintf(`schemas: schemas
broker: {enabled: true}
sources:
  - mqtt: {name: old, url: %q, version: 3.1.1}
  - mqtt: {name: recent, url: %q, version: 5, qos: 2}
`, old.URL(), recent.URL()))
	r := p.serve("--config", "weir.yaml")
	testkit.Eventually(t, "both sources are subscribed", r.subscribed)
	if s, err := r.status(); err != nil || len(s.Sources) != 3 {
		t.Fatalf("the status names %d sources, not 3: %v", len(s.Sources), err)
	}
	// Each source gets its own numbers of readings with a time, without one, and of
	// values of which every third is invalid; the topics tell the sources apart.
	n := map[string]int{"old": 90, "recent": 150, "broker": 210}
	address := map[string]func() string{"old": old.Addr, "recent": recent.Addr, "broker": func() string { return r.broker }}
	ctx := deadline(t)
	var publishers sync.WaitGroup
	for source, count := range n {
		kinds := map[string]func(int) (string, []byte, bool){
			"timed": timed(source, count), "bare": bare(source, count),
			"narrow": func(i int) (string, []byte, bool) {
				_, payload, ok := values(count)(i)
				return "n/" + source, payload, ok
			},
		}
		for kind, next := range kinds {
			pub := &publisher{id: source + "-" + kind, qos: 2, window: 20, address: address[source], next: next}
			publishers.Go(func() {
				if err := pub.run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
	publishers.Wait()
	settled := func() (map[string]float64, bool) {
		_, text := r.get("/metrics")
		m := samples(t, text)
		all := true
		for source, count := range n {
			received, rest := balance(m, source)
			if rest != 0 {
				t.Errorf("%s: %v of %v messages are in no counter", source, rest, received)
			}
			all = all && received == float64(3*count) && m[fmt.Sprintf("weir_messages_in_flight{source=%q}", source)] == 0
		}
		return m, all
	}
	testkit.Eventually(t, "every source has brought all of its messages", func() bool { _, all := settled(); return all })
	m, _ := settled()
	received := 0.0
	for source, count := range n {
		for name, want := range map[string]int{
			"weir_messages_stored_total{source=%q}":                         count + count + count*2/3,
			"weir_messages_quarantined_total{reason=\"invalid\",source=%q}": count / 3,
		} {
			if name = fmt.Sprintf(name, source); m[name] != float64(want) {
				t.Errorf("%s is %v, want %d", name, m[name], want)
			}
		}
		r, _ := balance(m, source)
		received += r
		for table, want := range map[string]int{"timed": count, "bare": count, "narrow": count * 2 / 3} {
			if got := p.number("select count(*) from " + table + " where client = '" + source + "'"); got != want {
				t.Errorf("%s holds %d readings of %s, want %d", table, got, source, want)
			}
		}
		for _, table := range []string{"timed", "bare"} {
			rows := p.rows("select count(distinct seq), max(seq) from " + table + " where client = '" + source + "'")
			if rows[0][0] != strconv.Itoa(count) || rows[0][1] != strconv.Itoa(count-1) {
				t.Errorf("%s of %s: %s different readings up to %s, want %d", table, source, rows[0][0], rows[0][1], count)
			}
		}
	}
	if received != 3*(90+150+210) {
		t.Errorf("the sources received %v messages, want %d", received, 3*(90+150+210))
	}
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
