//go:build unix

package node

import "golang.org/x/sys/unix"

// freeBytes is the room on the file system of a directory.
func freeBytes(dir string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(uint64(st.Bavail) * uint64(st.Bsize)), true //nolint:unconvert // the types differ by platform
}
