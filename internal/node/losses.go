package node

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/store/embedded"
)

var _ control.LossKeeper = (*Node)(nil)

// FindLosses implements control.LossKeeper.
func (n *Node) FindLosses(ctx context.Context, found func(embedded.Loss), progress func(done, total int64)) error {
	s := n.store.Stats()
	losses, err := n.store.FindLosses(ctx, func(v embedded.Verified) {
		if progress != nil {
			progress(min(v.Bytes, s.SegmentSize), s.SegmentSize)
		}
	})
	if err != nil {
		return err
	}
	for _, l := range losses {
		found(l)
	}
	return nil
}

// AcceptLosses implements control.LossKeeper. Who has the control socket may do it:
// what was given up stands in the log, and in the store for ever.
func (n *Node) AcceptLosses(ctx context.Context, losses []embedded.Loss) error {
	err := n.store.AcceptLosses(ctx, losses)
	for _, l := range losses {
		log := n.log.With("kind", l.Kind, "table", l.Table, "rows", l.Rows, "place", l.Place)
		if err != nil {
			log.Warn("a loss was to be given up, and is not", "error", err)
			continue
		}
		log.Warn("a loss was given up")
	}
	return err
}

// accepted tells of the losses that were given up, as notes.
func accepted(st *embedded.Store, found func(control.Finding)) {
	for _, l := range st.Losses() {
		if l.Accepted != 0 {
			found(control.Finding{
				Where: l.Place, What: fmt.Sprintf("given up as lost on %s: %s (%s)", time.Unix(0, l.Accepted).UTC().Format(time.RFC3339), l.Extent(), l.What),
				Do: "nothing, where you know of it; else find out who gave it up and why", Note: true,
			})
		}
	}
}
