package card

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestADeviceThatMayBeTheWrongOneRaisesDoubts(t *testing.T) {
	sys := t.TempDir()
	for name, removable := range map[string]string{"sda": "0", "sdb": "1", "mmcblk0": "0", "mmcblk1": "0"} {
		if err := os.MkdirAll(filepath.Join(sys, name, "device"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, name, "removable"), []byte(removable+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, kind := range map[string]string{"mmcblk0": "SD\n", "mmcblk1": "MMC\n"} {
		if err := os.WriteFile(filepath.Join(sys, name, "device", "type"), []byte(kind), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mounts := "/dev/sda1 / ext4 rw 0 0\n/dev/mmcblk0p1 /media/card vfat rw 0 0\n/dev/sdba1 /x ext4 rw 0 0\n"
	for device, want := range map[string]string{
		"/dev/sda":     "/dev/sda is not removable. /dev/sda1 is mounted on /.",
		"/dev/sdb":     "",
		"/dev/mmcblk0": "/dev/mmcblk0p1 is mounted on /media/card.",
		"/dev/mmcblk1": "/dev/mmcblk1 is not removable.",
		"/dev/sdz":     "/dev/sdz is not removable.",
	} {
		if got := strings.Join(doubts(device, sys, mounts), " "); got != want {
			t.Errorf("%s: %q, want %q", device, got, want)
		}
	}
}

// TestALoopDeviceIsFormattedOnlyAfterItsNameWasTyped: a real block device, where the
// machine lets a test have one.
func TestALoopDeviceIsFormattedOnlyAfterItsNameWasTyped(t *testing.T) {
	image := blank(t, 64<<20, false)
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: no loop device here: %v %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v %s", err, out)
		}
	})
	if held(device) {
		t.Error("a device that nobody uses is taken for held")
	}
	alone, err := os.OpenFile(device, os.O_RDWR|syscall.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !held(device) {
		t.Error("a device that is held is taken for free")
	}
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
	target, err := Examine(device)
	if err != nil {
		t.Fatal(err)
	}
	if !target.Device || target.Size != 64<<20 || len(target.Doubts) != 1 || !strings.Contains(target.Doubts[0], "is not removable") {
		t.Errorf("%+v", target)
	}
	if _, err := target.Format(65<<20, FormatOptions{ID: 5}); err == nil {
		t.Error("more was formatted than the device has")
	}
	if _, err := target.Format(0, FormatOptions{ID: 5, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	fsck(t, volume(t, image))
}
