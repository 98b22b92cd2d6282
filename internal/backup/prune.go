package backup

import (
	"os"
	"path/filepath"
	"strings"
)

// prune removes snapshots beyond those to keep, and then what no snapshot needs.
func (w *Writer) prune(newest *Manifest) error {
	manifests, broken, err := List(w.o.Dir)
	if err != nil {
		return err
	}
	if w.o.Keep > 0 {
		var ours []*Manifest
		for _, m := range manifests {
			if m.Node == newest.Node && m.ID != newest.ID {
				ours = append(ours, m)
			}
		}
		for len(ours) > max(w.o.Keep-1, 0) {
			if err := removeSnapshot(w.o.Dir, ours[0].ID); err != nil {
				return err
			}
			w.result.Pruned = append(w.result.Pruned, ours[0].ID)
			ours = ours[1:]
		}
	}
	if err := os.Remove(filepath.Join(w.o.Dir, partialFile)); err != nil && !notThere(err) {
		return unavailable("prune backup", err)
	}
	if len(broken) > 0 {
		return nil // what it needs cannot be known
	}
	return sweep(w.o.Dir)
}

// removeSnapshot removes a manifest, durably, before anything that it needs goes: a
// checksum that a power cut leaves without its manifest is swept later.
func removeSnapshot(dir, id string) error {
	if err := os.Remove(manifestPath(dir, id)); err != nil {
		return unavailable("prune backup", err)
	}
	if err := syncDir(filepath.Join(dir, snapshotDir)); err != nil {
		return err
	}
	if err := os.Remove(sumPath(dir, id)); err != nil && !notThere(err) {
		return unavailable("prune backup", err)
	}
	return nil
}

// sweep removes objects that no manifest names, and checksum files without one.
func sweep(dir string) error {
	manifests, broken, err := List(dir)
	if err != nil || len(broken) > 0 {
		return err
	}
	needed := map[string]bool{}
	for _, m := range manifests {
		needed[m.ID] = true
		for _, f := range m.Files {
			needed[f.SHA256] = true
		}
	}
	remove := func(pattern string, key func(name string) string) error {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, p := range paths {
			if needed[key(filepath.Base(p))] {
				continue
			}
			if err := os.Remove(p); err != nil {
				return unavailable("prune backup", err)
			}
		}
		return nil
	}
	if err := remove(objectDir+"/??/*", func(name string) string { return name }); err != nil {
		return err
	}
	return remove(snapshotDir+"/*.sha256", func(name string) string { return strings.TrimSuffix(name, ".sha256") })
}
