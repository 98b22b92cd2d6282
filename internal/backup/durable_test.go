package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/durable"
)

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// syncs records the directories that are synced; one for which fail is true is not.
func syncs(t *testing.T, fail func(dir string) bool) *[]string {
	t.Helper()
	var all []string
	syncNames = func(dir string) error {
		if fail(dir) {
			return errors.New("the process was killed")
		}
		all = append(all, dir)
		return durable.SyncDir(dir)
	}
	t.Cleanup(func() { syncNames = durable.SyncDir })
	return &all
}

func TestAnObjectThatAKilledBackupLeftIsMadeDurable(t *testing.T) {
	w, dir := newWorld(t), filepath.Join(t.TempDir(), "backup")
	w.set("data/catalog.db", "one content")
	object := func(dir string) bool { return filepath.Base(filepath.Dir(dir)) == objectDir }
	syncs(t, object)
	if _, err := snapshot(t.Context(), dir, w.source(), Options{}); err == nil {
		t.Fatal("the first backup ended")
	}
	all := syncs(t, func(string) bool { return false })
	if _, err := snapshot(t.Context(), dir, w.source(), Options{}); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(*all, object) || !slices.Contains(*all, filepath.Join(dir, objectDir)) {
		t.Errorf("the name of the object is not made durable, only those in %q", *all)
	}
}

func TestARestoreMakesAllDirectoriesDurableAlsoWhereAnEarlierRunMadeThem(t *testing.T) {
	w, dir := newWorld(t), filepath.Join(t.TempDir(), "backup")
	w.set("data/a/b/c/file", "content")
	w.set("schemas/env.yaml", "name: env")
	if _, err := snapshot(t.Context(), dir, w.source(), Options{}); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	target := Target{Data: filepath.Join(root, "new", "data"), Schemas: filepath.Join(root, "x", "schemas"), Config: filepath.Join(root, "conf")}
	killed := errors.New("killed")
	if _, err := Restore(t.Context(), dir, "", target, func(*Manifest) error { return killed }, nil); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	all := syncs(t, func(string) bool { return false })
	if _, err := Restore(t.Context(), dir, "", target, nil, nil); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && !slices.Contains(*all, path) {
			t.Errorf("%s is not synced", strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Else a power cut could leave a manifest without its checksum, which is damage.
func TestAManifestIsGoneForGoodBeforeItsChecksumGoes(t *testing.T) {
	w, dir := newWorld(t), filepath.Join(t.TempDir(), "backup")
	w.set("data/catalog.db", "one content")
	first, err := snapshot(t.Context(), dir, w.source(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, synced := first.Manifest.ID, false
	syncs(t, func(string) bool {
		synced = synced || !there(manifestPath(dir, id)) && there(sumPath(dir, id))
		return false
	})
	if _, err := snapshot(t.Context(), dir, w.source(), Options{Keep: 1}); err != nil {
		t.Fatal(err)
	}
	if !synced || there(sumPath(dir, id)) {
		t.Errorf("synced between the two: %v", synced)
	}
}
