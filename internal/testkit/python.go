package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PyArrow returns the Python interpreter of the environment with pyarrow that
// scripts/install-test-deps makes. Without one the test is skipped; with CI=true
// it fails.
func PyArrow(tb testing.TB) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	python := filepath.Join(cache, "weir-test", "pyarrow", "bin", "python")
	if err := exec.Command(python, "-c", "import pyarrow.parquet").Run(); err != nil {
		Missing(tb, "pyarrow in "+filepath.Dir(filepath.Dir(python)), "scripts/install-test-deps makes the environment")
	}
	return python
}
