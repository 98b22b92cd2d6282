package probe

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// Dropped is what a broker's counter of dropped messages did.
type Dropped struct {
	First, Last uint64
	Times       int // that the broker told
}

// Dropped is how many messages were dropped meanwhile.
func (d Dropped) Dropped() uint64 {
	if d.Last < d.First { // the broker began anew
		return d.Last
	}
	return d.Last - d.First
}

// WatchDropped watches the counter for a while.
func WatchDropped(ctx context.Context, l Login, d time.Duration) (seen Dropped, err error) {
	keepAlive := d + time.Minute // so that nobody has to ping
	s, err := open(ctx, l, wire.V5, keepAlive)
	var refused *refusal
	if errors.As(err, &refused) && refused.otherVersion {
		s, err = open(ctx, l, wire.V311, keepAlive)
	}
	if err != nil {
		return seen, err
	}
	defer s.close()
	topic := sysTopics[1]
	sub := wire.Subscribe{PacketID: 1, Subscriptions: []wire.Subscription{{Filter: topic}}}
	_ = s.conn.SetDeadline(time.Now().Add(d))
	if _, err := s.conn.Write(wire.AppendSubscribe(nil, s.version, &sub)); err != nil {
		return seen, err
	}
	for {
		first, body, err := s.r.Next()
		if err != nil {
			if ctx.Err() != nil {
				return seen, ctx.Err()
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return seen, nil
			}
			return seen, err
		}
		var p wire.Publish
		if wire.PacketType(first>>4) != wire.PUBLISH || wire.ParsePublish(&p, s.version, first, body) != nil || string(p.Topic) != topic {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(p.Payload)), 10, 64)
		if err != nil {
			continue // not a counter that we understand
		}
		if seen.Times == 0 {
			seen.First = n
		}
		seen.Last = n
		seen.Times++
	}
}
