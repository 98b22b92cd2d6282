package card

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADeviceThatMayBeTheWrongOneRaisesDoubts(t *testing.T) {
	sys := t.TempDir()
	for name, removable := range map[string]string{"sda": "0", "sdb": "1", "mmcblk0": "0"} {
		if err := os.MkdirAll(filepath.Join(sys, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, name, "removable"), []byte(removable+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mounts := "/dev/sda1 / ext4 rw 0 0\n/dev/mmcblk0p1 /media/card vfat rw 0 0\n/dev/sdba1 /x ext4 rw 0 0\n"
	for device, want := range map[string]string{
		"/dev/sda":     "/dev/sda is not removable. /dev/sda1 is mounted on /.",
		"/dev/sdb":     "",
		"/dev/mmcblk0": "/dev/mmcblk0p1 is mounted on /media/card.",
		"/dev/sdz":     "/dev/sdz is not removable.",
	} {
		if got := strings.Join(doubts(device, sys, mounts), " "); got != want {
			t.Errorf("%s: %q, want %q", device, got, want)
		}
	}
}
