package firmware

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// TestTheBoardsSelfTest runs the drivers against a card image and a broker.
func TestTheBoardsSelfTest(t *testing.T) {
	card := filepath.Join(t.TempDir(), "card.img")
	if err := os.WriteFile(card, partitioned(64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	broker := testkit.StartMosquitto(t)
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965-selftest.elf", Card: card, Broker: broker.Port})
	if code := board.Exit(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, board.Output())
	}
	for _, part := range []string{"checksum", "clock", "random", "card", "network"} {
		if board.Count("selftest: "+part+" ok") != 1 {
			t.Errorf("no verdict on %s:\n%s", part, board.Output())
		}
	}
	after, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the self-test left the card changed")
	}
}

// TestTheSelfTestFindsWhatIsMissing starts it without a card and without a broker.
func TestTheSelfTestFindsWhatIsMissing(t *testing.T) {
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965-selftest.elf", Exact: true})
	if code := board.Exit(); code != 2 {
		t.Errorf("exit code %d, want 2 failures", code)
	}
	for _, part := range []string{"card", "network"} {
		if board.Count("selftest: "+part+" FAILED") != 1 {
			t.Errorf("%s is not missed:\n%s", part, strings.TrimSpace(board.Output()))
		}
	}
}

// partitioned is an empty medium with one partition from 4 MiB on.
func partitioned(size int) []byte {
	b := make([]byte, size)
	entry := b[446:]
	entry[4] = 0x0C
	binary.LittleEndian.PutUint32(entry[8:], 8192)
	binary.LittleEndian.PutUint32(entry[12:], uint32(size/512-8192))
	b[510], b[511] = 0x55, 0xAA
	return b
}
