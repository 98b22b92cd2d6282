package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEachPartThatHangsEndsInAResetThatNamesIt hangs the recorder's parts in turn.
func TestEachPartThatHangsEndsInAResetThatNamesIt(t *testing.T) {
	long(t)
	const watchdog = 3 // enum weir_reset
	cases := []struct {
		name string
		part int
		args []string
	}{
		{"network", 1, []string{"--hang", "network"}},
		{"check", 2, []string{"--hang", "check"}},
		{"ring", 3, []string{"--hang", "ring"}},
		{"storage", 4, []string{"--hang", "storage"}},
		{"uplink", 5, []string{"--hang", "uplink"}},
		{"time", 6, []string{"--hang", "time"}},
		{"schema", 7, []string{"--hang", "schema"}},
		{"board", 8, []string{"--hang", "board"}},
		// It returns, and makes no progress.
		{"a card whose operations never end", 4, []string{"--hang-card", "--stall", "2000"}},
	}
	// The watchdog's time is real: so long that a loaded machine does not miss it by
	// itself, and all of them wait at once.
	type reset struct {
		out []byte
		err error
	}
	recorders, states, resets := make([]*recorder, len(cases)), make([][]string, len(cases)), make([]chan reset, len(cases))
	for i, c := range cases {
		d := newRecorder(t, t.TempDir(), "127.0.0.1:1")
		recorders[i], resets[i] = d, make(chan reset, 1)
		states[i] = []string{"--state", filepath.Join(d.dir, "state"), "--watchdog", "3000", "--sense", "5", "--base", "1750000000000"}
		cmd := d.command(append(append(slices.Clone(states[i]), "--hang-after", "20"), c.args...)...)
		go func() {
			out, err := cmd.CombinedOutput()
			resets[i] <- reset{out, err}
		}()
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, state, r := recorders[i], states[i], <-resets[i]
			var exit *exec.ExitError
			if !errors.As(r.err, &exit) || exit.ExitCode() != 99 {
				t.Fatalf("no reset: %v\n%s", r.err, r.out)
			}
			again := d.command(state...)
			lines, err := again.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Start(); err != nil {
				t.Fatal(err)
			}
			s := bufio.NewScanner(lines)
			s.Scan()
			_ = again.Process.Kill()
			_ = again.Wait()
			if want := fmt.Sprintf("started: cause=%d part=%d", watchdog, c.part); strings.TrimSpace(s.Text()) != want {
				t.Errorf("it says %q, want %q", s.Text(), want)
			}
		})
	}
}
