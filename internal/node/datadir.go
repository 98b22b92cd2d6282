package node

import (
	"errors"
	"io/fs"
	"os"
	"os/user"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// DataDirError is an error of making or entering the data directory, with what a
// person can do about it.
func DataDirError(dir string, err error) error {
	e := telemetry.Errorf(telemetry.CodeUnavailable, "open data directory", "%w", err)
	const another = "name another directory with --data-dir or the key data_dir"
	if info, stat := os.Stat(dir); stat == nil && !info.IsDir() {
		return telemetry.Errorf(telemetry.CodeInvalid, "open data directory", "%s is a file, not a directory", dir).WithHint(another)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return e.WithHint("user " + userName() + " may not write to " + dir + ": give it the directory, or " + another)
	default:
		return e.WithHint(another)
	}
}

// userName is who this process runs as.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return "of this process"
	}
	return u.Username
}
