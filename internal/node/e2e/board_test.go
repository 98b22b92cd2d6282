package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// TestTheBoardHandsOverWhatItRecorded is the whole way on the emulated board: a
// fleet publishes to a real Mosquitto while no gateway is there; the board checks
// and records on its card, and loses its power; then a gateway comes, and has
// every reading once.
func TestTheBoardHandsOverWhatItRecorded(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(testkit.Root(), "firmware", "port", "lm3s6965", "env.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t, map[string]string{"env.yaml": string(document)})
	m := testkit.StartMosquitto(t, "log_type all")
	p.must("card", "format", "card.img", "--size", "64M")
	options := testkit.BoardOptions{Image: "weir-lm3s6965.elf", Card: filepath.Join(p.dir, "card.img"), Broker: m.Port, Args: []string{"device=board1"}}
	board := testkit.StartBoard(t, options)
	testkit.Eventually(t, "the board subscribes", func() bool {
		return strings.Contains(m.Log(), "Sending SUBACK to board1")
	})

	const messages = 300
	want := map[string]string{}
	for i := range messages {
		ts, temperature := 1_750_000_000_000+int64(i)*1000, fmt.Sprintf("%d.%02d", 20+i%5, i%100)
		want[fmt.Sprint(ts)] = temperature
		m.Publish("plants/p1/lines/l1/devices/d1/env", fmt.Sprintf(`{"ts":%d,"temperature":%s,"status":"ok"}`, ts, temperature))
	}
	m.Publish("plants/p1/lines/l1/devices/d1/env", `{"ts":1,"temperature":900}`) // its schema refuses that
	testkit.Eventually(t, "all is recorded", func() bool {
		s := board.Ask("s", "stats:")
		return s["acknowledged"] >= messages+1 && s["refused"] == 1
	})
	board.Kill()

	p.write("weir.yaml", uplinkConfig+fmt.Sprintf("broker: {enabled: false}\nsources:\n  - mqtt: {url: \"mqtt://127.0.0.1:%d\"}\n", m.Port))
	p.serve("--config", "weir.yaml")
	board = testkit.StartBoard(t, options)
	testkit.Eventually(t, "the gateway has every reading", func() bool {
		return p.number("SELECT count(*) FROM env") >= messages
	})
	got := p.stored()
	for ts, temperature := range want {
		if v := got[ts]; !strings.HasPrefix(v+"00", temperature) {
			t.Errorf("the reading of %s is %q, want %s", ts, v, temperature)
		}
	}
	if len(got) != messages {
		t.Errorf("%d readings, want %d", len(got), messages)
	}
	board.Send("q")
	if code := board.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
