package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
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
		{"a card whose operations never end", 4, []string{"--hang-card", "--stall", "200"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newRecorder(t, t.TempDir(), "127.0.0.1:1")
			state := []string{"--state", filepath.Join(d.dir, "state"), "--watchdog", "300", "--sense", "5", "--base", "1750000000000"}
			out, err := d.command(append(append(state, "--hang-after", "20"), c.args...)...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 99 {
				t.Fatalf("no reset: %v\n%s", err, out)
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
