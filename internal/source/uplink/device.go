package uplink

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/device/record"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The kinds of records (docs/format/segment.md and record.md).
const (
	recordReading = 0x01
	recordTime    = 0x02
	recordPlan    = 0x03

	timeBody = 21 // bytes of a time record
)

func planID(n uint64) (id [8]byte) {
	binary.LittleEndian.PutUint64(id[:], n)
	return id
}

func planNumber(id [8]byte) uint64 { return binary.LittleEndian.Uint64(id[:]) }

// device is one recorder. Only the gateway's worker touches it, except durable.
type device struct {
	g       *Gateway
	name    string
	session telemetry.MarkSession
	memory  *memory
	source  string // through which it was heard last

	epoch    uint64 // the current one, by the last hello; 0: none yet
	last     uint64 // durable on the device when it said hello
	newest   uint64 // highest sequence of the current epoch that came
	order    byte
	asked    bool // an ask is not served yet
	sweeping bool
	served0  uint64 // how much of the epoch was there when an ask was last served
	later    later
	again    spans // of this epoch: declared lost before another card came, and asked for again
	card     byte  // what the last hello said of it

	token   uint64
	pending []answer // until their token is durable
	durable atomic.Uint64

	stats DeviceStats
}

// answer is a message that may go to the device once a token is durable.
type answer struct {
	token   uint64
	message []byte
	done    func() // nil: the message is for the device
}

// Ack implements telemetry.Acker.
func (d *device) Ack(upTo uint64) {
	d.durable.Store(upTo)
	d.g.wake()
}

// commit ends a burst: the answers go when everything so far is durable.
func (d *device) commit(answers ...[]byte) {
	d.token++
	d.session.Token(d.token)
	d.session.End()
	for _, a := range answers {
		d.await(answer{token: d.token, message: a})
	}
}

// await keeps an answer until its token is durable.
func (d *device) await(a answer) {
	if len(d.pending) == 0 {
		d.g.waiting = append(d.g.waiting, d)
	}
	d.pending = append(d.pending, a)
}

// settle sends the answers whose token is durable.
func (d *device) settle() {
	upTo := d.durable.Load()
	n := 0
	for n < len(d.pending) && d.pending[n].token <= upTo {
		if a := d.pending[n]; a.done != nil {
			a.done()
		} else {
			d.g.publish(d, a.message)
		}
		n++
	}
	d.pending = slices.Delete(d.pending, 0, n)
}

// cursor is the message that says how far an epoch is stored.
func (d *device) cursor(id uint64) []byte {
	taken := d.memory.epoch(id).taken()
	if id == d.epoch {
		taken = taken.union(d.again) // a cursor does not go back
	} else {
		taken = taken.union(d.later.spans[id])
	}
	end := taken.contiguous()
	var above []span
	for i := len(taken) - 1; i >= 0 && taken[i].first > end; i-- {
		above = append(above, taken[i])
	}
	return cursorMessage(id, end-1, above)
}

// hear deals with one message of the device.
func (d *device) hear(ctx context.Context, message []byte, received int64) error {
	what, err := parse(message)
	if err != nil {
		d.stats.Malformed++
		return nil
	}
	switch m := what.(type) {
	case *question:
		return d.tell(ctx, m)
	case *hello:
		return d.greet(ctx, m)
	case *batch:
		return d.take(ctx, m, received)
	case []loss:
		return d.lose(ctx, m)
	case *status:
		d.report(m)
	case served:
		if uint64(m) == d.epoch {
			return d.served(ctx)
		}
	}
	return nil
}

func (d *device) greet(ctx context.Context, h *hello) error {
	if err := d.session.Begin(ctx); err != nil {
		return err
	}
	if d.epoch != h.epoch {
		d.newest, d.served0, d.again = 0, 0, nil
		d.g.log.Info("a device said hello", "device", d.name, "epoch", fmt.Sprintf("%016x", h.epoch), "durable", h.last, "cause", h.cause, "part", h.part)
	}
	d.epoch, d.last, d.order = h.epoch, h.last, h.order
	d.stats.Hellos++
	d.stats.Cause, d.stats.Part = h.cause, h.part
	d.inserted(h)
	asks := d.asks()
	d.asked = len(asks) > 0
	answers := [][]byte{d.cursor(h.epoch)}
	if len(asks) > 0 {
		answers = append(answers, askMessage(d.order, asks))
	}
	d.commit(answers...)
	return nil
}

