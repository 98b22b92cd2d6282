package mqtt

import (
	"context"
	"fmt"
	"sync"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// recorder is a sink that writes down what it is told. It acknowledges at the
// end of each burst, unless held; and it lets bursts begin, unless blocked.
type recorder struct {
	mu       sync.Mutex
	acker    telemetry.Acker
	key      string
	source   string
	got      []recorded
	released []uint16
	confirm  uint64
	confirms int
	resets   int
	closed   bool
	opens    int
	away     int    // so many OpenSession fail
	last     uint64 // token
	held     bool   // acknowledge only when the test says so
	block    chan struct{}
	stopped  error // Begin fails with this
	small    int   // Add returns false after so many; 0: never
	inBurst  int
	open     bool
	faults   []string
}

type recorded struct {
	telemetry.Message
	topic, payload string
}

func (r *recorder) OpenSession(_ context.Context, source, key string, acker telemetry.Acker) (telemetry.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away > 0 {
		r.away--
		return nil, fmt.Errorf("the store is away")
	}
	if r.opens > 0 && !r.closed {
		r.fault("opened twice")
	}
	r.source, r.key, r.acker, r.closed = source, key, acker, false
	r.opens++
	return r, nil
}

func (r *recorder) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *recorder) Begin(ctx context.Context) error {
	r.mu.Lock()
	block, stopped := r.block, r.stopped
	if r.open || r.closed {
		r.fault("Begin within a burst, or after Close")
	}
	r.mu.Unlock()
	if stopped != nil {
		return stopped
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open, r.inBurst = true, 0
	return nil
}

func (r *recorder) Add(m *telemetry.Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		r.fault("Add outside a burst")
	}
	r.got = append(r.got, recorded{*m, string(m.Topic), string(m.Payload)})
	if m.QoS > 0 {
		r.take(m.Token)
	}
	r.inBurst++
	return r.small == 0 || r.inBurst < r.small
}

func (r *recorder) take(token uint64) {
	if token <= r.last {
		r.fault("token %d after %d", token, r.last)
	}
	r.last = token
}

func (r *recorder) Release(id uint16, token uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		r.fault("Release outside a burst")
	}
	r.released = append(r.released, id)
	r.take(token)
}

func (r *recorder) End() {
	r.mu.Lock()
	if !r.open {
		r.fault("End outside a burst")
	}
	r.open = false
	last, acker, held := r.last, r.acker, r.held
	r.mu.Unlock()
	if !held {
		acker.Ack(last)
	}
}

func (r *recorder) Confirm(upTo uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirm = upTo
	r.confirms++
}

func (r *recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets++
}

func (r *recorder) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// ackAll acknowledges everything so far, and all that comes.
func (r *recorder) ackAll() {
	r.mu.Lock()
	r.held = false
	last, acker := r.last, r.acker
	r.mu.Unlock()
	acker.Ack(last)
}

func (r *recorder) messages() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]recorded(nil), r.got...)
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// token returns the last token that was handed over.
func (r *recorder) token() (v uint64) {
	r.see(func() { v = r.last })
	return v
}

func (r *recorder) confirmed() (v uint64) {
	r.see(func() { v = r.confirm })
	return v
}

func (r *recorder) confirmations() (v int) {
	r.see(func() { v = r.confirms })
	return v
}

func (r *recorder) wasReset() (v int) {
	r.see(func() { v = r.resets })
	return v
}

func (r *recorder) releases() (v []uint16) {
	r.see(func() { v = append(v, r.released...) })
	return v
}

// see calls f with the lock held.
func (r *recorder) see(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}
