package command

import (
	"context"
	"errors"
	"time"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// withBackend runs f with the running node, or, where none runs, with the data
// directory opened by this process.
func (e *Env) withBackend(ctx context.Context, f func(control.Backend) error) error {
	client, err := control.NewClient(ctx, e.Config.DataDir)
	switch {
	case err == nil:
		defer client.Close()
		return f(client)
	case telemetry.CodeOf(err) != telemetry.CodeNotFound:
		return err
	}
	n, err := node.Open(ctx, e.Config, node.Options{Logger: e.quiet(), Version: e.Version, Existing: true})
	if err != nil {
		return err
	}
	err = f(n)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, n.Stop(stop))
}
