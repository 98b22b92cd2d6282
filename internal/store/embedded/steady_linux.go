package embedded

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriting asks the kernel to begin writing a stretch of a file. It does not
// wait, and is advice: the sync that follows makes durable.
func startWriting(f *os.File, from, length int64) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), from, length, unix.SYNC_FILE_RANGE_WRITE)
	})
}
