package command

import (
	"context"
	"fmt"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/store/embedded"
)

// LossReport is what weir verify --accept-loss --json prints.
type LossReport struct {
	What     string          `json:"what"` // the directory
	Losses   []embedded.Loss `json:"losses"`
	Accepted bool            `json:"accepted"`
}

// AcceptLoss shows what cannot be read any more, and gives it up when it was told to.
func AcceptLoss(ctx context.Context, e *Env, yes, asJSON bool) error {
	return e.either(ctx,
		func(c *control.Client) error { return e.acceptLoss(ctx, c, yes, asJSON) },
		func() error {
			return e.withNode(ctx, func(n *node.Node) error { return e.acceptLoss(ctx, n, yes, asJSON) })
		})
}

func (e *Env) acceptLoss(ctx context.Context, k control.LossKeeper, yes, asJSON bool) error {
	r := LossReport{What: e.Config.DataDir, Losses: []embedded.Loss{}}
	bar := newProgress(e.Err, "verify")
	defer bar.end()
	err := k.FindLosses(ctx, func(l embedded.Loss) { r.Losses = append(r.Losses, l) }, func(at, total int64) {
		bar.show(at, total, fmt.Sprintf("%s of %s", sizeText(at), sizeText(total)))
	})
	if err != nil {
		return err
	}
	bar.end()
	if !asJSON {
		if err := e.printLosses(&r); err != nil || len(r.Losses) == 0 {
			return err
		}
		if !yes {
			question := "A file that is put back before makes this needless; afterwards only an import brings the readings again.\n" +
				"Give them up, and write that down in the store?"
			if err := e.confirm("accept loss", question, "nothing was given up"); err != nil {
				return err
			}
		}
	}
	if len(r.Losses) > 0 && (yes || !asJSON) {
		if err := k.AcceptLosses(ctx, r.Losses); err != nil {
			return err
		}
		r.Accepted = true
	}
	if asJSON {
		if err := printJSON(e.Out, r); err != nil {
			return err
		}
		if len(r.Losses) > 0 && !r.Accepted {
			return ErrDamage
		}
		return nil
	}
	return e.printf("given up; weir verify tells of it from now on, and of what else is damaged\n")
}

func (e *Env) printLosses(r *LossReport) error {
	if len(r.Losses) == 0 {
		return e.printf("%s: nothing is lost that could be given up; weir verify says what else is damaged\n", r.What)
	}
	readings, unknown := int64(0), false
	for _, l := range r.Losses {
		if err := e.printf("LOST %s\n  %s\n  %s\n", l.Place, l.Extent(), l.What); err != nil {
			return err
		}
		switch l.Kind {
		case embedded.LossSegment, embedded.LossBlocks, embedded.LossRows, embedded.LossFrames:
			readings, unknown = readings+max(l.Rows, 0), unknown || l.Rows < 0
		}
	}
	more := ""
	if unknown {
		more = " and an unknown number more"
	}
	return e.printf("%d losses: %d readings%s\n", len(r.Losses), readings, more)
}
