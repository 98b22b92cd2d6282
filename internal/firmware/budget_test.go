package firmware

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// What the recorder may take: DESIGN's "about 50 KB" with a ring of 1,000
// messages of W1, network stack and plan included.
const (
	ramLimit   = 50 << 10
	flashLimit = 128 << 10
)

// TestMemoryBudget adds up the image: everything that stands in RAM, stack and
// network stack included, and everything in flash.
func TestMemoryBudget(t *testing.T) {
	ram, flash := imageSizes(t, "weir-lm3s6965.elf")
	t.Logf("RAM %d of %d bytes (ring of 32,000, lwIP, stack, one schema of 640 bytes and room for a new one), flash %d of %d", ram, ramLimit, flash, flashLimit)
	if ram > ramLimit || flash > flashLimit {
		t.Error("over the budget")
	}
}

// imageSizes returns what an image takes of RAM and of flash.
func imageSizes(t *testing.T, image string) (ram, flash uint64) {
	t.Helper()
	f, err := elf.Open(testkit.FirmwareImage(t, image))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		inRAM := s.Addr >= 0x20000000
		if inRAM {
			ram += s.Size
		}
		if !inRAM || s.Type == elf.SHT_PROGBITS {
			flash += s.Size // the initial values of data stand in flash
		}
	}
	return ram, flash
}

// TestTheRingHolds1000Messages fills the ring of a board without a card and
// without a gateway.
func TestTheRingHolds1000Messages(t *testing.T) {
	p := newPeer(t)
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965.elf", Broker: p.port(), Args: []string{"device=ring", "ack=ring", "overflow=newest"}})
	p.send(1300)
	p.await(1300)
	s := board.Ask("s", "stats:")
	t.Logf("%d messages in a ring of 32,000 bytes, %d dropped", s["recorded"], s["dropped"])
	if s["recorded"] < 1000 || s["recorded"]+s["dropped"] != 1300 {
		t.Errorf("of 1,300 messages %d are in the ring and %d were counted as dropped", s["recorded"], s["dropped"])
	}
}

// instructionLimit is what was promised for a received, checked, stored and
// acknowledged message. The parts are held to what they take now, with some air: a
// broker that answers late has blocks written that are not full, and the waiting
// itself takes instructions of the rest, 17 a millisecond.
const instructionLimit = 8000

var partLimits = []struct {
	part  string
	limit int
}{{"network", 1000}, {"check", 3400}, {"record", 440}, {"crc", 220}, {"card", 130}, {"spi", 240}, {"rest", 2000}}

// TestInstructionBudget counts the instructions of a message, by part.
func TestInstructionBudget(t *testing.T) {
	const messages = 1000
	p := newPeer(t)
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965-measure.elf", Card: blankCard(t), Broker: p.port(), Exact: true, Args: []string{"device=measure", "format=yes"}})
	p.send(100) // whatever happens once has happened
	p.await(100)
	board.Ask("s", "instructions:")
	p.send(100 + messages)
	p.await(100 + messages)
	parts := board.Ask("s", "instructions:")
	total, line := 0, ""
	for _, p := range partLimits {
		n, ok := parts[p.part]
		if !ok {
			t.Fatalf("no count of %s: %v", p.part, parts)
		}
		total += n
		line += fmt.Sprintf("%s %d, ", p.part, n/messages)
		if n/messages > p.limit {
			t.Errorf("%s takes %d instructions a message, more than %d", p.part, n/messages, p.limit)
		}
	}
	each := total / messages
	t.Logf("instructions a message: %sin all %d of %d", line, each, instructionLimit)
	t.Logf("500 messages/s at 2 cycles an instruction need a processor of %.1f MHz, of which moving bytes over SPI takes %.1f", float64(each)*500*2/1e6, float64(parts["spi"])/messages*500*2/1e6)
	if each > instructionLimit {
		t.Errorf("%d instructions a message, more than %d", each, instructionLimit)
	}
	stack := board.Ask("s", "stats:")
	t.Logf("the deepest use of the stack so far: %d of %d bytes", stack["stack_used"], stack["stack"])
	if stack["stack_used"] == 0 || stack["stack"]-stack["stack_used"] < 256 {
		t.Errorf("the stack has no 256 bytes left: %v", stack)
	}
}

// TestIdleBudget counts what an idle second takes: three turns of SysTick, the
// network stack's timers, and the recorder's deadlines.
func TestIdleBudget(t *testing.T) {
	const limit = 50_000
	p := newPeer(t)
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965-measure.elf", Card: blankCard(t), Broker: p.port(), Exact: true, Args: []string{"device=idle", "format=yes"}})
	p.send(10)
	p.await(10)
	board.Ask("s", "instructions:")
	first := board.Ask("s", "stats:")
	<-time.After(3 * time.Second) // what is measured: the emulator's clock follows this one while the processor sleeps
	parts := board.Ask("s", "instructions:")
	second := board.Ask("s", "stats:")
	total := 0
	for part, n := range parts {
		if part != "sleep" {
			total += n
		}
	}
	ms := second["uptime_ms"] - first["uptime_ms"]
	if ms <= 0 {
		t.Fatalf("the uptime did not advance: %v, %v", first, second)
	}
	each := total * 1000 / ms
	t.Logf("an idle second takes %d instructions of at most %d; the processor wakes %d times", each, limit, (second["wakeups"]-first["wakeups"])*1000/ms)
	if each > limit {
		t.Error("over the budget")
	}
}

// blankCard is an image of 64 MiB without content.
func blankCard(t *testing.T) string {
	t.Helper()
	card := filepath.Join(t.TempDir(), "card.img")
	if err := os.WriteFile(card, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(card, 64<<20); err != nil {
		t.Fatal(err)
	}
	return card
}
