package main

import (
	"context"

	"github.com/weir-telemetry/weir/internal/node/command"
)

type retentionCmd struct {
	Show    retentionShowCmd    `cmd:"" default:"withargs" help:"Say what is kept for how long, and from which time ages count."`
	Confirm retentionConfirmCmd `cmd:"" help:"Say that the clock of the machine is right, where retention does not believe it."`
}

type retentionShowCmd struct{ configFlags }

func (c retentionShowCmd) Run(ctx context.Context, s streams) error {
	return runRetention(ctx, c.configFlags, s, false)
}

type retentionConfirmCmd struct{ configFlags }

func (c retentionConfirmCmd) Run(ctx context.Context, s streams) error {
	return runRetention(ctx, c.configFlags, s, true)
}

func runRetention(ctx context.Context, c configFlags, s streams, confirm bool) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.Retention(ctx, e, confirm)
}
