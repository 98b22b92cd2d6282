package durable

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// synced records the directories that are synced.
func synced(t *testing.T) *[]string {
	t.Helper()
	var all []string
	works := syncDir
	syncDir = func(dir string) error {
		all = append(all, dir)
		return works(dir)
	}
	t.Cleanup(func() { syncDir = works })
	return &all
}

func TestEveryDirectoryThatIsMadeHasItsNameMadeDurable(t *testing.T) {
	root, all := t.TempDir(), synced(t)
	for range 2 {
		if err := MakeDir(filepath.Join(root, "a", "b", "c"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{filepath.Join(root, "a", "b"), filepath.Join(root, "a"), root}; !slices.Equal(*all, want) {
		t.Errorf("%q were synced, want %q", *all, want)
	}
	t.Chdir(root)
	if err := MakeDir("data", 0o700); err != nil || (*all)[3] != "." {
		t.Errorf("%q were synced, %v", *all, err)
	}
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MakeDir(filepath.Join("file", "sub"), 0o700); err == nil {
		t.Error("a directory was made in a file")
	}
}

func TestAFileIsReplacedInOneStepAndItsNameMadeDurable(t *testing.T) {
	dir, all := t.TempDir(), synced(t)
	path, tmp := filepath.Join(dir, "f"), filepath.Join(dir, "f.tmp")
	for _, text := range []string{"a long one", "short"} {
		if err := WriteFile(path, tmp, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != text {
			t.Errorf("it holds %q, %v", got, err)
		}
	}
	if want := []string{dir, dir}; !slices.Equal(*all, want) {
		t.Errorf("%q were synced, want %q", *all, want)
	}
	// Where the place is taken, nothing is left of the new file.
	if err := os.MkdirAll(filepath.Join(dir, "taken", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "taken"), tmp, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	if _, err := os.Stat(tmp); !errors.Is(err, os.ErrNotExist) {
		t.Error("the temporary file is left:", err)
	}
}
