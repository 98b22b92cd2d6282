package command

import (
	"context"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
)

// Retention tells what is kept for how long and how the clock stands. confirm says
// first that the wall clock is right.
func Retention(ctx context.Context, e *Env, confirm bool) error {
	return e.withAges(ctx, func(a control.Ages) error {
		r, err := a.Retention(ctx, confirm)
		if err != nil {
			return err
		}
		for _, t := range r.Tables {
			kept, rollups := t.Retention, strings.Join(t.Rollups, ", ")
			if kept == "" {
				kept = "for ever"
			}
			if rollups == "" {
				rollups = "none"
			}
			if err := e.printf("%s: readings %s; rollups %s\n", t.Table, kept, rollups); err != nil {
				return err
			}
		}
		if len(r.Tables) == 0 {
			if err := e.printf("no schema asks for rollups or a retention: readings stay for ever\n"); err != nil {
				return err
			}
		}
		if r.Time.IsZero() {
			return e.printf("the clock is not set: nothing is deleted by age\n")
		}
		if r.AheadSeconds > 0 {
			return e.printf("ages count from %s; the clock of the machine is ahead of it by %s and not believed\n"+
				"if that clock is right: weir retention confirm\n", r.Time.Format(time.RFC3339), time.Duration(r.AheadSeconds*1e9).Round(time.Second))
		}
		return e.printf("ages count from %s\n", r.Time.Format(time.RFC3339))
	})
}

// withAges runs f with the running node, or with the data directory opened by this
// process where none runs.
func (e *Env) withAges(ctx context.Context, f func(control.Ages) error) error {
	return e.either(ctx,
		func(c *control.Client) error { return f(c) },
		func() error { return e.withNode(ctx, func(n *node.Node) error { return f(n) }) })
}
