package demo

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what the fleet is and where it publishes.
type Options struct {
	Broker   string      // host:port
	TLS      *tls.Config // nil: plain TCP
	Username string
	Password string

	// Sensors is how many climate sensors there are; machines and meters come
	// in proportion. Default 12.
	Sensors int
	// Every is the time between two messages of one sensor; machines and
	// meters are slower. At least a second, which is also the default.
	Every time.Duration
	// History is how far back the sensors have readings to send when the fleet
	// starts, one every ten seconds.
	History time.Duration
	// Seed tells fleets apart.
	Seed   uint64
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: silent
}

// Fleet is a simulated set of devices.
type Fleet struct {
	opts    Options
	devices []*device
	sent    atomic.Uint64
	acked   atomic.Uint64
	wrong   atomic.Uint64
}

// message is what a device says at a second.
type message struct {
	topic   string
	payload []byte
	wrong   bool
}

type device struct {
	id       uint64
	name     string
	every    time.Duration
	history  bool
	messages func(t time.Time, salt uint64) []message
}

// New returns a fleet that is not running yet.
func New(opts Options) *Fleet {
	if opts.Sensors <= 0 {
		opts.Sensors = 12
	}
	opts.Every = max(opts.Every, time.Second)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{opts: opts}
	for i := range opts.Sensors {
		d := f.add(fmt.Sprintf("d%05d", i+1), opts.Every)
		topic := fmt.Sprintf("plants/p%02d/lines/l%d/devices/%s/env", 1+i%2, 1+i/2%3, d.name)
		d.history = true
		d.messages = func(t time.Time, salt uint64) []message {
			return []message{{topic, d.env(t, salt), salt%100 == 0}}
		}
	}
	for i := range max(1, opts.Sensors/4) {
		d := f.add(fmt.Sprintf("m%02d", i+1), 2*opts.Every)
		topic := fmt.Sprintf("plants/p%02d/machines/%s/", 1+i%2, d.name)
		last := ""
		d.messages = func(t time.Time, salt uint64) []message {
			out := []message{{topic + "spindle/rpm", d.spindle(t, salt), salt%100 == 0}}
			if state := d.state(t); state != last {
				last = state
				out = append(out, message{topic + "state", []byte(state), false})
			}
			return out
		}
	}
	for i := range max(1, opts.Sensors/6) {
		d := f.add(fmt.Sprintf("e%02d", i+1), 5*opts.Every)
		topic := fmt.Sprintf("plants/p%02d/meters/%s/power", 1+i%2, d.name)
		d.messages = func(t time.Time, salt uint64) []message {
			return []message{{topic, d.power(t, salt), salt%100 == 0}}
		}
	}
	return f
}

func (f *Fleet) add(name string, every time.Duration) *device {
	d := &device{id: hash(f.opts.Seed, uint64(len(f.devices))), name: name, every: every}
	f.devices = append(f.devices, d)
	return d
}

// at returns what the device says at t.
func (d *device) at(t time.Time) []message {
	return d.messages(t, hash(d.id, uint64(t.Unix())))
}

// Devices is how many devices the fleet has.
func (f *Fleet) Devices() int { return len(f.devices) }

// Stats are the fleet's own counts, to be compared with those of the node.
type Stats struct {
	Sent, Acked uint64
	Wrong       uint64 // how many of Sent are wrong on purpose
}

// Stats returns the counts so far.
func (f *Fleet) Stats() Stats {
	return Stats{Sent: f.sent.Load(), Acked: f.acked.Load(), Wrong: f.wrong.Load()}
}

// Run publishes until ctx ends, and returns when every device has stopped.
func (f *Fleet) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, d := range f.devices {
		wg.Go(func() { f.live(ctx, d) })
	}
	wg.Wait()
}

// live is a device's life: connect, publish, and connect again after trouble.
func (f *Fleet) live(ctx context.Context, d *device) {
	next := f.opts.Now().Truncate(time.Second)
	if d.history {
		next = next.Add(-f.opts.History).Truncate(historyStep)
	}
	for backoff := 100 * time.Millisecond; ctx.Err() == nil; backoff = min(2*backoff, 10*time.Second) {
		c, err := f.connect(ctx, d)
		if err == nil {
			backoff = 100 * time.Millisecond
			next, err = f.publish(ctx, c, d, next)
			c.close()
		}
		if err != nil && ctx.Err() == nil {
			f.opts.Logger.Debug("demo device lost its broker", "device", d.name, "error", err)
		}
		if !sleep(ctx, backoff) {
			return
		}
	}
}

// historyStep is the time between two readings of the history.
const historyStep = 10 * time.Second

// publish sends what the device has to say from next on, until trouble or the
// end; it returns the first second that was not said yet.
func (f *Fleet) publish(ctx context.Context, c *client, d *device, next time.Time) (time.Time, error) {
	for {
		wait := next.Sub(f.opts.Now())
		if wait > 0 {
			if err := c.idle(ctx, wait); err != nil {
				return next, err
			}
		}
		if ctx.Err() != nil {
			return next, nil
		}
		for _, m := range d.at(next) {
			if err := c.publish(ctx, m.topic, m.payload); err != nil {
				return next, err
			}
			f.sent.Add(1)
			if m.wrong {
				f.wrong.Add(1)
			}
		}
		if wait < -2*d.every && d.history {
			next = next.Add(max(historyStep, d.every))
		} else {
			next = next.Add(d.every)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
