//go:build !unix

package broker

import "net"

// rawReader is not available here: small buffers are held while waiting.
type rawReader struct{}

func newRawReader(net.Conn) *rawReader { return nil }

func (*rawReader) read(*conn) (int, error) { return 0, net.ErrClosed }
