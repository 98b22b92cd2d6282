package backup

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

var seedFlag = flag.Uint64("seed", 0, "the seed of the tests with chance; 0 draws one")

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// world is a pretended data directory: immutable files that come and go, and one
// that changes.
type world struct {
	t     *testing.T
	dir   string
	files map[string]string // path in a snapshot -> content
	next  int
}

func newWorld(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir(), files: map[string]string{}}
}

func (w *world) set(path, content string) {
	w.t.Helper()
	at := filepath.Join(w.dir, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.files[path] = content
}

func (w *world) segment(size int) {
	w.next++
	w.set(fmt.Sprintf("data/segments/%d.seg", w.next), fmt.Sprintf("%d %s", w.next, strings.Repeat("x", size)))
}

func (w *world) source() *Source {
	src := &Source{Manifest: Manifest{Node: "0123456789abcdef"}}
	for path := range w.files {
		src.Files = append(src.Files, SourceFile{Path: path, From: filepath.Join(w.dir, path), Immutable: strings.Contains(path, "segments")})
	}
	return src
}

func snapshot(ctx context.Context, dir string, src *Source, o Options) (*Result, error) {
	o.Dir = dir
	w, err := Prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	r, err := w.Write(ctx, src)
	return r, errors.Join(err, w.Close())
}

// restored reads what a restore wrote.
func restored(t *testing.T, dir, id string) map[string]string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "new")
	target := Target{Data: filepath.Join(to, "data"), Schemas: filepath.Join(to, "schemas"), Config: filepath.Join(to, "config")}
	if _, err := Restore(t.Context(), dir, id, target, nil, nil); err != nil {
		t.Fatal(err)
	}
	return tree(t, to)
}

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for path, content := range want {
		if got[path] != content {
			t.Errorf("%s is not what it was", path)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files instead of %d", len(got), len(want))
	}
}

