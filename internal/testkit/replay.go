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
	path, err := MakeFirmware("firmware/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// MakeFirmware builds a target of the firmware's Makefile that lies in bin, and
// returns its path. Packages are tested at the same time, and two of them may want the
// same program: they take turns, so that none runs what another is still writing.
func MakeFirmware(target string) (string, error) {
	bin := filepath.Join(Root(), "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(filepath.Join(bin, ".make.lock"))
	if err != nil {
		return "", fmt.Errorf("wait for other builds: %w", err)
	}
	defer unlock()
	cmd := exec.Command("make", "-s", "-C", filepath.Join(Root(), "firmware"), "../bin/"+target)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make %s: %w\n%s", target, err, out)
	}
	return filepath.Join(bin, target), nil
}
