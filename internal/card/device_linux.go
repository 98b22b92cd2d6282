package card

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// deviceDoubts says why a block device may be the wrong one: it is not removable,
// it is a partition, or something on it is mounted.
func deviceDoubts(path string) ([]string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("look for mounted devices: %w", err)
	}
	out := doubts(real, "/sys/class/block", string(mounts))
	if len(out) == 0 && held(real) {
		out = append(out, real+" is in use by this system: as swap, in a RAID, a volume group or under encryption.")
	}
	return out, nil
}

// held reports whether the system uses a device in a way that mounts need not show:
// the kernel opens a held device for nobody who asks to have it alone.
func held(device string) bool {
	f, err := os.OpenFile(device, os.O_RDONLY|syscall.O_EXCL, 0)
	if err == nil {
		_ = f.Close() // it was only looked at
	}
	return errors.Is(err, syscall.EBUSY)
}

func doubts(device, sys, mounts string) (out []string) {
	name := filepath.Base(device)
	dir := filepath.Join(sys, name)
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		out = append(out, device+" is a partition, and a card is formatted whole.")
		// Its disk says whether it is removable: the link points into the disk's directory.
		if parent, err := filepath.EvalSymlinks(dir); err == nil {
			dir = filepath.Dir(parent)
		}
	}
	removable, err := os.ReadFile(filepath.Join(dir, "removable"))
	// Readers inside a computer say 0 although their cards can be taken out; those are mmcblk, as is eMMC, which cannot.
	kind, _ := os.ReadFile(filepath.Join(dir, "device", "type")) // only mmcblk has it
	reader := strings.HasPrefix(name, "mmcblk") && strings.TrimSpace(string(kind)) != "MMC"
	if !reader && (err != nil || strings.TrimSpace(string(removable)) != "1") {
		out = append(out, device+" is not removable.")
	}
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[0], device) {
			continue
		}
		if rest := f[0][len(device):]; strings.Trim(rest, "p0123456789") == "" {
			out = append(out, f[0]+" is mounted on "+f[1]+".")
		}
	}
	return out
}
