package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// withKeeper runs f with the running node, or, where none runs, with the data
// directory opened for reading.
func (e *Env) withKeeper(ctx context.Context, f func(control.Keeper) error) error {
	return e.either(ctx,
		func(c *control.Client) error { return f(c) },
		func() error {
			r, err := node.OpenReader(ctx, e.Config, node.Options{Logger: e.quiet(), Version: e.Version})
			if err != nil {
				return err
			}
			return errors.Join(f(r), r.Close())
		})
}

// BackupOptions are the flags of weir backup.
type BackupOptions struct {
	control.BackupOptions
	JSON bool
}

// Backup writes a snapshot into a backup directory.
func Backup(ctx context.Context, e *Env, o BackupOptions) error {
	if o.Dir == "" {
		if o.Dir = e.Config.Backup.Dir; o.Dir == "" {
			return noBackupDir()
		}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	bar := newProgress(e.Err, "backup")
	defer bar.end()
	return e.withKeeper(ctx, func(k control.Keeper) error {
		done, err := k.Backup(ctx, o.BackupOptions, func(at, total int64) {
			bar.show(at, total, fmt.Sprintf("%s of %s", sizeText(at), sizeText(total)))
		})
		if err != nil {
			return err
		}
		bar.end()
		for _, w := range done.Warnings {
			if _, err := fmt.Fprintln(e.Err, "warning:", w); err != nil {
				return err
			}
		}
		if o.JSON {
			return printJSON(e.Out, done)
		}
		text := fmt.Sprintf("snapshot %s: %d files, %s (%s new, %s shared with earlier snapshots), about %d readings\n",
			done.Snapshot, done.Files, sizeText(done.Bytes), sizeText(done.Copied), sizeText(done.Shared), done.Readings)
		if len(done.Pruned) > 0 {
			text += "removed: " + strings.Join(done.Pruned, ", ") + "\n"
		}
		return e.printf("%s", text)
	})
}

// sizeText is a number of bytes for a person.
func sizeText(n int64) string {
	for _, u := range []struct {
		over int64
		name string
	}{{1 << 40, "TB"}, {1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}} {
		if n >= u.over {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.over), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func noBackupDir() error {
	return telemetry.Errorf(telemetry.CodeInvalid, "back up", "no directory is given").WithHint("weir backup DIR, or backup.dir in the configuration")
}

// BackupList prints the snapshots of a backup directory.
func BackupList(e *Env, dir, format string) error {
	if dir == "" {
		return noBackupDir()
	}
	manifests, broken, err := backup.List(dir)
	if err != nil {
		return err
	}
	if format == "json" {
		enc := json.NewEncoder(e.Out)
		for _, m := range manifests {
			m.Files = nil
			if err := enc.Encode(m); err != nil {
				return err
			}
		}
		return errors.Join(broken...)
	}
	t := newTable("snapshot", "created", "readings", "size", "keys", "node", "weir")
	for _, m := range manifests {
		t.row(m.ID, m.Created.Format("2006-01-02 15:04:05"), fmt.Sprint(m.Readings), sizeText(m.Bytes()), fmt.Sprint(m.Keys), m.Node, m.Weir)
	}
	return errors.Join(append(broken, t.print(e.Out))...)
}
