package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// onCard reports whether a directory lies on an SD card or eMMC, which Linux
// calls mmcblk. A card in a USB reader looks like any other disk.
func onCard(dir string) bool {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return false
	}
	dev := uint64(st.Dev)
	if cardDevice("/sys", fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)), 0) {
		return true
	}
	// btrfs and overlay mounts have device numbers that /sys does not know; the
	// mount table names the device below them.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer f.Close()
	source := ""
	longest := -1
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if mount, device, ok := parseMount(lines.Text()); ok && len(mount) > longest && beneath(abs, mount) {
			source, longest = device, len(mount)
		}
	}
	return strings.HasPrefix(filepath.Base(source), "mmcblk")
}

func beneath(path, mount string) bool {
	return mount == "/" || path == mount || strings.HasPrefix(path, mount+"/")
}

// parseMount reads a line of /proc/self/mountinfo: the mount point and the
// device (proc(5)).
func parseMount(line string) (mount, source string, ok bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, tail := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 5 || len(tail) < 2 {
		return "", "", false
	}
	return strings.ReplaceAll(fields[4], `\040`, " "), tail[1], true
}

// cardDevice follows a block device through partitions and device mapper layers
// (LVM, dm-crypt) down to the hardware.
func cardDevice(sys, number string, depth int) bool {
	device, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", number))
	if err != nil || depth > 8 {
		return false
	}
	if strings.Contains(device, "/mmcblk") {
		return true
	}
	slaves, err := os.ReadDir(filepath.Join(device, "slaves"))
	if err != nil {
		return false
	}
	for _, s := range slaves {
		n, err := os.ReadFile(filepath.Join(device, "slaves", s.Name(), "dev"))
		if err == nil && cardDevice(sys, strings.TrimSpace(string(n)), depth+1) {
			return true
		}
	}
	return false
}
