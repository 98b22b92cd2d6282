package command

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// TestAFullDiskEndsARestoreAndItGoesOn restores to a disk with room for one page more
// each time, from none on until it succeeds at once. Whatever the write that fails, it
// says so, no node opens what is there, and with room the same command makes it whole.
func TestAFullDiskEndsARestoreAndItGoesOn(t *testing.T) {
	from, dir := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	files := map[string]string{
		"data/catalog.db": strings.Repeat("catalog ", 1500), "data/segments/1.seg": strings.Repeat("rows ", 2000), "schemas/env.yaml": "name: env\n",
		"config/weir.yaml": "data_dir: /var/lib/weir\nschemas: /etc/weir/schemas\n",
	}
	src := &backup.Source{Manifest: backup.Manifest{Node: "0123456789abcdef", References: []backup.Reference{
		{Key: "data_dir", Line: 1, Value: "/var/lib/weir"}, {Key: "schemas", Line: 2, Value: "/etc/weir/schemas"},
	}}}
	for path, content := range files {
		at := filepath.Join(from, filepath.FromSlash(path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		src.Files = append(src.Files, backup.SourceFile{Path: path, From: at})
	}
	w, err := backup.Prepare(t.Context(), backup.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	disk := testkit.SmallDisk(t, 1)
	ballast, failed := filepath.Join(disk, "ballast"), 0
	for pages := int64(0); ; pages++ {
		root := filepath.Join(disk, "new")
		o := RestoreOptions{Backup: dir, DataDir: filepath.Join(root, "data"), Schemas: filepath.Join(root, "schemas"), Config: filepath.Join(root, "etc")}
		restore := func() error {
			var out bytes.Buffer
			return Restore(t.Context(), &Env{Out: &out, Err: &out}, o)
		}
		testkit.FillDisk(t, ballast, pages*4096)
		first := restore()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if first != nil {
			failed++
			var te *telemetry.Error
			if !errors.As(first, &te) || te.Code != telemetry.CodeUnavailable || !strings.Contains(first.Error(), "no space left") || !strings.Contains(te.Hint, "run the same command again") {
				t.Fatalf("with room for %d pages: %v", pages, first)
			}
			if _, err := os.Stat(filepath.Join(o.DataDir, "catalog.db")); err == nil && !backup.Interrupted(o.DataDir) {
				t.Fatalf("with room for %d pages a node would open what is there", pages)
			}
			if err := restore(); err != nil {
				t.Fatalf("with room again, after %d pages: %v", pages, err)
			}
		}
		for at, want := range map[string]string{
			"data/catalog.db": files["data/catalog.db"], "data/segments/1.seg": files["data/segments/1.seg"], "schemas/env.yaml": files["schemas/env.yaml"],
			"etc/weir.yaml": "data_dir: '" + o.DataDir + "'\nschemas: '" + o.Schemas + "'\n", "etc/weir.yaml.original": files["config/weir.yaml"],
		} {
			if got, err := os.ReadFile(filepath.Join(root, at)); err != nil || string(got) != want {
				t.Fatalf("with room for %d pages, then enough: %s is %q, %v", pages, at, got, err)
			}
		}
		if backup.Interrupted(o.DataDir) {
			t.Fatal("the mark of the restore is still there")
		}
		_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".restoring") || strings.HasSuffix(path, ".new") {
				t.Errorf("with room for %d pages it leaves %s", pages, path)
			}
			return err
		})
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			break
		}
	}
	if failed < 5 {
		t.Errorf("only %d restores met a full disk", failed)
	}
}
