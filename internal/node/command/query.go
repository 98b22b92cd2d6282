package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
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
	err := e.query(ctx, sql, format, out)
	return errors.Join(err, out.Flush())
}

func (e *Env) query(ctx context.Context, sql, format string, w io.Writer) error {
	client, err := control.NewClient(ctx, e.Config.DataDir)
	switch {
	case err == nil:
		defer client.Close()
		return client.Query(ctx, sql, format, w)
	case telemetry.CodeOf(err) != telemetry.CodeNotFound:
		return err
	}
	reader, err := node.OpenReader(ctx, e.Config.Config, node.Options{Logger: e.quiet()})
	if err != nil {
		return err
	}
	return errors.Join(reader.Query(ctx, sql, format, w), reader.Close())
}
