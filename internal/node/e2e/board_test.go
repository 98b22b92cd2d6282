package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// TestTheBoardsCardIsTakenOutAndPutBack: messages come before, while the card is out,
// and after. None is acknowledged before it is durable, and each is on the card and
// with the gateway once.
func TestTheBoardsCardIsTakenOutAndPutBack(t *testing.T) {
	long(t)
	document, err := os.ReadFile(filepath.Join(testkit.Root(), "firmware", "port", "lm3s6965", "env.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t, map[string]string{"env.yaml": string(document)})
	m := testkit.StartMosquitto(t)
	p.must("card", "format", "card.img", "--size", "64M")
	card := filepath.Join(p.dir, "card.img")
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965.elf", Card: card, Broker: m.Port, Args: []string{"device=board1"}, Monitor: true})
	testkit.EventuallyWithin(t, time.Minute, "the board subscribes", func() bool {
		return strings.Contains(m.Log(), "as board1")
	})
	sent := 0
	publish := func(n int) {
		for range n {
			m.Publish("plants/p1/lines/l1/devices/d1/env", fmt.Sprintf(`{"ts":%d,"temperature":20.5,"status":"ok"}`, 1_750_000_000_000+int64(sent)*1000))
			sent++
		}
	}
	await := func(what, field string, least int) {
		t.Helper()
		testkit.EventuallyWithin(t, time.Minute, what, func() bool { return board.Ask("s", "stats:")[field] >= least })
	}
	publish(20)
	await("what came with the card is acknowledged", "acknowledged", 20)
	errors := board.Ask("s", "stats:")["storage_errors"]
	board.Eject()
	publish(15)
	await("what comes without the card is in the ring", "recorded", 35)
	await("the board notices that its card is out", "storage_errors", errors+1)
	if n := board.Ask("s", "stats:")["acknowledged"]; n != 20 {
		t.Errorf("%d messages are acknowledged, 20 were durable", n)
	}
	board.Insert()
	publish(20)
	await("the ring is brought to the card", "acknowledged", 55)
	board.Send("q")
	if code := board.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	p.write("weir.yaml", "")
	p.must("import", card, "--config", "weir.yaml")
	if got := p.stored(); len(got) != sent {
		t.Errorf("%d messages were sent, the card has %d", sent, len(got))
	}
}
