package node

import (
	"errors"
	"io/fs"
	"net"
	"syscall"
)

// windowsInUse is WSAEADDRINUSE, which package syscall has no name for.
const windowsInUse = syscall.Errno(10048)

// IsTaken reports whether listening failed because another program listens there.
func IsTaken(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windowsInUse)
}

// TryListen returns why nobody could listen on the address now, or nil.
func TryListen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}

// listenHint says what to do about an address that cannot be listened on for
// another reason than that it is taken.
func listenHint(key string, err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "this user may not listen there: give " + key + " a port above 1023"
	}
	return "give " + key + " an address of this machine, as 127.0.0.1:0"
}
