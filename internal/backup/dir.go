package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/filelock"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// A reader or another writer lets go of the directory; a backup of years takes
// longer than this, and then says so.
const (
	waitForLock = 10 * time.Second
	lockAgain   = 50 * time.Millisecond
)

// lock takes the directory's lock. Where nothing can be written, as on a medium
// that is only read, a reader goes without.
func lock(ctx context.Context, dir string, exclusive bool) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil && !exclusive {
		if f, err = os.Open(path); err != nil {
			return nil, nil
		}
	}
	if err != nil {
		return nil, unavailable("lock "+dir, err)
	}
	for deadline := time.Now().Add(waitForLock); ; {
		taken, err := filelock.Lock(f, exclusive)
		if err == nil {
			return f, nil
		}
		if !taken || time.Now().After(deadline) {
			_ = f.Close() // nothing was written
			if taken {
				return nil, telemetry.Errorf(telemetry.CodeConflict, "open backup", "%s is in use by another backup or restore", dir)
			}
			return nil, unavailable("lock "+dir, err)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(lockAgain):
		}
	}
}

func unlock(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// unavailable is an error of the file system.
func unavailable(op string, err error) error {
	return telemetry.Errorf(telemetry.CodeUnavailable, op, "%w", err)
}

// notFile refuses a file where a directory is meant.
func notFile(op, dir string) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return telemetry.Errorf(telemetry.CodeInvalid, op, "%s is a file, not a directory", dir).WithHint("name a directory")
	}
	return nil
}

// create makes a backup directory of an empty or missing one, or checks one that
// is there.
func create(dir string) error {
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return unavailable("make backup directory", err)
	}
	if !IsDirectory(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return unavailable("open backup", err)
		}
		for _, e := range entries {
			if e.Name() != markFile+".new" && e.Name() != lockName && e.Name() != "lost+found" {
				return telemetry.Errorf(telemetry.CodeConflict, "open backup", "%s is not empty, and no backup directory", dir).
					WithHint("name an empty or a new directory")
			}
		}
		if err := writeFile(filepath.Join(dir, markFile), []byte(fmt.Sprintf("{\"format\": %d}\n", Format)), filepath.Join(dir, markFile+".new")); err != nil {
			return err
		}
	}
	if err := checkMark(dir); err != nil {
		return err
	}
	for _, sub := range []string{snapshotDir, objectDir, tmpDir} {
		if err := durable.MakeDir(filepath.Join(dir, sub), 0o700); err != nil {
			return unavailable("make backup directory", err)
		}
	}
	return syncDir(dir)
}

// writeFile puts a file in its place in one step, durably.
func writeFile(path string, data []byte, tmp string) error {
	if err := durable.WriteFile(path, tmp, data); err != nil {
		return unavailable("write "+path, err)
	}
	return nil
}

// syncNames is durable.SyncDir but for tests.
var syncNames = durable.SyncDir

func syncDir(dir string) error {
	if err := syncNames(dir); err != nil {
		return unavailable("sync "+dir, err)
	}
	return nil
}

// emptyTmp removes what an earlier run left.
func emptyTmp(dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, tmpDir))
	if err != nil && !notThere(err) {
		return unavailable("clean backup", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, tmpDir, e.Name())); err != nil {
			return unavailable("clean backup", err)
		}
	}
	return nil
}

func exists(path string, size int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
