package testkit

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// SmallDisk mounts a file system of that many megabytes and returns its directory.
func SmallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", megabytes))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		Missing(t, "the right to mount a tmpfs", "run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// FillDisk writes a file until the disk has no more than left bytes of room.
func FillDisk(t *testing.T, path string, left int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for {
		if _, err = f.Write(block); err != nil {
			if len(block) == 4<<10 {
				break
			}
			block = block[:4<<10]
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err == nil {
		err = errors.Join(f.Truncate(max(0, info.Size()-left)), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
