package testkit

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Random returns a source of random numbers whose seed stands in the test's log;
// WEIR_SEED repeats one.
func Random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEIR_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("WEIR_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// KilledAtRandom runs a program, usually the test's own binary as a child, and kills
// it at a random moment: so many lines after its first as lines draws, and then up to
// wait later. It returns the lines that it printed, and whether it came to its end
// before. The caller opens what the program worked on and checks the promises; what
// a printed line reported must have come true.
func KilledAtRandom(t *testing.T, rng *rand.Rand, cmd *exec.Cmd, lines int, wait time.Duration) (printed []string, ended bool) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	after, pause := rng.IntN(max(lines, 1)), time.Duration(rng.Int64N(int64(wait)))
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		if printed = append(printed, scanner.Text()); len(printed) == after+1 {
			time.Sleep(pause) // the moment is random: nothing waits for it
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
	}
	return printed, cmd.Wait() == nil
}
