package firmware

import (
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// The causes of a reset, as enum weir_reset of weir/port.h numbers them.
const (
	causePower    = 0
	causeWatchdog = 3
	causeFault    = 4
)

// TestAHangEndsInAResetWithItsCause hangs the board's own loop, and overflows its
// stack. (Each part of the core is hung in turn on the posix port.)
func TestAHangEndsInAResetWithItsCause(t *testing.T) {
	for _, c := range []struct {
		name, command string
		cause         int
	}{
		{"the loop hangs: the watchdog", "h", causeWatchdog},
		{"the stack overflows: the guard", "o", causeFault},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			card := blankCard(t)
			board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965.elf", Card: card, Broker: p.port(), Exact: true, Args: []string{"device=reset"}})
			board.Await(1, "weir: started,")
			if f := testkit.BoardFields(board.Last("weir: started,")); f["cause"] != causePower {
				t.Errorf("the first start: %v", f)
			}
			board.Send(c.command)
			board.Await(2, "weir: started,")
			if f := testkit.BoardFields(board.Last("weir: started,")); f["cause"] != c.cause {
				t.Errorf("after the reset: %v, want cause %d", f, c.cause)
			}
		})
	}
}

// TestABoardIsQuietAtOnce asks for quiet before the first poll, when the storage
// has not begun.
func TestABoardIsQuietAtOnce(t *testing.T) {
	p := newPeer(t)
	card, _ := formatted(t)
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965.elf", Card: card, Broker: p.port(), Exact: true, Args: []string{"device=quiet"}})
	board.Send("q")
	if code := board.Exit(); code != 0 || board.Count("weir: started,") != 1 {
		t.Errorf("exit code %d:\n%s", code, board.Output())
	}
}
