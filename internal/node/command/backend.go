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
	return e.either(ctx,
		func(c *control.Client) error { return f(c) },
		func() error { return e.withNode(ctx, func(n *node.Node) error { return f(n) }) })
}

// withNode runs f with the data directory opened by this process.
func (e *Env) withNode(ctx context.Context, f func(*node.Node) error) error {
	n, err := node.Open(ctx, e.Config, node.Options{Logger: e.quiet(), Version: e.Version, Existing: true})
	if err != nil {
		return err
	}
	err = f(n)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, n.Stop(stop))
}

// looker is what both a running node and a data directory that is only read offer.
type looker interface {
	Quarantined(ctx context.Context, f control.Filter, yield func(*control.Record) bool) error
	Check(ctx context.Context, file string, document []byte) (*control.Accepted, error)
}

// withLooker runs f with the running node, or, where none runs, with the data
// directory opened for reading.
func (e *Env) withLooker(ctx context.Context, f func(looker) error) error {
	return e.either(ctx,
		func(c *control.Client) error { return f(c) },
		func() error {
			r, err := node.OpenReader(ctx, e.Config, node.Options{Logger: e.quiet(), Version: e.Version})
			if err != nil {
				return err
			}
			return errors.Join(f(r), r.Close())
		})
}

// A node that starts or stops holds the data directory and does not answer yet,
// or no more.
const (
	startingFor = 10 * time.Second
	askAgain    = 50 * time.Millisecond
)

// either asks the running node, or opens the data directory where none runs.
func (e *Env) either(ctx context.Context, ask func(*control.Client) error, open func() error) error {
	for deadline := time.Now().Add(startingFor); ; {
		client, err := control.NewClient(ctx, e.Config.DataDir)
		if err == nil {
			defer client.Close()
			return ask(client)
		}
		if telemetry.CodeOf(err) != telemetry.CodeNotFound {
			return err
		}
		// CodeConflict with the directory in use comes from opening alone: it
		// says nothing about what was asked.
		err = open()
		if !errors.Is(err, node.ErrInUse) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(askAgain):
		}
	}
}

// withTransfer runs f with the running node, or, where none runs, with the data
// directory opened by this process; one that is not there yet is made.
func (e *Env) withTransfer(ctx context.Context, f func(control.Transfer) error) error {
	return e.either(ctx,
		func(c *control.Client) error { return f(c) },
		func() error {
			n, err := node.Open(ctx, e.Config, node.Options{Logger: e.quiet(), Version: e.Version})
			if err != nil {
				return err
			}
			err = f(n)
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			return errors.Join(err, n.Stop(stop))
		})
}
