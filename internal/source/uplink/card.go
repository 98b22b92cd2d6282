package uplink

import (
	"context"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Card is a part of what a device's card holds of one epoch: as if the device had
// sent it, and had said its times and plans before.
type Card struct {
	Device  string
	Epoch   uint64
	Plans   [][]byte // bodies of plan records
	Times   [][]byte // bodies of time records
	Records []CardRecord
}

// CardRecord is one record.
type CardRecord struct {
	Sequence, Uptime uint64 // ms
	Kind             byte
	Body             []byte
}

// CardStored says what became of a Card, once it is durable.
type CardStored struct {
	Stored    int // records that are new
	Duplicate int // that the gateway has already, from the device or from a card
	Refused   int // of the new: quarantined, with their reason
	Waiting   int // left out, because no active schema is what they were recorded with
}

// cardRequest is a Card on its way to the worker.
type cardRequest struct {
	card     *Card
	received int64
	out      CardStored
	err      error
	done     chan struct{}
}

// ImportCard stores the records that the gateway does not have yet and returns when
// they are durable.
func (g *Gateway) ImportCard(ctx context.Context, c *Card) (CardStored, error) {
	if _, ok := deviceName([]byte(upPrefix + c.Device)); !ok {
		return CardStored{}, telemetry.Errorf(telemetry.CodeInvalid, "import card", "%.80q is not the name of a device", c.Device).
			WithHint("a name has 1 to 64 letters, digits, _ and -")
	}
	r := &cardRequest{card: c, received: g.now(), done: make(chan struct{})}
	select {
	case g.cards <- r:
	case <-g.done:
		return CardStored{}, errStopped()
	case <-ctx.Done():
		return CardStored{}, ctx.Err()
	}
	select {
	case <-r.done:
		return r.out, r.err
	case <-g.done:
		return CardStored{}, errStopped()
	case <-ctx.Done():
		return CardStored{}, ctx.Err()
	}
}

func errStopped() error {
	return telemetry.Errorf(telemetry.CodeUnavailable, "import card", "the node stops").WithHint("import the card again: what is stored is known")
}

// importCard is the worker's part.
func (g *Gateway) importCard(ctx context.Context, r *cardRequest) {
	d, err := g.device(ctx, r.card.Device)
	if err == nil {
		err = d.importCard(ctx, r)
		g.show(d)
	}
	if err != nil {
		if r.err = err; ctx.Err() != nil {
			r.err = errStopped() // it was this worker that was told to end, not who asked
		}
		close(r.done)
	}
}

func (d *device) importCard(ctx context.Context, r *cardRequest) error {
	if err := d.session.Begin(ctx); err != nil {
		return err
	}
	b := &batch{epoch: r.card.Epoch}
	for _, body := range r.card.Plans {
		d.prepare(b, &entry{kind: recordPlan, body: body})
	}
	for _, body := range r.card.Times {
		d.prepare(b, &entry{kind: recordTime, body: body})
	}
	e := d.memory.epoch(b.epoch)
	refused := d.stats.Refused
	var have span // new sequences that are not entered yet
	for i := range r.card.Records {
		c := &r.card.Records[i]
		if c.Sequence == 0 || c.Sequence >= maxSequence || c.Uptime > maxUptime {
			continue
		}
		if e.got.has(c.Sequence) || c.Sequence >= have.first && c.Sequence < have.end {
			r.out.Duplicate++
			continue
		}
		taken, more := d.reading(b, e, &entry{c.Kind, c.Uptime, c.Body}, r.received)
		if !taken {
			r.out.Waiting++
			continue
		}
		r.out.Stored++
		if have.end != c.Sequence {
			d.enter(b, have)
			have = span{c.Sequence, c.Sequence}
		}
		have.end++
		if !more {
			d.enter(b, have)
			have = span{}
			d.session.End()
			if err := d.session.Begin(ctx); err != nil {
				return err
			}
		}
	}
	d.enter(b, have)
	r.out.Refused = int(d.stats.Refused - refused)
	d.token++
	d.session.Token(d.token)
	d.session.End()
	d.await(answer{token: d.token, done: func() { close(r.done) }})
	return nil
}
