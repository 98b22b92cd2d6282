package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

var (
	_ control.Keeper = (*Node)(nil)
	_ control.Keeper = (*Reader)(nil)
)

// Backup implements control.Keeper.
func (n *Node) Backup(ctx context.Context, o control.BackupOptions, progress func(done, total int64)) (*control.BackedUp, error) {
	k := keeper{store: n.store, cfg: n.cfg, version: n.opts.Version}
	return k.backup(ctx, o, progress)
}

// Backup implements control.Keeper.
func (r *Reader) Backup(ctx context.Context, o control.BackupOptions, progress func(done, total int64)) (*control.BackedUp, error) {
	k := keeper{store: r.store, cfg: r.cfg, version: r.version}
	return k.backup(ctx, o, progress)
}

// keeper makes snapshots of a data directory.
type keeper struct {
	store   *embedded.Store
	cfg     *config.Loaded
	version string
}

// backupID keeps by what a backup directory knows this data directory.
const backupID = "backup.json"

func (k *keeper) backup(ctx context.Context, o control.BackupOptions, progress func(done, total int64)) (*control.BackedUp, error) {
	dir, err := k.checkTarget(o.Dir)
	if err != nil {
		return nil, err
	}
	id, err := k.id()
	if err != nil {
		return nil, err
	}
	w, err := backup.Prepare(ctx, backup.Options{Dir: dir, Rate: o.Rate, Keep: o.Keep, Verify: o.Verify, Progress: progress})
	if err != nil {
		return nil, err
	}
	out, err := k.snapshot(ctx, w, id, dir, o.WithKeys)
	return out, errors.Join(err, w.Close())
}

func (k *keeper) snapshot(ctx context.Context, w *backup.Writer, id, dir string, withKeys bool) (*control.BackedUp, error) {
	catalog := filepath.Join(w.Tmp(), "catalog.db")
	snap, err := k.store.Snapshot(ctx, catalog)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	src := &backup.Source{Manifest: backup.Manifest{
		Weir: k.version, Node: id, Readings: snap.Rows, Missing: snap.Missing, Encrypted: k.cfg.Encryption.Enabled, Keys: withKeys,
	}}
	src.Files = append(src.Files, backup.SourceFile{Path: "data/catalog.db", From: catalog})
	for _, s := range snap.Segments {
		src.Files = append(src.Files, backup.SourceFile{Path: "data/" + s.Name, From: s.Path, Immutable: true})
	}
	if err := k.addData(src, dir); err != nil {
		return nil, err
	}
	if err := addTree(src, k.cfg.Schemas, "schemas", dir, nil); err != nil {
		return nil, err
	}
	keys, err := k.copyKeys(filepath.Join(w.Tmp(), "ring"), withKeys)
	if err != nil {
		return nil, err
	}
	for _, f := range keys.ring {
		src.Files = append(src.Files, backup.SourceFile{Path: "data/" + filepath.Base(f), From: f})
	}
	warnings := append(k.addConfig(src, withKeys, keys.master), keys.check(ctx)...)
	done, err := w.Write(ctx, src)
	if done == nil || done.Manifest == nil {
		return nil, err
	}
	if err != nil {
		warnings = append(warnings, err.Error())
	}
	if isInside(dir, k.cfg.DataDir) {
		warnings = append(warnings, dir+" lies inside the data directory: what takes the one takes the other; name a directory on another disk")
	}
	for _, m := range snap.Missing {
		warnings = append(warnings, "the store is damaged, and so is the snapshot: "+m)
	}
	m := done.Manifest
	return &control.BackedUp{
		Snapshot: m.ID, Files: len(m.Files), Bytes: m.Bytes(), Copied: done.Copied, Shared: done.Shared,
		Readings: m.Readings, Pruned: done.Pruned, Warnings: warnings,
	}, nil
}

// checkTarget refuses a backup directory inside what is backed up.
func (k *keeper) checkTarget(dir string) (string, error) {
	if dir == "" {
		return "", telemetry.Errorf(telemetry.CodeInvalid, "back up", "no directory is given").WithHint("name one, or set backup.dir in the configuration")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	const elsewhere = "name a directory elsewhere, best on another disk: what takes the one must not take the other"
	for _, inside := range []string{filepath.Join(k.cfg.DataDir, "segments"), filepath.Join(k.cfg.DataDir, "broker")} {
		if isInside(abs, inside) {
			return "", telemetry.Errorf(telemetry.CodeInvalid, "back up", "%s lies inside of what is backed up", dir).WithHint(elsewhere)
		}
	}
	if at, err := filepath.Abs(k.cfg.DataDir); err == nil && abs == at {
		return "", telemetry.Errorf(telemetry.CodeInvalid, "back up", "%s is the data directory itself", dir).WithHint(elsewhere)
	}
	return abs, nil
}

// isInside reports whether an absolute path is a directory or below it.
func isInside(abs, dir string) bool {
	at, err := filepath.Abs(dir)
	return err == nil && (abs == at || strings.HasPrefix(abs, at+string(filepath.Separator)))
}

// id returns by what a backup directory knows this data directory, drawing it at
// the first time. Backups that begin together must not draw two: the directory keeps
// the one that was there first.
func (k *keeper) id() (string, error) {
	path := filepath.Join(k.cfg.DataDir, backupID)
	id, err := readBackupID(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = drawBackupID(path, os.Link); err == nil {
			id, err = readBackupID(path)
		}
	}
	if err == nil && id == "" { // it is damaged
		if err = drawBackupID(path, os.Rename); err == nil {
			id, err = readBackupID(path)
		}
	}
	if err != nil {
		return "", telemetry.Errorf(telemetry.CodeUnavailable, "back up", "%w", err)
	}
	return id, nil
}

// keptID is what the file backupID holds.
type keptID struct {
	Node string `json:"node"`
}

// readBackupID returns "" for a damaged file.
func readBackupID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var kept keptID
	if json.Unmarshal(data, &kept) != nil || len(kept.Node) != 16 {
		return "", nil
	}
	return kept.Node, nil
}

