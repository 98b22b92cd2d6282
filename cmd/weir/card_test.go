package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCardFormat(t *testing.T) {
	image := filepath.Join(t.TempDir(), "card.img")
	weir := func(in string, args ...string) (int, string) {
		var out bytes.Buffer
		code := run(append([]string{"card", "format", image}, args...), streams{in: strings.NewReader(in), out: &out, err: &out})
		return code, out.String()
	}
	if code, out := weir("", "--size", "96M", "--budget", "8M"); code != 0 || !strings.Contains(out, "2 segments of 4 MiB") || !strings.Contains(out, "power of two") {
		t.Fatalf("%d: %s", code, out)
	}
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if code, out := weir("yes\n", "--size", "96M"); code == 0 || !strings.Contains(out, "not empty") {
		t.Errorf("formatted again without its name: %d: %s", code, out)
	}
	if after, err := os.ReadFile(image); err != nil || !bytes.Equal(before, after) {
		t.Error("an unconfirmed format changed the image")
	}
	if code, out := weir("card.img\n"); code != 0 || !strings.Contains(out, "21 segments") {
		t.Errorf("%d: %s", code, out)
	}
	for _, size := range []string{"63M", "64X", "-1"} {
		if code, out := weir("", "--yes", "--size", size); code == 0 {
			t.Errorf("--size %s: %s", size, out)
		}
	}
}
