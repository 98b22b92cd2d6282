//go:build unix

package broker

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// rawReader waits for a TCP socket to become readable without holding a buffer
// for it: ten thousand idle clients would hold as many.
type rawReader struct {
	rc  syscall.RawConn
	c   *conn
	n   int
	err error
	fn  func(fd uintptr) bool // try, allocated once
}

func newRawReader(nc net.Conn) *rawReader {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	rc, err := tc.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawReader{rc: rc}
	r.fn = r.try
	return r
}

// read reads once into c's buffer and returns how many bytes came.
func (r *rawReader) read(c *conn) (int, error) {
	r.c = c
	if err := r.rc.Read(r.fn); err != nil {
		return 0, err
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.n == 0 {
		return 0, io.EOF
	}
	c.w += r.n
	return r.n, nil
}

// try returns false to wait until the socket is readable.
func (r *rawReader) try(fd uintptr) bool {
	r.c.room()
	for {
		n, err := syscall.Read(int(fd), r.c.buf[r.c.w:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			r.c.park()
			return false
		}
		r.n, r.err = max(n, 0), err
		return true
	}
}
