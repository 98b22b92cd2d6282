package main

import (
	"context"

	"github.com/weir-telemetry/weir/internal/node/command"
)

type importCmd struct {
	configFlags
	Format  string   `placeholder:"FORMAT" help:"csv, ndjson or another kind (default: by what the files are)."`
	Table   string   `help:"The table (default: as the file, or what stands beside it, says)."`
	Schema  string   `placeholder:"FILE" help:"A schema document to record first; its table is filled."`
	Again   bool     `help:"Import from the beginning what an earlier run has imported."`
	Resume  bool     `help:"Go on where an earlier run of the same import ended, which is what happens anyway."`
	Rejects string   `placeholder:"FILE" help:"Where to list every row that cannot be imported, as file:line: reason."`
	Paths   []string `arg:"" name:"path" help:"Files, or directories that weir export --all wrote."`
}

func (c importCmd) Run(ctx context.Context, s streams) error {
	if c.Again && c.Resume {
		return invalid("read flags", "--again and --resume exclude each other")
	}
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.Import(ctx, e, command.ImportOptions{
		Paths: c.Paths, Format: c.Format, Table: c.Table, Schema: c.Schema, Again: c.Again, Rejects: c.Rejects,
	})
}
