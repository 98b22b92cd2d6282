package node

import (
	"context"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Delete implements control.Backend. Who has the control socket may do it: what was
// deleted, and by which condition, stands in the log before and after.
func (n *Node) Delete(ctx context.Context, d control.Delete) (*control.Deleted, error) {
	engine := n.queries.engine
	if d.DryRun {
		count, err := engine.CountWhere(ctx, telemetry.DefaultTenant, d.Table, d.Where)
		if err != nil {
			return nil, err
		}
		out := &control.Deleted{Readings: count}
		final, found, err := engine.BeyondDelete(ctx, telemetry.DefaultTenant, d.Table, d.Where)
		if found {
			out.Final = &control.Span{From: time.Unix(0, final.From).UTC(), To: time.Unix(0, final.To).UTC()}
		}
		return out, err
	}
	log := n.log.With("table", d.Table)
	if !n.cfg.Encryption.Enabled { // else it tells values that must not be in clear
		log = log.With("where", d.Where)
	}
	log.Warn("readings are being deleted")
	out, err := engine.Delete(ctx, telemetry.DefaultTenant, d.Table, d.Where)
	if err != nil {
		log.Warn("nothing was deleted", "error", err)
		return nil, err
	}
	log.Warn("readings were deleted", "readings", out.Rows, "unreadable", out.Unreadable)
	return &control.Deleted{Readings: out.Rows, Unreadable: out.Unreadable}, nil
}
