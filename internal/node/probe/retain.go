package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// Retain publishes a retained message at QoS 1 and waits for the broker's
// acknowledgement.
func Retain(ctx context.Context, l Login, topic string, payload []byte) error {
	s, err := open(ctx, l, wire.V5, time.Minute)
	var refused *refusal
	if errors.As(err, &refused) && refused.otherVersion {
		s, err = open(ctx, l, wire.V311, time.Minute)
	}
	if err != nil {
		return err
	}
	defer s.close()
	p := wire.Publish{Topic: []byte(topic), Payload: payload, QoS: 1, Retain: true, PacketID: 1}
	if _, err := s.conn.Write(wire.AppendPublish(nil, s.version, &p)); err != nil {
		return err
	}
	for {
		first, body, err := s.r.Next()
		if err != nil {
			return fmt.Errorf("no acknowledgement: %w", err)
		}
		if wire.PacketType(first>>4) != wire.PUBACK {
			continue
		}
		var ack wire.Ack
		if err := wire.ParseAck(&ack, s.version, first, body); err != nil {
			return err
		}
		if ack.Reason.Failed() {
			return fmt.Errorf("the broker refuses the message: %s", ack.Reason)
		}
		return nil
	}
}
