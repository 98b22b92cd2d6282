package e2e

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheCardIsPulledOutAndPutBackInARun: what was written and not synced is lost by
// it, the ring bridges the gap, and everything comes to the gateway once, by the link
// and by the card.
func TestTheCardIsPulledOutAndPutBackInARun(t *testing.T) {
	long(t)
	for name, args := range map[string][]string{
		"with a link": nil,
		// The uplink is closed while the card is out, and opens when it is back.
		"between two windows": {"--local-only", "--period", "300", "--window", "30"},
		// It opens while the card is out: what the ring has goes by, the rest waits.
		"in a window": {"--local-only", "--period", "100", "--window", "30"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, map[string]string{"env.yaml": onceSchema})
			p.write("weir.yaml", uplinkConfig)
			n := p.serve("--config", "weir.yaml")
			d := newRecorder(t, p.dir, n.broker)
			out := d.run(append(args, "--virtual", "400", "--sense", "250", "--flush", "3000",
				"--pull", "80:81", "--pull", "90:150", "--pull", "151:152", "--pull", "301:320")...)
			t.Log(out)
			if lost := stat(t, out, "lost") + stat(t, out, "dropped_oldest") + stat(t, out, "dropped_newest"); lost != 0 {
				t.Errorf("%d records were given up or declared lost", lost)
			}
			all, durable := d.recorded()
			if len(all) < 1500 || len(durable) != len(all) {
				t.Fatalf("%d readings were recorded, %d are durable", len(all), len(durable))
			}
			if got := p.stored(); !maps.Equal(got, all) {
				t.Errorf("%d readings were recorded, the gateway has %d", len(all), len(got))
			}
			n.kill()

			other := newPlace(t, map[string]string{"env.yaml": onceSchema})
			other.write("weir.yaml", "")
			other.must("import", d.card, "--config", "weir.yaml")
			if got := other.stored(); !maps.Equal(got, all) {
				t.Errorf("%d readings were recorded, the card has %d", len(all), len(got))
			}
		})
	}
}

// TestAnotherCardIsPutInInARun: the first card has an earlier run that was never
// handed over; the second comes in the middle of the next run, and the first again.
// That the first is another card than the gateway knows is the only sign of the earlier run; and
// what was declared lost while a card was out is asked for once that card is in.
func TestAnotherCardIsPutInInARun(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"env.yaml": onceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	d.unlinked("--virtual", "300", "--sense", "1000")
	d.base += 3_600_000_000
	first, second := d.card, filepath.Join(p.dir, "second.img")
	p.must("card", "format", second, "--size", "64M")

	// The uplink is open in the first 60 of each 300 seconds: with the second card, the
	// first, the second, and in the same window the first again.
	d.card = second
	t.Log(d.run("--local-only", "--virtual", "700", "--sense", "1000", "--period", "300", "--window", "60",
		"--pull", "150:155:"+first, "--pull", "400:405:"+second, "--pull", "650:655:"+first))
	all, durable := d.recorded()
	if len(all) < 950 || len(durable) != len(all) {
		t.Fatalf("%d readings were recorded, %d are durable", len(all), len(durable))
	}
	if got := p.stored(); !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, the gateway has %d", len(all), len(got))
	}
	// While the first card was in, what only the second had was declared lost, with that reason.
	if said := n.out.String(); !strings.Contains(said, "never written there, or on another card") || strings.Contains(said, "overwritten") || strings.Contains(said, "damaged") {
		t.Error("the reason is another than that the records are not on the card that is in")
	}
}

// TestWhatTheRingCouldNotBridgeIsDeclaredAndCounted: the card is out for longer than
// the ring reaches, and there is no link meanwhile.
func TestWhatTheRingCouldNotBridgeIsDeclaredAndCounted(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"env.yaml": onceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	out := d.run("--local-only", "--virtual", "700", "--sense", "500", "--ring", "4000", "--overflow", "oldest",
		"--period", "600", "--window", "60", "--pull", "100:500")
	t.Log(out)
	all, _ := d.recorded()
	got := p.stored()
	dropped := stat(t, out, "dropped_oldest")
	if dropped == 0 || len(got) < len(all)/3 {
		t.Fatalf("of %d readings %d are stored, %d were dropped: the test says nothing", len(all), len(got), dropped)
	}
	for ts, value := range got {
		if all[ts] != value {
			t.Fatalf("the reading of %s was %q and is %q", ts, all[ts], value)
		}
	}
	if missing := len(all) - len(got); missing > dropped {
		t.Errorf("%d readings are missing, and %d records were dropped", missing, dropped)
	}
	if lost := n.value(`weir_uplink_lost_total{device="d1"}`); lost != dropped {
		t.Errorf("%d records were dropped, %d are counted as lost", dropped, lost)
	}
	if said := n.out.String(); strings.Contains(said, "overwritten") || strings.Contains(said, "damaged") {
		t.Error("the reason is another than that the records never came to the card")
	}
}