// drawBackupID makes the file durable; put brings it to its place. Linking leaves the
// one alone that came first; some file systems know no links.
func drawBackupID(path string, put func(from, to string) error) error {
	data, err := json.Marshal(keptID{randomHex(8)})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), backupID+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		if err = put(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
			err = os.Rename(f.Name(), path)
		} else {
			err = nil
		}
	}
	if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return errors.Join(err, durable.SyncDir(filepath.Dir(path)))
}

// addData adds what stands in the data directory besides the store's own files.
func (k *keeper) addData(src *backup.Source, target string) error {
	return addTree(src, k.cfg.DataDir, "data", target, func(path string, isDir bool) bool {
		name := filepath.Base(path)
		switch {
		case isDir:
			return path == "segments" || path == "damaged"
		case path == seal.RingFile, path == seal.CopyFile: // see copyKeys
			return true
		case path == "LOCK", strings.HasPrefix(path, "catalog.db"), strings.HasPrefix(path, "weir.sock"), path == "demo-users", path == backup.RestoreMark:
			return true
		}
		return strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".new") || strings.HasSuffix(name, ".restoring") || k.isSecret(filepath.Join(k.cfg.DataDir, path))
	})
}

// isSecret reports whether a file is key material that the configuration names:
// it is never taken for a file of the data directory.
func (k *keeper) isSecret(path string) bool {
	for _, f := range k.cfg.Files() {
		a, err1 := os.Stat(f.Path)
		b, err2 := os.Stat(path)
		if f.Secret && err1 == nil && err2 == nil && os.SameFile(a, b) {
			return true
		}
	}
	return false
}

// addTree adds the regular files below a directory, without those that skip names
// and without backup directories: neither the one that is written, nor others.
func addTree(src *backup.Source, root, to, target string, skip func(path string, isDir bool) bool) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went meanwhile, or is not there at all
		}
		if err != nil {
			return telemetry.Errorf(telemetry.CodeUnavailable, "back up", "%w", err)
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if abs, err := filepath.Abs(path); err == nil && e.IsDir() && (abs == target || backup.IsDirectory(path)) {
			return fs.SkipDir
		}
		if rel != "." && skip != nil && skip(filepath.ToSlash(rel), e.IsDir()) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() { // links to documents count
			src.Files = append(src.Files, backup.SourceFile{Path: to + "/" + filepath.ToSlash(rel), From: path, Optional: true})
		}
		return nil
	})
}

// addConfig adds the configuration and the files that it names, with the copy of the
// master key in the place of its file. It returns what a person should know.
func (k *keeper) addConfig(src *backup.Source, withKeys bool, master string) (warnings []string) {
	if k.cfg.File != "" {
		src.Files = append(src.Files, backup.SourceFile{Path: "config/weir.yaml", From: k.cfg.File, Optional: true})
	}
	for _, key := range []string{"data_dir", "schemas"} {
		value := map[string]string{"data_dir": k.cfg.DataDir, "schemas": k.cfg.Schemas}[key]
		src.Manifest.References = append(src.Manifest.References, backup.Reference{Key: key, Line: k.cfg.LineOf(key), Value: value})
	}
	for _, f := range k.cfg.Files() {
		ref := backup.Reference{Key: f.Key, Line: f.Line, Value: f.Path}
		if _, err := os.Stat(f.Path); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s (%s) is not in the snapshot: %v", f.Path, f.Key, err))
			continue
		}
		switch {
		case f.Secret && !withKeys:
			warnings = append(warnings, fmt.Sprintf("%s (%s) is key material and not in the snapshot; --with-keys takes it along", f.Path, f.Key))
		case f.Secret:
			ref.Path = "keys/" + f.Key
		default:
			ref.Path = "config/files/" + f.Key
		}
		from := f.Path
		if from == k.cfg.Encryption.KeyFile && master != "" {
			from = master
		}
		if ref.Path != "" {
			src.Files = append(src.Files, backup.SourceFile{Path: ref.Path, From: from})
		}
		src.Manifest.References = append(src.Manifest.References, ref)
	}
	if e := k.cfg.Encryption; e.Enabled && (!withKeys || e.KeyFile == "") {
		warnings = append(warnings, "the store is encrypted and the master key is not in the snapshot: without it, nothing can be restored; keep it in another place")
	}
	return warnings
}
