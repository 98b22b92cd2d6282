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
