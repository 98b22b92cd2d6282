package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// RestoreOptions are the flags of weir restore.
type RestoreOptions struct {
	Backup   string
	Snapshot string
	DataDir  string
	Schemas  string // "": below the data directory
	Config   string // "": below the data directory
}

// Restore writes a snapshot to a new place and says how to start a node there.
func Restore(ctx context.Context, e *Env, o RestoreOptions) error {
	if o.Schemas == "" {
		o.Schemas = filepath.Join(o.DataDir, "schemas")
	}
	if o.Config == "" {
		o.Config = filepath.Join(o.DataDir, "config")
	}
	bar := newProgress(e.Err, "restore")
	defer bar.end()
	t := backup.Target{Data: o.DataDir, Schemas: o.Schemas, Config: o.Config}
	var file string
	var notes []string
	finish := func(m *backup.Manifest) (err error) {
		// Without documents the node would not start where it had some; without any,
		// the directory is there all the same.
		if err := durable.MakeDir(o.Schemas, 0o755); err != nil {
			return telemetry.Errorf(telemetry.CodeUnavailable, "restore", "%w", err)
		}
		file, notes, err = mendConfig(m, o)
		return err
	}
	m, err := backup.Restore(ctx, o.Backup, o.Snapshot, t, finish, func(at, total int64) {
		bar.show(at, total, fmt.Sprintf("%s of %s", sizeText(at), sizeText(total)))
	})
	if err != nil {
		return err
	}
	bar.end()
	if err := e.printf("restored snapshot %s: %d files, %s, about %d readings; every file is whole\n", m.ID, len(m.Files), sizeText(m.Bytes()), m.Readings); err != nil {
		return err
	}
	for _, what := range m.Missing {
		notes = append(notes, "the store was damaged when the snapshot was made: "+what)
	}
	for _, n := range notes {
		if _, err := fmt.Fprintln(e.Err, "warning:", n); err != nil {
			return err
		}
	}
	command := "weir serve"
	if file != "" {
		command += " --config " + shellWord(file)
	}
	return e.printf("start it: %s --data-dir %s --schemas %s\n", command, shellWord(o.DataDir), shellWord(o.Schemas))
}

func shellWord(s string) string {
	if strings.ContainsAny(s, " '\"\\$`*?;&|<>()[]{}~#!\t\n") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// mendConfig lets the restored configuration name the restored files. The
// original stays beside it.
func mendConfig(m *backup.Manifest, o RestoreOptions) (file string, notes []string, err error) {
	file = filepath.Join(o.Config, "weir.yaml")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		for _, r := range m.References {
			if r.Path != "" {
				notes = append(notes, fmt.Sprintf("%s was given outside of a configuration file; its file is in %s", r.Key, o.Config))
			}
		}
		return "", notes, nil
	}
	if err != nil {
		return "", nil, telemetry.Errorf(telemetry.CodeUnavailable, "restore", "%w", err)
	}
	lines := bytes.Split(data, []byte("\n"))
	for _, r := range m.References {
		to, err := restoredPath(r, o)
		if err != nil {
			return "", nil, err
		}
		if to == "" {
			notes = append(notes, fmt.Sprintf("the file of %s (it was %s) is not in the snapshot: put it where %s names it before the start", r.Key, r.Value, file))
			continue
		}
		if r.Line < 1 || r.Line > len(lines) {
			if r.Path != "" {
				notes = append(notes, fmt.Sprintf("%s was given outside of the configuration file; its file is now %s", r.Key, to))
			}
			continue
		}
		if !setValue(&lines[r.Line-1], r.Key, to) {
			notes = append(notes, fmt.Sprintf("%s is now %s: correct it in %s", r.Key, to, file))
		}
	}
	mended := bytes.Join(lines, []byte("\n"))
	if bytes.Equal(mended, data) {
		return file, notes, nil
	}
	for _, f := range []struct {
		path string
		data []byte
	}{{file + ".original", data}, {file, mended}} {
		if err := durable.WriteFile(f.path, f.path+".restoring", f.data); err != nil {
			return "", nil, telemetry.Errorf(telemetry.CodeUnavailable, "restore", "%w", err)
		}
	}
	return file, notes, nil
}

// setValue gives the key of a line another value, in block style or in flow style.
// It reports whether it found the key.
func setValue(line *[]byte, key, value string) bool {
	name := regexp.QuoteMeta(key[strings.LastIndexByte(key, '.')+1:])
	quoted := "'" + strings.ReplaceAll(value, "'", "''") + "'"
	for _, form := range []string{
		`^(\s*(?:-\s+)*` + name + `\s*:\s+)(?:"[^"]*"|'[^']*'|[^{\["'#\s][^#]*?)(\s*(?:\s#.*)?)$`,
		`([{,]\s*` + name + `\s*:\s+)(?:"[^"]*"|'[^']*'|[^,}"']+?)(\s*[,}])`,
	} {
		if at := regexp.MustCompile(form).FindSubmatchIndex(*line); at != nil {
			l := *line
			*line = slices.Concat(l[:at[3]], []byte(quoted), l[at[4]:])
			return true
		}
	}
	return false
}

// restoredPath is where a path of the configuration stands now, "" for one that
// is not in the snapshot.
func restoredPath(r backup.Reference, o RestoreOptions) (string, error) {
	root, rest, _ := strings.Cut(r.Path, "/")
	var path string
	switch {
	case r.Key == "data_dir":
		path = o.DataDir
	case r.Key == "schemas":
		path = o.Schemas
	case root == "config":
		path = filepath.Join(o.Config, filepath.FromSlash(rest))
	case root == "keys":
		path = filepath.Join(o.Config, "keys", filepath.FromSlash(rest))
	default:
		return "", nil
	}
	return filepath.Abs(path)
}
