package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

const (
	socketName  = "weir.sock"
	pointerName = "weir.sock.path"
	// maxPath is the longest path of a socket that every platform takes: macOS
	// has room for 104 bytes with the terminating zero, Linux for 108.
	maxPath = 103
)

// Listener is a control socket. Closing it removes what it made.
type Socket struct {
	net.Listener
	path    string
	cleanup []string
}

// Path is where the socket lies.
func (s *Socket) Path() string { return s.path }

// Listen makes the control socket of a data directory. The caller holds the
// directory's lock, so a socket that lies there already is a dead one.
func Listen(dataDir string) (*Socket, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Socket{path: filepath.Join(dir, socketName)}
	pointer := filepath.Join(dir, pointerName)
	for _, old := range []string{s.path, pointer} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove the old control socket: %w", err)
		}
	}
	if len(s.path) > maxPath {
		private, err := os.MkdirTemp("", "weir-") // mode 0700, and a name that nobody else has
		if err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
		s.path = filepath.Join(private, socketName)
		s.cleanup = []string{pointer, private}
		if err := os.WriteFile(pointer, []byte(s.path+"\n"), 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("control socket: %w", err), os.Remove(private))
		}
	}
	s.Listener, err = net.Listen("unix", s.path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), s.remove())
	}
	if err := os.Chmod(s.path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), s.Close())
	}
	return s, nil
}

// Close ends listening and removes the socket.
func (s *Socket) Close() error {
	err := s.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return errors.Join(err, s.remove())
}

func (s *Socket) remove() error {
	var errs []error
	for _, path := range s.cleanup {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Path returns where the control socket of a data directory lies.
func Path(dataDir string) (string, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return "", fmt.Errorf("control socket: %w", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, pointerName)); err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	return filepath.Join(dir, socketName), nil
}

// Connect opens a connection to the node that owns the data directory.
// CodeNotFound says that none is running.
func Connect(ctx context.Context, dataDir string) (net.Conn, error) {
	path, err := Path(dataDir)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "ask the node", "%v", err).
			WithHint("the socket " + path + " belongs to another user; run the command as that user")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, telemetry.Errorf(telemetry.CodeNotFound, "ask the node", "no node is running on %s", dataDir)
}
