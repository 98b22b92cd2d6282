//go:build unix

package embedded

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// denied reports whether permissions hold here. Whoever runs as root may do
// everything, so there the test runs again as a user of nobody's.
func denied(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	dir, err := os.MkdirTemp("", "weir-nobody") // t.TempDir lies in a directory of root's
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "embedded.test")
	if err := copyProgram(program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Skipf("SKIPPED: permissions do not hold for this user, and no other can run programs in %s: %v", dir, err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as a user without rights: %v\n%s", err, out)
	}
	return false
}

// copyProgram puts this test program where another user may run it.
func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, program, 0o600); err != nil {
		return err
	}
	return os.Chmod(to, 0o755)
}

func mode(t *testing.T, path string, m os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, m); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatIsOnlyReadIsRead(t *testing.T) {
	if !denied(t) {
		return
	}
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
	if !denied(t) {
		return
	}
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