func clone(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

func TestSnapshotsShareWhatDoesNotChange(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.segment(1 << 20)
	w.set("data/catalog.db", "one")
	w.set("schemas/env.yaml", "doc")
	if _, err := snapshot(t.Context(), dir, w.source(), Options{}); err != nil {
		t.Fatal(err)
	}
	first := clone(w.files)
	w.segment(1000)
	w.set("data/catalog.db", "two")
	r, err := snapshot(t.Context(), dir, w.source(), Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Copied > 2000 || r.Shared < 1<<20 {
		t.Errorf("copied %d bytes, shared %d", r.Copied, r.Shared)
	}
	all, broken, err := List(dir)
	if err != nil || len(all) != 2 || len(broken) != 0 {
		t.Fatalf("%d snapshots, %v, %v", len(all), broken, err)
	}
	same(t, restored(t, dir, all[0].ID), first)
	same(t, restored(t, dir, ""), w.files)
}

func TestPruningKeepsWhatOthersNeed(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.segment(1000)
	var states []map[string]string
	for i := range 5 {
		w.segment(100 * i)
		if i > 1 {
			delete(w.files, fmt.Sprintf("data/segments/%d.seg", i-1)) // compacted away
		}
		w.set("data/catalog.db", fmt.Sprint("state ", i))
		if _, err := snapshot(t.Context(), dir, w.source(), Options{Keep: 2}); err != nil {
			t.Fatal(err)
		}
		states = append(states, clone(w.files))
	}
	all, _, err := List(dir)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d snapshots are kept, %v", len(all), err)
	}
	same(t, restored(t, dir, all[0].ID), states[3])
	same(t, restored(t, dir, all[1].ID), states[4])
	if damage, checked, err := Verify(t.Context(), dir, "", nil); len(damage) > 0 || err != nil || checked.Snapshots != 2 {
		t.Errorf("%v %v %v", damage, checked, err)
	}
	objects, err := filepath.Glob(filepath.Join(dir, objectDir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	needed := map[string]bool{}
	for _, m := range all {
		for _, f := range m.Files {
			needed[f.SHA256] = true
		}
	}
	if len(objects) != len(needed) {
		t.Errorf("%d objects lie there, %d are needed", len(objects), len(needed))
	}
}

func TestAnUnreadableManifestKeepsItsObjects(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.segment(100)
	w.set("data/catalog.db", "one")
	r, err := snapshot(t.Context(), dir, w.source(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sumPath(dir, r.Manifest.ID)
	whole, err := os.ReadFile(sum)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sum, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := clone(w.files)
	w.set("data/catalog.db", "two")
	if _, err := snapshot(t.Context(), dir, w.source(), Options{Keep: 1}); err != nil {
		t.Fatal(err)
	}
	if damage, _, _ := Verify(t.Context(), dir, "", nil); len(damage) != 1 || !strings.Contains(damage[0].What, r.Manifest.ID) {
		t.Errorf("damage: %v", damage)
	}
	if err := os.WriteFile(sum, whole, 0o600); err != nil { // somebody mends it
		t.Fatal(err)
	}
	same(t, restored(t, dir, r.Manifest.ID), first)
}

func TestDamageIsFoundAndNotRestored(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"flipped": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600))
		},
		"cut":     func(path string) error { return errors.Join(os.Chmod(path, 0o600), os.Truncate(path, 10)) },
		"missing": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newWorld(t), t.TempDir()
			w.segment(5000)
			w.set("data/catalog.db", "one")
			r, err := snapshot(t.Context(), dir, w.source(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Manifest.Files {
				if strings.HasSuffix(f.Path, ".seg") {
					if err := harm(objectPath(dir, f.SHA256)); err != nil {
						t.Fatal(err)
					}
				}
			}
			damage, _, err := Verify(t.Context(), dir, "", nil)
			if err != nil || len(damage) != 1 || !strings.Contains(damage[0].What, "data/segments/1.seg") || damage[0].Do == "" {
				t.Errorf("%v %v", damage, err)
			}
			to := t.TempDir()
			_, err = Restore(t.Context(), dir, "", Target{Data: filepath.Join(to, "d"), Schemas: filepath.Join(to, "s"), Config: filepath.Join(to, "c")}, nil, nil)
			if telemetry.CodeOf(err) != telemetry.CodeDamaged || !strings.Contains(err.Error(), "1.seg") {
				t.Errorf("restore: %v", err)
			}
			if !Interrupted(filepath.Join(to, "d")) {
				t.Error("the half restored directory looks whole")
			}
		})
	}
}

func TestARestoreWritesOnlyToNewPlaces(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.set("data/catalog.db", "one")
	w.set("schemas/a.yaml", "doc")
	if _, err := snapshot(t.Context(), dir, w.source(), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, taken := range []string{"d", "s", "c"} {
		to := t.TempDir()
		if err := os.MkdirAll(filepath.Join(to, taken), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, taken, "mine"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Restore(t.Context(), dir, "", Target{Data: filepath.Join(to, "d"), Schemas: filepath.Join(to, "s"), Config: filepath.Join(to, "c")}, nil, nil)
		if telemetry.CodeOf(err) != telemetry.CodeConflict || !strings.Contains(err.Error(), "mine") {
			t.Errorf("%s: %v", taken, err)
		}
		if got := tree(t, to); len(got) != 1 {
			t.Errorf("%s: something was written: %v", taken, got)
		}
	}
}

func TestAFileIsNoDirectory(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.set("data/catalog.db", "one")
	if _, err := snapshot(t.Context(), dir, w.source(), Options{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, written := snapshot(t.Context(), file, w.source(), Options{})
	_, restored := Restore(t.Context(), dir, "", Target{Data: file, Schemas: file + "-s", Config: file + "-c"}, nil, nil)
	_, from := Restore(t.Context(), file, "", Target{Data: file + "-d", Schemas: file + "-s", Config: file + "-c"}, nil, nil)
	for what, err := range map[string]error{"backup": written, "restore to": restored, "restore from": from} {
		if telemetry.CodeOf(err) != telemetry.CodeInvalid || !strings.Contains(err.Error(), "is a file, not a directory") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "mine" {
		t.Errorf("the file holds %q: %v", got, err)
	}
}

func TestWhatLeadsOutOfItsPlaceIsRefused(t *testing.T) {
	for _, path := range []string{"../x", "data/../../x", "/etc/x", "data//x", "other/x", "data"} {
		dir := t.TempDir()
		w := newWorld(t)
		w.set("data/catalog.db", "one")
		src := w.source()
		src.Files[0].Path = path
		r, err := snapshot(t.Context(), dir, src, Options{})
		if err == nil {
			to := t.TempDir()
			_, err = Restore(t.Context(), dir, r.Manifest.ID, Target{Data: filepath.Join(to, "d"), Schemas: filepath.Join(to, "s"), Config: filepath.Join(to, "c")}, nil, nil)
		}
		if err == nil {
			t.Errorf("%q was restored", path)
		}
	}
}

func TestOnlyOneWritesAtATime(t *testing.T) {
	dir := t.TempDir()
	w, err := Prepare(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Prepare(ctx, Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("the second: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Prepare(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestADirectoryOfSomethingElseIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), Options{Dir: dir}); telemetry.CodeOf(err) != telemetry.CodeConflict {
		t.Error(err)
	}
	if _, _, err := List(dir); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, markFile), []byte(`{"format": 9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), Options{Dir: dir}); telemetry.CodeOf(err) != telemetry.CodeInvalid {
		t.Error(err)
	}
}

// TestASnapshotThatWasInterruptedLeavesTheEarlierWhole ends snapshots at random
// places, as a stop does; the kill of a process is in internal/node/e2e.
func TestASnapshotThatWasInterruptedLeavesTheEarlierWhole(t *testing.T) {
	rnd := seeded(t)
	w, dir := newWorld(t), t.TempDir()
	kept := map[string]map[string]string{}
	for range 12 {
		w.segment(rnd.IntN(600 << 10))
		w.set("data/catalog.db", fmt.Sprint(rnd.Uint64()))
		ctx, cancel := context.WithCancel(t.Context())
		at := rnd.IntN(12)
		r, err := snapshot(ctx, dir, w.source(), Options{Keep: 3, Progress: func(int64, int64) {
			if at--; at == 0 {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			kept[r.Manifest.ID] = clone(w.files)
			for _, id := range r.Pruned {
				delete(kept, id)
			}
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := snapshot(t.Context(), dir, w.source(), Options{}); err != nil {
		t.Fatal(err)
	}
	same(t, restored(t, dir, ""), w.files)
	for id, files := range kept {
		same(t, restored(t, dir, id), files)
	}
}

func TestIdsAscendWhenTheClockGoesBack(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 {
		w.set("data/catalog.db", fmt.Sprint(i))
		at := now.Add(-time.Duration(i) * time.Hour)
		if _, err := snapshot(t.Context(), dir, w.source(), Options{Now: func() time.Time { return at }}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, restored(t, dir, ""), w.files)
}
