//go:build unix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock takes the lock of an open file, exclusive or shared, without waiting. It
// reports whether the lock is held by somebody else.
func Lock(f *os.File, exclusive bool) (taken bool, err error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return errors.Is(err, unix.EWOULDBLOCK), err
}
