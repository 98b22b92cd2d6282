package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ReplayCuts makes every card that a power cut may have left of a recording, and
// fails where the firmware's storage manager does not read back from one of them
// what was durable. image is the card before, log the writes since, as QEMU's
// blklogwrites has them; step n looks at each n-th point only.
func ReplayCuts(tb testing.TB, image, log string, seed uint64, step int) string {
	tb.Helper()
	tool := FirmwareTool(tb, "replay")
	out, err := exec.Command(tool, image, log, fmt.Sprint(seed), fmt.Sprint(step)).CombinedOutput()
	if err != nil {
		tb.Fatalf("replay with seed %d: %v\n%s", seed, err, out)
	}
	return strings.TrimSpace(string(out))
}

// FirmwareTool builds one of the firmware's host programs and returns its path.
func FirmwareTool(tb testing.TB, name string) string {
	tb.Helper()
	Binary(tb, "make")
	Binary(tb, "cc")
	root := Root()
	cmd := exec.Command("make", "-s", "-C", filepath.Join(root, "firmware"), "../bin/firmware/"+name)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("make %s: %v\n%s", name, err, out)
	}
	return filepath.Join(root, "bin", "firmware", name)
}
