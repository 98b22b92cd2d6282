package node

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// exists says, in words for a person, where there is no store.
func exists(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, identityFile)); err != nil && !embedded.Exists(dir) {
		return telemetry.Errorf(telemetry.CodeNotFound, "open data directory", "no node has run on %s", dir).
			WithHint("name the directory with --data-dir or the configuration with --config, or start with weir serve")
	}
	return nil
}

// restored refuses a data directory that is only partly restored.
func restored(dir string) error {
	if !backup.Interrupted(dir) {
		return nil
	}
	return telemetry.Errorf(telemetry.CodeConflict, "open data directory", "a restore into %s did not end", dir).
		WithHint("run the same weir restore again: it goes on where it ended")
}

// ErrInUse marks the error of opening a data directory that another process holds.
var ErrInUse = errors.New("the data directory is in use")

// A query that reads the directory, and a node that ends, let go of it soon.
const (
	waitForLock = 10 * time.Second
	lockAgain   = 20 * time.Millisecond
)

// openStore opens the store for this node alone. Where a running node answers on
// the directory it gives up at once.
func (n *Node) openStore(ctx context.Context, o embedded.Options) (*embedded.Store, error) {
	for deadline := time.Now().Add(waitForLock); ; {
		st, err := openStore(ctx, o)
		if !errors.Is(err, ErrInUse) || time.Now().After(deadline) {
			return st, err
		}
		if conn, asked := control.Connect(ctx, n.cfg.DataDir); asked == nil {
			return nil, errors.Join(err, conn.Close())
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockAgain):
		}
	}
}

func openStore(ctx context.Context, o embedded.Options) (*embedded.Store, error) {
	st, err := embedded.Open(ctx, o)
	if errors.Is(err, embedded.ErrInUse) {
		return nil, asInUse(err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, DataDirError(o.Dir, err)
	}
	return st, err
}

// asInUse marks the store's error of a directory that another process holds.
func asInUse(err error) error {
	if errors.Is(err, embedded.ErrInUse) {
		return &inUse{err}
	}
	return err
}

// inUse is both the store's error and ErrInUse.
type inUse struct{ error }

func (e *inUse) Unwrap() []error { return []error{e.error, ErrInUse} }

// storeOptions are those of the embedded store. They hold the master key where
// encryption is on.
func storeOptions(ctx context.Context, c *config.Config, log *slog.Logger, now func() time.Time, readOnly bool) (embedded.Options, error) {
	keys, err := Credentials(ctx, c)
	return embedded.Options{
		Dir: c.DataDir, ReadOnly: readOnly, Logger: log, Now: now,
		Sealing: keys, Forget: func(tenant telemetry.Tenant) error { return forget(c, tenant) },
		MaxSeries:         c.Store.MaxSeries,
		HeadBytes:         chooseSizes(c, machineMemory()).heads,
		QuarantineRecords: c.Quarantine.MaxRecords,
		QuarantineBytes:   c.Quarantine.MaxBytes.Bytes,
	}, err
}