// inserted notes which card is in the device.
func (d *device) inserted(h *hello) {
	m := d.memory
	another := h.card == cardKnown && h.cardID != m.card
	switch {
	case h.card == cardNone, h.card == cardKnown && h.oldestEpoch == h.epoch:
		// Nothing is older than this epoch: nothing to sweep.
		d.later = later{}
		m.swept(d.session, h.epoch, m.sweepSequenceOf(h.epoch))
	case another:
		d.later = later{}
		m.swept(d.session, 0, 0) // all of it
	}
	if another {
		// What this epoch was declared to have lost may be on it: it is asked for again.
		d.again = d.again.union(m.regain(d.session, h.epoch))
		m.sees(d.session, h.cardID)
	}
	d.card = h.card
}

func (m *memory) sweepSequenceOf(epoch uint64) uint64 {
	if m.sweepEpoch == epoch {
		return m.sweepSequence
	}
	return 0
}

// asks is what the device shall send beside what it sends by itself. Without its
// card only what is in its ring is there: the rest waits for the hello that comes
// with a card.
func (d *device) asks() []ask {
	m := d.memory
	d.sweeping = false
	if d.card == cardUnknown {
		return d.holes()
	}
	d.later.settle(m)
	epoch, sequence := d.later.epoch, d.later.sequence
	if epoch == 0 {
		epoch, sequence = m.sweepEpoch, m.sweepSequence
	}
	d.sweeping = epoch != d.epoch
	if d.sweeping {
		return []ask{{epoch: epoch, span: span{first: sequence}}}
	}
	if out := d.later.asks(); len(out) > 0 {
		return out
	}
	d.sweptTo(epoch, sequence)
	return d.holes()
}

// holes are what this epoch lacks of what was durable when the device said hello.
func (d *device) holes() []ask {
	var out []ask
	for _, hole := range d.memory.epoch(d.epoch).taken().holes(d.last+1, d.order == 1, maxRanges) {
		out = append(out, ask{d.epoch, hole})
	}
	return out
}

// served: the device has sent, or declared lost, all that was asked for.
func (d *device) served(ctx context.Context) error {
	if err := d.session.Begin(ctx); err != nil {
		return err
	}
	swept := d.sweeping
	if swept {
		d.sweptTo(d.epoch, d.last)
		d.sweeping = false
	}
	d.asked = false
	var answers [][]byte
	// What an ask brought nothing of is asked for again after the next hello.
	have := d.memory.epoch(d.epoch).taken().count()
	before := d.later.count()
	if asks := d.asks(); len(asks) > 0 && (have > d.served0 || swept || d.later.count() < before) {
		d.stats.Gaps += uint64(len(asks))
		d.asked = true
		answers = append(answers, askMessage(d.order, asks))
	}
	d.served0 = have
	d.commit(answers...)
	return nil
}

// clockError is how far this machine's clock is taken to be off: a node that is
// synchronised over a network is within this.
const clockError = 100 * time.Millisecond

func (d *device) tell(ctx context.Context, q *question) error {
	now := d.g.now() / 1000
	d.g.publish(d, clockMessage(q, now, uint64(clockError/time.Microsecond), 1))
	if len(d.memory.epoch(q.epoch).points) > 0 || q.uptime > maxUptime*1000 {
		return nil
	}
	if err := d.session.Begin(ctx); err != nil {
		return err
	}
	d.memory.learn(d.session, q.epoch, point{int64(q.uptime), now})
	d.commit()
	return nil
}

func (d *device) lose(ctx context.Context, losses []loss) error {
	if err := d.session.Begin(ctx); err != nil {
		return err
	}
	seen := map[uint64]bool{}
	var answers [][]byte
	for _, l := range losses {
		known := d.memory.epoch(l.epoch).taken()
		if l.epoch == d.epoch {
			known = known.union(d.again)
		}
		before := known.count()
		d.memory.add(d.session, l.epoch, l.span, true)
		if n := known.add(l.span).count() - before; n > 0 {
			d.stats.Lost += n
			d.g.log.Warn("a device declares records lost", "device", d.name, "epoch", fmt.Sprintf("%016x", l.epoch), "first", l.span.first, "last", l.span.end-1, "news", n, "reason", lossReason(l.reason))
		}
		seen[l.epoch] = true
	}
	for id := range seen {
		answers = append(answers, d.cursor(id))
	}
	d.commit(answers...)
	return nil
}

func lossReason(r byte) string {
	switch r {
	case 1:
		return "overwritten on the card"
	case 2:
		return "given up in the ring"
	case 3:
		return "damaged on the card"
	case 4:
		return "not on the card: never written there, or on another card"
	}
	return "unknown"
}

