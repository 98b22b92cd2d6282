package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/filelock"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ErrInUse says that another process has the data directory open.
var ErrInUse = errors.New("is in use by another process")

// lockDir takes the lock of a data directory: exclusive for a node, shared for
// readers. The lock ends with the file, and so with the process.
func lockDir(dir string, exclusive bool) (*os.File, error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil && !exclusive {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	taken, err := filelock.Lock(f, exclusive)
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written
	if taken {
		return nil, telemetry.Errorf(telemetry.CodeConflict, "open store", "data directory %s %w", dir, ErrInUse).
			WithHint("a node is running on it: stop it, ask it over its socket, or choose another data_dir")
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
