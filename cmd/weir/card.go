package main

import "github.com/weir-telemetry/weir/internal/node/command"

type cardCmd struct {
	Format cardFormatCmd `cmd:"" help:"Prepare a card, or the image of one, for a recorder: FAT32 with segment files."`
}

type cardFormatCmd struct {
	Size   string `placeholder:"SIZE" help:"Of a new image, as 64M, 1G or 32G; of a device, if not all of it (at least 64M)."`
	Budget string `placeholder:"SIZE" help:"How much of it segments may take (default: all but 4 MiB)."`
	Yes    bool   `help:"Format without asking, whatever is there."`
	Path   string `arg:"" name:"card" help:"An image file, or a device as /dev/sdb."`
}

func (c cardFormatCmd) Run(s streams) error {
	e := &command.Env{In: s.in, Out: s.out, Err: s.err}
	return command.CardFormat(e, c.Path, c.Size, c.Budget, c.Yes)
}
