package broker

import (
	"bytes"
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// will is the message that is published for a client that is gone.
type will struct {
	publish wire.Publish
	version wire.Version
	delay   uint32 // seconds
}

// newWill copies the will of a CONNECT.
func newWill(p *wire.Connect) *will {
	w := &will{
		version: p.Version,
		publish: wire.Publish{
			Topic: bytes.Clone(p.Will.Topic), Payload: bytes.Clone(p.Will.Payload), QoS: p.Will.QoS, Retain: p.Will.Retain,
		},
	}
	if p.Version < wire.V5 {
		return w
	}
	w.delay = p.Will.Properties.UintOr(wire.WillDelay, 0)
	if q := passedOn(&p.Will.Properties); q != nil {
		w.publish.Properties = *q
	}
	if v, ok := p.Will.Properties.Uint(wire.MessageExpiry); ok {
		w.publish.Properties.SetUint(wire.MessageExpiry, v)
	}
	return w
}

// wills publishes wills: they have a session of the sink of their own, because the
// client's is closed by the time a delayed one is due.
type wills struct {
	b       *Broker
	mu      sync.Mutex
	waiting map[string]*delayed // by client id
	ended   bool

	sinkMu sync.Mutex
	sink   telemetry.Session
}

type delayed struct {
	w     *will
	timer *time.Timer
}

func newWills(b *Broker) *wills { return &wills{b: b, waiting: map[string]*delayed{}} }

// Ack implements telemetry.Acker: nobody waits for a will.
func (w *wills) Ack(uint64) {}

// gone publishes the will of a client that is gone without having said so, at
// once or when its delay is over or its session ended, whichever is first
// (section 3.1.3.2.2).
func (w *wills) gone(id string, what *will, expiry uint32, over bool) {
	delay := min(what.delay, expiry)
	if delay == 0 || over {
		w.publish(what)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	d := &delayed{w: what}
	d.timer = time.AfterFunc(time.Duration(delay)*time.Second, func() {
		w.mu.Lock()
		due := w.waiting[id] == d && !w.ended
		if due {
			delete(w.waiting, id)
			w.b.tasks.Add(1)
		}
		w.mu.Unlock()
		if due {
			defer w.b.tasks.Done()
			w.publish(what)
		}
	})
	w.waiting[id] = d
}

// established cancels the will of a client that came back in time [MQTT-3.1.3-9];
// where it began a new session, the old one ended, and its will is due.
func (w *wills) established(id string, present bool) {
	w.mu.Lock()
	d := w.waiting[id]
	delete(w.waiting, id)
	w.mu.Unlock()
	if d != nil && d.timer.Stop() && !present {
		w.publish(d.w)
	}
}

// publish gives a will to the subscribers and to the sink.
func (w *wills) publish(what *will) {
	w.sinkMu.Lock()
	defer w.sinkMu.Unlock()
	b := w.b
	p := what.publish
	now := b.cfg.Now()
	b.forward(nil, what.version, &p, now)
	b.stats.wills.Add(1)
	if w.sink == nil {
		sink, err := b.sink.OpenSession(b.ctx, SourceName, SourceName+"~wills", w)
		if err != nil {
			b.log.Error("a will is not stored", "topic", string(p.Topic), "error", err)
			return
		}
		w.sink = sink
	}
	if err := w.sink.Begin(b.ctx); err != nil {
		b.log.Error("a will is not stored", "topic", string(p.Topic), "error", err)
		return
	}
	b.stats.received.Add(1)
	w.sink.Add(&telemetry.Message{Topic: p.Topic, Payload: p.Payload, Size: len(p.Payload), Received: now})
	w.sink.End()
}

// end stops the timers; wills that were due later are given up. None is published
// by a timer that is over after it.
func (w *wills) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, d := range w.waiting {
		d.timer.Stop()
	}
	clear(w.waiting)
}

// close closes the session, when nothing publishes any more.
func (w *wills) close() {
	w.sinkMu.Lock()
	defer w.sinkMu.Unlock()
	if w.sink != nil {
		w.sink.Close()
		w.sink = nil
	}
}
