package node

import (
	"os"
	"path/filepath"
	"testing"
)

// fakeSys builds a /sys with an SD card, a disk, and an encrypted layer on each.
func fakeSys(t *testing.T) string {
	t.Helper()
	sys := t.TempDir()
	device := func(number, path string) string {
		dir := filepath.Join(sys, "devices", path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "dev"), []byte(number+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(sys, "dev/block"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, filepath.Join(sys, "dev/block", number)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	layer := func(number, name, below string) {
		dir := device(number, "virtual/block/"+name)
		if err := os.MkdirAll(filepath.Join(dir, "slaves"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(below, filepath.Join(dir, "slaves", filepath.Base(below))); err != nil {
			t.Fatal(err)
		}
	}
	card := device("179:2", "platform/mmc/mmc0/block/mmcblk0/mmcblk0p2")
	disk := device("8:1", "pci/ata1/block/sda/sda1")
	layer("253:0", "dm-0", card)
	layer("253:1", "dm-1", disk)
	return sys
}

func TestCardsAreFoundThroughPartitionsAndLayers(t *testing.T) {
	sys := fakeSys(t)
	for number, want := range map[string]bool{"179:2": true, "8:1": false, "253:0": true, "253:1": false, "0:42": false} {
		if got := cardDevice(sys, number, 0); got != want {
			t.Errorf("cardDevice(%s) = %v, want %v", number, got, want)
		}
	}
}

func TestMountTableLinesAreRead(t *testing.T) {
	mount, source, ok := parseMount(`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext4 /dev/mmcblk0p2 rw,errors=continue`)
	if !ok || mount != "/mnt 2" || source != "/dev/mmcblk0p2" {
		t.Errorf("got %q, %q, %v", mount, source, ok)
	}
	if _, _, ok := parseMount("nonsense"); ok {
		t.Error("nonsense was read")
	}
}
