package powercut

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Address is the environment variable that tells a recorded program where to
// connect to: what it sends there is in the recording, so that a cut's position
// tells what was reported before it.
const Address = "POWERCUT_ADDRESS"

// Record runs the test's own binary as a child and returns what it wrote in an empty
// directory, which the environment variable dir names to it.
func Record(t *testing.T, dir string, env ...string) (events []Event, root string) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("strace is missing, and CI may not skip: run scripts/install-test-deps")
		}
		t.Skip("SKIPPED: strace is not installed, so power cuts are not tested; run scripts/install-test-deps")
	}
	if root, err = filepath.EvalSymlinks(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, append(StraceArgs(trace), os.Args[0])...)
	cmd.Env = append(append(os.Environ(), dir+"="+root, Address+"="+l.Addr().String()), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	if events, err = ParseFile(trace, root); err != nil {
		t.Fatal(err)
	}
	return events, root
}

// Reported returns the data that was sent last before a position, nil for none.
func Reported(events []Event, at int) (data []byte) {
	for i := range events {
		if events[i].Kind == Send && events[i].Start < at {
			data = events[i].Data
		}
	}
	return data
}

// Sends are the events that report.
func Sends(events []Event) (at []int) {
	for i := range events {
		if events[i].Kind == Send {
			at = append(at, i)
		}
	}
	return at
}
