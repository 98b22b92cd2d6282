package node

import (
	"bufio"
	"debug/elf"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// returnStartPages unmaps the pages of the binary that starting has touched: the
// kernel maps sixteen at a time, so after the start nearly all of the binary
// counts as resident, though half of it is never used again. What is needed comes
// back from the page cache at the first touch.
//
// Only code and constants of an executable that is not relocated are let go:
// there every page equals the file's.
func returnStartPages() {
	exe, err := elf.Open("/proc/self/exe")
	if err != nil {
		return
	}
	fixed := exe.Type == elf.ET_EXEC
	if err := exe.Close(); err != nil || !fixed {
		return
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// 00400000-00a5e000 r-xp 00000000 08:01 1234   /usr/bin/weir
		f := strings.Fields(lines.Text())
		if len(f) != 6 || f[5] != path || (f[1] != "r-xp" && f[1] != "r--p") {
			continue
		}
		from, to, ok := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if !ok || err1 != nil || err2 != nil {
			continue
		}
		// Advice: no harm if it is not taken.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
	}
}
