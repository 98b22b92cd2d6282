package house

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestTheFailuresOfALogAreShort: what a failed test asserted and its seeds, without
// what the processes that it ran logged, and without what passed.
func TestTheFailuresOfALogAreShort(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: a script for bash")
	}
	log := `=== RUN   TestPasses
    a_test.go:1: nothing of interest
--- PASS: TestPasses (0.00s)
=== RUN   TestFails
    kill_test.go:20: repeat with -seed=7
    kill_test.go:90: first line
        second line
    harness_test.go:217: the node said:
        time=2026-01-01 level=INFO msg=noise
        a_test.go:9: noise that looks like an assertion
--- FAIL: TestFails (1.50s)
=== RUN   TestOuter
=== RUN   TestOuter/in_it
    wait_test.go:3: waited in vain
--- FAIL: TestOuter (0.00s)
    --- FAIL: TestOuter/in_it (0.00s)
=== RUN   TestLeft
=== PAUSE TestLeft
=== RUN   TestRight
=== PAUSE TestRight
=== CONT  TestLeft
=== CONT  TestRight
    r_test.go:1: WEIR_SEED=9
=== NAME  TestLeft
    l_test.go:1: of the left
=== NAME  TestRight
    r_test.go:2: of the right
--- PASS: TestLeft (0.00s)
--- FAIL: TestRight (0.00s)
FAIL
FAIL	example.org/a	1.5s
ok  	example.org/b	0.1s
# example.org/c
c/c.go:2:12: undefined: x
FAIL	example.org/c [build failed]
`
	want := `FAILED TestFails (1.50s)
    kill_test.go:20: repeat with -seed=7
    kill_test.go:90: first line
        second line
    harness_test.go:217: the node said:
FAILED TestOuter/in_it (0.00s)
    wait_test.go:3: waited in vain
FAILED TestRight (0.00s)
    r_test.go:1: WEIR_SEED=9
    r_test.go:2: of the right
PANICS, RACES, BUILDS
# example.org/c
c/c.go:2:12: undefined: x
FAIL	example.org/a	1.5s
FAIL	example.org/c [build failed]
`
	if got := failuresOf(t, log); got != want {
		t.Errorf("it prints\n%s\nwant\n%s", got, want)
	}
	// A test that says very much does not push the others out.
	var b strings.Builder
	b.WriteString("=== RUN   TestTalks\n")
	for i := range 500 {
		fmt.Fprintf(&b, "    t_test.go:1: line %d %s\n", i, strings.Repeat("x", 2000))
	}
	b.WriteString("--- FAIL: TestTalks (0.00s)\n")
	if got := failuresOf(t, b.String()); strings.Count(got, "\n") > 50 || len(got) > 30_000 || !strings.Contains(got, "(460 more lines)") {
		t.Errorf("%d lines, %d bytes", strings.Count(got, "\n"), len(got))
	}
}

func failuresOf(t *testing.T, log string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("../../scripts/test-failures", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
