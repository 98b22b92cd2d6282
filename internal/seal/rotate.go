package seal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Rotate wraps the data keys by a new master key, and lets fresh data keys seal
// what comes. next is the file of the new master: it is read if it is there, else
// drawn. "" is for a ring whose key stands in a file: the new key then takes its
// place.
//
// The new key is durable in its file before the ring is wrapped by it. At any
// moment one of the two keys opens the ring: until the ring's file is replaced
// the old one, from then on the new one, which a start finds beside the old.
func (r *Ring) Rotate(next string) error {
	return r.swap(next, func() {
		for _, k := range *r.keys.Load() {
			k.retired = true
		}
	}, r.sorted)
}

// Destroy wraps the data keys of everybody but one owner by a new master key,
// with next as in Rotate, and leaves a note that the owner's data is to be
// cleared away. Without an old copy of the master key it cannot be read any more.
func (r *Ring) Destroy(owner, next string) error {
	return r.swap(next, func() {
		r.destroyed = append(r.destroyed, &entry{kind: kindDestroyed, id: r.next, owner: owner, created: r.opt.Now().Unix()})
		r.next++
	}, func() []*Key {
		var kept []*Key
		for _, k := range r.sorted() {
			if k.owner != owner {
				kept = append(kept, k)
			}
		}
		return kept
	})
}

func (r *Ring) swap(next string, prepare func(), keys func() []*Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	inPlace := next == ""
	if inPlace {
		if r.source.File == "" {
			return telemetry.Errorf(telemetry.CodeInvalid, "rotate master key", "the key does not come from a file, so the new one cannot take its place").
				WithHint("name a file for it with --new-key-file; then give its key where the old one came from")
		}
		next = r.source.File + PendingSuffix
	}
	if inPlace && r.master.pending == "" {
		if err := removeVoidKey(next); err != nil {
			return err
		}
	}
	m, err := pendingMaster(next, r.master)
	if err != nil {
		return err
	}
	before := r.destroyed
	prepare()
	if err := r.save(m, keys()); err != nil {
		r.destroyed = before
		return err
	}
	if inPlace {
		if err := finishSwap(r.source.File); err != nil {
			return telemetry.Errorf(telemetry.CodeUnavailable, "rotate master key", "the ring opens with %s, which could not be renamed: %w", next, err).
				WithHint("rename it to " + r.source.File)
		}
		m.where = r.source.File
	}
	return nil
}

// Hold runs f while no key changes, so that what f reads of the ring's files and of
// the key file belongs together. f must be short, and must not use the ring.
func (r *Ring) Hold(f func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

// removeVoidKey removes what a crash or a power cut left of a rotation before the new
// key was durable in its file. No ring is wrapped by it: that comes after.
func removeVoidKey(path string) error {
	if _, err := readKeyFile(path); !errors.Is(err, errKeyText) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "rotate master key", "%w", err)
	}
	return nil
}

// pendingMaster reads the new master key, or draws it durably.
func pendingMaster(path string, old *Master) (*Master, error) {
	m, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := Init(path); err != nil {
			return nil, err
		}
		m, err = readKeyFile(path)
	}
	if err == nil {
		err = syncKeyFile(path)
	}
	if err != nil {
		return nil, err
	}
	if m.key.equals(old.key) {
		return nil, telemetry.Errorf(telemetry.CodeConflict, "rotate master key", "%s holds the key that is in use", path)
	}
	return m, nil
}

// syncKeyFile makes a key file durable that was there: who wrote it may have been
// killed before it did.
func syncKeyFile(path string) error {
	mode := os.O_RDONLY
	if runtime.GOOS == "windows" { // which flushes only what may be written
		mode = os.O_WRONLY
	}
	f, err := os.OpenFile(path, mode, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "rotate master key", "%w", err)
	}
	return nil
}

// finishSwap puts the new key file in the place of the old one, whose bytes are
// written over as far as the disk allows.
func finishSwap(path string) error {
	var old *os.File
	if runtime.GOOS != "windows" { // where a file that is open cannot be replaced
		var err error
		if old, err = os.OpenFile(path, os.O_WRONLY, 0); errors.Is(err, fs.ErrPermission) { // with mode 0400
			if err = os.Chmod(path, 0o600); err == nil {
				old, err = os.OpenFile(path, os.O_WRONLY, 0)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(path+PendingSuffix, path); err != nil {
		if old != nil {
			err = errors.Join(err, old.Close())
		}
		return err
	}
	err := durable.SyncDir(filepath.Dir(path))
	if old != nil {
		var blank [2*KeyBytes + 1]byte
		_, writeErr := old.WriteAt(blank[:], 0)
		err = errors.Join(err, writeErr, old.Sync(), old.Close())
	}
	return err
}

// Destroyed names the owners whose data is still to be cleared away.
func (r *Ring) Destroyed() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var owners []string
	for _, e := range r.destroyed {
		owners = append(owners, e.owner)
	}
	return owners
}

// Cleared notes that the data of destroyed owners is gone.
func (r *Ring) Cleared() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.destroyed
	r.destroyed = nil
	if err := r.save(r.master, r.sorted()); err != nil {
		r.destroyed = before
		return err
	}
	return nil
}
