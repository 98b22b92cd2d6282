package main

import (
	"context"

	"github.com/weir-telemetry/weir/internal/node/command"
)

type keyCmd struct {
	Init    keyInitCmd    `cmd:"" help:"Draw a master key into the file that encryption.key_file names."`
	Rotate  keyRotateCmd  `cmd:"" help:"Put a new master key in the place of the one in use; nothing is rewritten but the key ring."`
	List    keyListCmd    `cmd:"" help:"List the data keys: whose, since when, how often used. Keys themselves are never shown."`
	Destroy keyDestroyCmd `cmd:"" help:"Make everything that a tenant has stored unreadable, for good."`
}

type keyInitCmd struct{ configFlags }

func (c keyInitCmd) Run(s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.KeyInit(e)
}

type newKeyFlag struct {
	NewKeyFile string `placeholder:"FILE" help:"Where the new master key is, or is to be drawn; for keys that come from the environment or a command."`
}

type keyRotateCmd struct {
	configFlags
	newKeyFlag
}

func (c keyRotateCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.KeyRotate(ctx, e, c.NewKeyFile)
}

type keyListCmd struct {
	configFlags
	Format string `enum:"table,json" default:"table" help:"table or json."`
}

func (c keyListCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.KeyList(ctx, e, c.Format)
}

type keyDestroyCmd struct {
	configFlags
	newKeyFlag
	Yes    bool   `help:"Do not ask."`
	Tenant string `arg:"" help:"The tenant; without access control there is one, default."`
}

func (c keyDestroyCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.KeyDestroy(ctx, e, c.Tenant, c.NewKeyFile, c.Yes)
}
