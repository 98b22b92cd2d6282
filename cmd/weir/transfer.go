package main

import (
	"context"
	"time"

	"github.com/weir-telemetry/weir/internal/node/command"
	"github.com/weir-telemetry/weir/internal/node/config"
)

type importCmd struct {
	configFlags
	Format  string `placeholder:"FORMAT" help:"csv, ndjson, parquet or another kind (default: by what the files are)."`
	From    string `placeholder:"DATABASE" help:"A dump of influx or timescale; the same as --format."`
	Table   string `help:"The table (default: as the file, or what stands beside it, says)."`
	Schema  string `placeholder:"FILE" help:"A schema document to record first; its table is filled."`
	Again   bool   `help:"Import from the beginning what an earlier run has imported."`
	Resume  bool   `help:"Go on where an earlier run of the same import ended, which is what happens anyway."`
	Rejects string `placeholder:"FILE" help:"Where to list every row that cannot be imported, as file:line: reason."`

	Device      string   `placeholder:"NAME" help:"Of a card: the device that wrote it, where the card does not say so."`
	CardKey     string   `placeholder:"FILE" help:"Of a sealed card: the device's key."`
	SourceTable string   `placeholder:"NAME" help:"Of a PostgreSQL dump: only this table."`
	Columns     []string `placeholder:"A,B" help:"Of rows of COPY TO STDOUT without a header: their columns."`
	TimeColumn  string   `placeholder:"NAME" help:"Of a PostgreSQL dump: the column of time (default: the first timestamp)."`
	Tags        []string `placeholder:"A,B" help:"Of a PostgreSQL dump: the columns that are tags (default: text with few values)."`

	Paths []string `arg:"" name:"path" help:"Files, directories that weir export --all wrote, or a card of a recorder, its image or segment files."`
}

func (c importCmd) Run(ctx context.Context, s streams) error {
	if c.Again && c.Resume {
		return invalid("read flags", "--again and --resume exclude each other")
	}
	if c.From != "" {
		if c.Format != "" && c.Format != c.From {
			return invalid("read flags", "--from and --format say different things")
		}
		c.Format = c.From
	}
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.Import(ctx, e, command.ImportOptions{
		Paths: c.Paths, Format: c.Format, Table: c.Table, Schema: c.Schema, Again: c.Again, Rejects: c.Rejects,
		Device: c.Device, CardKey: c.CardKey, SourceTable: c.SourceTable, Columns: c.Columns, TimeColumn: c.TimeColumn, Tags: c.Tags,
	})
}

type exportCmd struct {
	configFlags
	Table  string `help:"The table; --all is all of them."`
	All    bool   `help:"Every table, each into a file of the directory -o."`
	Format string `enum:"csv,ndjson,parquet" default:"csv" help:"csv, ndjson or parquet."`
	Where  string `placeholder:"SQL" help:"Only rows for which this is true, as SQL has it after WHERE."`
	From   string `placeholder:"TIME" help:"Only readings from then on: 2026-01-31 (UTC), RFC 3339, or an age as 7d."`
	To     string `placeholder:"TIME" help:"Only readings before then."`
	Out    string `short:"o" placeholder:"FILE" help:"The file, or with --all the directory (default: standard output)."`
	Resume bool   `help:"Go on with an export into the same file that was interrupted."`
}

func (c exportCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	now := time.Now()
	return command.Export(ctx, e, command.ExportOptions{
		Table: c.Table, All: c.All, Format: c.Format, Where: c.Where, From: c.From, To: c.To, Out: c.Out, Resume: c.Resume,
	}, func(flag, text string) (time.Time, error) {
		return command.ParseSince(flag, text, now, config.ParseDuration)
	})
}
