package node

import (
	"context"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/source/uplink"
)

var _ control.Cards = (*Node)(nil)

// ImportCard implements control.Cards. The records go the way of those that devices
// send, so what came over one way is known on the other.
func (n *Node) ImportCard(ctx context.Context, part *control.CardPart) (*control.CardStored, error) {
	c := &uplink.Card{Device: part.Device, Epoch: part.Epoch, Plans: part.Plans, Times: part.Times, Records: make([]uplink.CardRecord, 0, len(part.Records))}
	for _, r := range part.Records {
		c.Records = append(c.Records, uplink.CardRecord(r))
	}
	out, err := n.gateway.ImportCard(ctx, c)
	if err != nil {
		return nil, err
	}
	return &control.CardStored{Stored: out.Stored, Duplicate: out.Duplicate, Refused: out.Refused, Waiting: out.Waiting}, nil
}