// take stores what is new of a batch.
func (d *device) take(ctx context.Context, b *batch, received int64) error {
	if err := d.session.Begin(ctx); err != nil {
		return err
	}
	d.stats.Batches++
	for _, body := range b.binds {
		if bind, err := record.ParseBind(body); err == nil {
			d.memory.bind(d.session, b.epoch, bind.Slot, bind.ID)
		}
	}
	// Times first: they place the readings that came before them in the batch.
	for i := range b.records {
		d.prepare(b, &b.records[i])
	}
	e := d.memory.epoch(b.epoch)
	from, next := b.first, b.first
	for i := range b.records {
		if e.got.has(next) {
			d.stats.Duplicates++
			next++
			continue
		}
		if d.unplaced(b, e, &b.records[i]) {
			if !b.sweep {
				break // it comes again after the hello that this device owes
			}
			d.enter(b, span{from, next})
			d.later.add(b.epoch, next)
			next++
			from = next
			continue
		}
		taken, more := d.reading(b, e, &b.records[i], received)
		if !taken {
			break // it is asked for again, once the schema is there
		}
		d.stats.Records++
		next++
		if !more {
			d.enter(b, span{from, next})
			from = next
			d.session.End()
			if err := d.session.Begin(ctx); err != nil {
				return err
			}
		}
	}
	d.enter(b, span{from, next})
	if b.sweep && next > b.first {
		d.sweptTo(b.epoch, next-1)
	}
	answers := [][]byte{d.cursor(b.epoch)}
	if asks := d.gap(b); len(asks) > 0 {
		answers = append(answers, askMessage(d.order, asks))
	}
	d.commit(answers...)
	return nil
}

// enter remembers what was added to the burst.
func (d *device) enter(b *batch, s span) {
	if s.first >= s.end {
		return
	}
	if !d.memory.add(d.session, b.epoch, s, false) {
		d.g.log.Error("the memory of a device is full: after a restart some of its records may be stored twice", "device", d.name)
	}
	if b.sweep {
		d.sweptTo(b.epoch, s.end-1)
	}
	if b.epoch == d.epoch {
		d.newest = max(d.newest, s.end-1)
	}
}

// gap asks for what a batch that came unasked shows to be missing before it.
func (d *device) gap(b *batch) []ask {
	if b.epoch != d.epoch || b.sweep || d.asked || b.first <= d.last+1 {
		return nil
	}
	var out []ask
	for _, hole := range d.memory.epoch(b.epoch).taken().holes(b.first, d.order == 1, maxRanges) {
		out = append(out, ask{b.epoch, hole})
	}
	d.stats.Gaps += uint64(len(out))
	d.asked = len(out) > 0
	return out
}

// prepare takes what other records of the batch need.
func (d *device) prepare(b *batch, r *entry) {
	switch {
	case r.kind == recordTime && len(r.body) == timeBody:
		p := point{int64(binary.LittleEndian.Uint64(r.body)), int64(binary.LittleEndian.Uint64(r.body[8:]))}
		if p.uptime >= 0 && p.uptime <= maxUptime*1000 && p.unix > 0 && p.unix < 1<<53 {
			d.memory.learn(d.session, b.epoch, p)
		}
		if b.epoch == d.epoch {
			d.stats.TimeSource, d.stats.TimeError = r.body[20], binary.LittleEndian.Uint32(r.body[16:])
		}
	case r.kind == recordPlan:
		if bind, err := record.ParseBind(r.body); err == nil {
			d.memory.bind(d.session, b.epoch, bind.Slot, bind.ID)
		}
	}
}

// report keeps what a device says of itself.
func (d *device) report(s *status) {
	d.stats.Counters = s.counters
	d.stats.Schemas = d.stats.Schemas[:0]
	for _, one := range s.schemas {
		d.stats.Schemas = append(d.stats.Schemas, DeviceSchema{Name: one.name, Version: int(one.version)})
	}
	for _, r := range s.refused {
		d.stats.SchemasRefused++
		d.g.log.Warn("a device refused a schema", "device", d.name, "schema", r.name, "version", r.version, "reason", refusalReason(r.reason))
	}
}

func refusalReason(r byte) string {
	names := []string{"", "malformed, or beyond this firmware", "signature", "not newer than what runs", "too large", "the topic says another name", "no free slot until the next start", "it runs, and could not be stored"}
	if int(r) < len(names) && r > 0 {
		return names[r]
	}
	return "unknown"
}
