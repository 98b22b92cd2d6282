package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
)

// maxStatement bounds a statement that is read from standard input, in bytes.
const maxStatement = 1 << 20

// Query runs a statement on the running node, or on the data directory where none
// runs, and prints the rows. "-" reads the statement from In.
func Query(ctx context.Context, e *Env, sql, format string) error {
	if sql == "-" {
		data, err := io.ReadAll(io.LimitReader(e.In, maxStatement))
		if err != nil {
			return fmt.Errorf("read the statement: %w", err)
		}
		sql = string(data)
	}
	out := bufio.NewWriterSize(e.Out, 64<<10)
	err := damageHint(e.query(ctx, sql, format, out))
	if broken := out.Flush(); broken != nil { // which is then what err is about, too
		return fmt.Errorf("write the rows: %w", broken)
	}
	return err
}

func (e *Env) query(ctx context.Context, sql, format string, w io.Writer) error {
	return e.either(ctx,
		func(c *control.Client) error { return c.Query(ctx, sql, format, w) },
		func() error {
			reader, err := node.OpenReader(ctx, e.Config, node.Options{Logger: e.quiet(), Version: e.Version})
			if err != nil {
				return err
			}
			return errors.Join(reader.Query(ctx, sql, format, w), reader.Close())
		})
}
