package main

import (
	"context"

	"github.com/weir-telemetry/weir/internal/node/command"
)

type upgradeCmd struct {
	configFlags
	Check bool `help:"Only say what would be done, how much space it needs and whether it can be undone."`
}

func (c upgradeCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.Upgrade(ctx, e, c.Check)
}

type deleteCmd struct {
	configFlags
	Table  string `required:"" placeholder:"NAME" help:"The table, as weir query names it."`
	Where  string `required:"" placeholder:"CONDITION" help:"On time, tags and fields, as SQL has it after WHERE."`
	DryRun bool   `help:"Only count them."`
	Yes    bool   `help:"Do not ask."`
}

func (c deleteCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.Delete(ctx, e, command.DeleteOptions{Table: c.Table, Where: c.Where, DryRun: c.DryRun, Yes: c.Yes})
}
