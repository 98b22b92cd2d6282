package embedded

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// denied skips where permissions do not hold: whoever runs as root may do everything.
func denied(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("SKIPPED: permissions do not hold for this user")
	}
}

func mode(t *testing.T, path string, m os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, m); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatIsOnlyReadIsRead(t *testing.T) {
	denied(t)
	dir := t.TempDir()
	want := fillCatalogue(t, dir)
	mode(t, dir, 0o500)
	defer mode(t, dir, 0o700)
	s := open(t, Options{Dir: dir, ReadOnly: true})
	if got := readCatalogue(t, s); len(got.rows["env"]) != len(want.rows["env"]) {
		t.Errorf("%d readings of %d", len(got.rows["env"]), len(want.rows["env"]))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), catalogFile+"-") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestACatalogThatMayNotBeWrittenIsRefusedAtTheStart(t *testing.T) {
	denied(t)
	dir := t.TempDir()
	fillCatalogue(t, dir)
	refused := func(file string) {
		t.Helper()
		if _, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true}); telemetry.CodeOf(err) != telemetry.CodeUnavailable || !strings.Contains(err.Error(), file+": permission denied") {
			t.Errorf("it opens: %v", err)
		}
	}
	for _, file := range []string{catalogFile, catalogFile + "-shm"} { // a reader makes the second with the mode of the first
		path := filepath.Join(dir, file)
		if err := os.WriteFile(filepath.Join(dir, catalogFile+"-shm"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		mode(t, path, 0o400)
		refused(file)
		mode(t, path, 0o600)
	}
	mode(t, dir, 0o500)
	refused("writable.tmp")
	mode(t, dir, 0o700)
	if s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true}); err != nil {
		t.Error(err)
	} else if err := s.Close(); err != nil {
		t.Error(err)
	}
}
