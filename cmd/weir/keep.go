package main

import (
	"context"
	"errors"

	"github.com/weir-telemetry/weir/internal/node/command"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
)

type backupCmd struct {
	configFlags
	Keep     int    `default:"-1" help:"Keep so many snapshots and remove the oldest (default: backup.keep; 0: all)."`
	Rate     string `placeholder:"SIZE" help:"Bytes a second at most, as 50MB; 0B: no limit (default: backup.rate)."`
	Verify   bool   `help:"Read everything again at the end."`
	WithKeys bool   `help:"Take key material along: TLS keys and the master key of an encrypted store."`
	List     bool   `help:"List the snapshots of the directory instead."`
	Format   string `enum:"table,json" default:"table" help:"table or json."`
	Dir      string `arg:"" optional:"" help:"The backup directory (default: backup.dir)."`
}

func (c backupCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	if c.List {
		if c.Dir == "" {
			c.Dir = e.Config.Backup.Dir
		}
		return command.BackupList(e, c.Dir, c.Format)
	}
	o := command.BackupOptions{JSON: c.Format == "json", BackupOptions: control.BackupOptions{
		Dir: c.Dir, Keep: e.Config.Backup.Keep, Rate: e.Config.Backup.Rate.Bytes, Verify: c.Verify, WithKeys: c.WithKeys || e.Config.Backup.WithKeys,
	}}
	if c.Keep >= 0 {
		o.Keep = c.Keep
	}
	if c.Rate != "" {
		if o.Rate, err = config.ParseSize(c.Rate); err != nil {
			return invalid("read --rate", "%v", err)
		}
	}
	return command.Backup(ctx, e, o)
}

type restoreCmd struct {
	Snapshot  string `placeholder:"ID" help:"Which snapshot (default: the newest)."`
	DataDir   string `required:"" placeholder:"DIR" help:"The new data directory; empty or missing."`
	Schemas   string `placeholder:"DIR" help:"Where the schema documents go (default: schemas below the data directory)."`
	ConfigDir string `placeholder:"DIR" help:"Where configuration, users and keys go (default: config below the data directory)."`
	Backup    string `arg:"" help:"The backup directory."`
}

func (c restoreCmd) Run(ctx context.Context, s streams) error {
	return command.Restore(ctx, &command.Env{In: s.in, Out: s.out, Err: s.err, Version: version}, command.RestoreOptions{
		Backup: c.Backup, Snapshot: c.Snapshot, DataDir: c.DataDir, Schemas: c.Schemas, Config: c.ConfigDir,
	})
}

type verifyCmd struct {
	configFlags
	JSON     bool   `name:"json" help:"Print what was found as JSON."`
	Snapshot string `placeholder:"ID" help:"Of a backup directory: only this snapshot."`
	Accept   bool   `name:"accept-loss" help:"Show what cannot be read any more, ask, and give it up, so that the rest goes on."`
	Yes      bool   `help:"With --accept-loss: do not ask."`
	Dir      string `arg:"" optional:"" name:"backup-dir" help:"A backup directory (default: the data directory)."`
}

func (c verifyCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	if c.Accept {
		if c.Dir != "" {
			return invalid("accept loss", "a backup has no losses to accept: a damaged snapshot is one that cannot be restored")
		}
		return command.AcceptLoss(ctx, e, c.Yes, c.JSON)
	}
	return command.Verify(ctx, e, c.Dir, c.Snapshot, c.JSON)
}

// foundDamage reports whether an error only says that a check found damage, which
// it printed.
func foundDamage(err error) bool { return errors.Is(err, command.ErrDamage) }
