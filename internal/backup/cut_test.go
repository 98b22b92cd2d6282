package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/powercut"
)

const (
	// recorded names the directory in which a child of the test makes backups.
	recorded     = "WEIR_TEST_BACKUP_RECORDED"
	cutSnapshots = 8
	cutKeep      = 3
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(recorded); dir != "" {
		if err := backUpRecorded(dir); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// cutWorld is what snapshot n holds: two of its segments are new, and an old one
// is gone.
func cutWorld(n int) map[string]string {
	files := map[string]string{"data/catalog.db": strings.Repeat(fmt.Sprintf("catalog %d ", n), 300)}
	for i := n; i < 2*n+2; i++ {
		files[fmt.Sprintf("data/segments/%d.seg", i)] = strings.Repeat(fmt.Sprintf("segment %d ", i), 200+i)
	}
	return files
}

// become makes the files of a snapshot in the directory, those that are there already
// excepted.
func (w *world) become(files map[string]string) error {
	for path, content := range files {
		at := filepath.Join(w.dir, path)
		if w.files[path] == content {
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(content), 0o600)); err != nil {
			return err
		}
	}
	w.files = files
	return nil
}

// backUpRecorded makes snapshots, and reports each with its id.
func backUpRecorded(dir string) error {
	conn, err := net.Dial("tcp", os.Getenv(powercut.Address))
	if err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "weir-cut-*") // not on the disk that is cut
	if err != nil {
		return err
	}
	w := &world{dir: data}
	for n := range cutSnapshots {
		if err := w.become(cutWorld(n)); err != nil {
			return err
		}
		r, err := snapshot(context.Background(), filepath.Join(dir, "backup"), w.source(), Options{Keep: cutKeep})
		if err == nil {
			_, err = conn.Write([]byte(r.Manifest.ID))
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(data), conn.Close())
}

// The power of the machine that has the backups is cut while one is made: the earlier
// snapshots that are kept are whole, so is whatever is listed, and the next backup
// goes on.
func TestABackupSurvivesAPowerCutAtAnyPoint(t *testing.T) {
	events, root := powercut.Record(t, recorded)
	sends := powercut.Sends(events)
	if len(sends) != cutSnapshots {
		t.Fatalf("%d snapshots were recorded", len(sends))
	}
	powercut.CutDisks(t, events, root, sends, 130, func(disk string, at int) string {
		dir, done := filepath.Join(disk, "backup"), 0
		for done < len(sends) && events[sends[done]].Start < at {
			done++
		}
		// The snapshot under way may have removed the oldest already.
		for n := max(0, done-cutKeep+1); n < done; n++ {
			if problem := holds(t, dir, string(events[sends[n]].Data), cutWorld(n)); problem != "" {
				return fmt.Sprintf("snapshot %d of %d: %s", n, done, problem)
			}
		}
		if IsDirectory(dir) {
			if damage, _, err := Verify(t.Context(), dir, "", nil); err != nil && done > 0 || len(damage) > 0 {
				return fmt.Sprintf("verify: %v, %v", damage, err)
			}
		}
		w, next := &world{dir: t.TempDir()}, cutWorld(done+1)
		if err := w.become(next); err != nil {
			return err.Error()
		}
		r, err := snapshot(t.Context(), dir, w.source(), Options{Keep: cutKeep})
		if err != nil {
			return "the next backup: " + err.Error()
		}
		if problem := holds(t, dir, r.Manifest.ID, next); problem != "" {
			return "the next snapshot: " + problem
		}
		return ""
	})
}

// holds restores a snapshot and returns how it differs from the files, or "".
func holds(t *testing.T, dir, id string, files map[string]string) string {
	to := filepath.Join(t.TempDir(), "new")
	target := Target{Data: filepath.Join(to, "data"), Schemas: filepath.Join(to, "schemas"), Config: filepath.Join(to, "config")}
	if _, err := Restore(t.Context(), dir, id, target, nil, nil); err != nil {
		return err.Error()
	}
	if got := tree(t, to); !maps.Equal(got, files) {
		return fmt.Sprintf("%d files are not as the %d were", len(got), len(files))
	}
	return ""
}
