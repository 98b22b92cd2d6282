package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// syncDir is SyncDir but for tests.
var syncDir = SyncDir

// WriteFile puts a file in the place of another, or of none, in one step: a crash
// leaves the old one or the new one. Its mode is 0600. tmp is a name on the same file
// system that nobody else uses; what a crash left there is void.
func WriteFile(path, tmp string, data []byte) error {
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp)) // so that a full disk has room again
	}
	return syncDir(filepath.Dir(path))
}

// MakeDir makes a directory with those above it, as os.MkdirAll does, and their names
// durable.
func MakeDir(path string, mode fs.FileMode) error {
	var above []string // of each that is made, the one that gets its name
	for dir := filepath.Clean(path); ; {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break // an error is MkdirAll's to tell
		}
		up := filepath.Dir(dir)
		above = append(above, up)
		dir = up
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	for _, dir := range above {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
