package seal

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// A rotation on a disk that is full at any point of it fails, or is done; either way
// the ring opens, and with room the next rotation is done.
func TestAFullDiskDuringARotationLeavesARingThatOpens(t *testing.T) {
	disk, rng := testkit.SmallDisk(t, 1), testkit.Random(t)
	data, ballast, source := filepath.Join(disk, "data"), filepath.Join(disk, "ballast"), Source{File: filepath.Join(disk, "master.key")}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Init(source.File); err != nil {
		t.Fatal(err)
	}
	load := func() *Ring {
		c, err := source.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return openRing(t, data, c, RingOptions{})
	}
	r := load()
	box, err := r.AppendBox(nil, "plant", []byte("21.5"), nil)
	if err != nil {
		t.Fatal(err)
	}
	failed, done := 0, 0
	for range 60 {
		testkit.FillDisk(t, ballast, rng.Int64N(32<<10))
		if err := r.Rotate(""); err != nil {
			failed++
		} else {
			done++
		}
		// The process goes on with what it has, and another opens it, on the full disk.
		for _, r := range []*Ring{r, load()} {
			if plain, err := r.OpenBox(nil, box, nil); err != nil || string(plain) != "21.5" {
				t.Fatalf("%q, %v", plain, err)
			}
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if r = load(); rng.IntN(2) == 0 {
			if err := r.Rotate(""); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d rotations failed, %d were done on a disk that was almost full", failed, done)
	if failed == 0 || done == 0 {
		t.Error("the disk was never full, or always")
	}
}
