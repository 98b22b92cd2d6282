package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// got is a copy of a message that the sink took.
type got struct {
	key, topic, payload string
	size                int
	qos                 uint8
	dup                 bool
	id                  uint16
	token               uint64
}

// fakeSink keeps what it gets. It acknowledges when it is told to, or at once.
type fakeSink struct {
	t       testing.TB
	mu      sync.Mutex
	cond    sync.Cond
	hold    bool // do not acknowledge before release
	full    bool // Begin waits
	stay    bool // Close waits
	closing bool // a Close waits
	open    map[string]*fakeSession
	got     []got
	// events are resets, closes and releases, as "reset broker:a".
	events []string
}

func newFakeSink(t testing.TB) *fakeSink {
	f := &fakeSink{t: t, open: map[string]*fakeSession{}}
	f.cond.L = &f.mu
	return f
}

type fakeSession struct {
	f     *fakeSink
	key   string
	acker telemetry.Acker
	burst bool
	token uint64
	acked uint64
}

func (f *fakeSink) OpenSession(_ context.Context, source, key string, acker telemetry.Acker) (telemetry.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if source != "broker" {
		f.t.Errorf("source is %q", source)
	}
	if f.open[key] != nil {
		f.t.Errorf("session %q is opened while it is open", key)
	}
	s := &fakeSession{f: f, key: key, acker: acker}
	f.open[key] = s
	f.event("open %s", key)
	return s, nil
}

func (f *fakeSink) event(format string, args ...any) {
	f.events = append(f.events, fmt.Sprintf(format, args...))
	f.cond.Broadcast()
}

func (s *fakeSession) Begin(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.f.mu.Lock(); s.f.cond.Broadcast(); s.f.mu.Unlock() })
	defer stop()
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	for s.f.full && ctx.Err() == nil {
		s.f.cond.Wait()
	}
	if s.burst {
		s.f.t.Error("Begin within a burst")
	}
	if ctx.Err() == nil {
		s.burst = true
	}
	return ctx.Err()
}

func (s *fakeSession) Add(m *telemetry.Message) bool {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if !s.burst {
		s.f.t.Error("Add outside a burst")
	}
	if m.QoS > 0 {
		s.next(m.Token)
	}
	s.f.got = append(s.f.got, got{s.key, string(m.Topic), string(m.Payload), m.Size, m.QoS, m.Dup, m.PacketID, m.Token})
	s.f.cond.Broadcast()
	return len(s.f.got)%100 != 0
}

func (s *fakeSession) next(token uint64) {
	if token <= s.token {
		s.f.t.Errorf("token %d follows %d", token, s.token)
	}
	s.token = token
}

func (s *fakeSession) Release(id uint16, token uint64) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.next(token)
	s.f.event("release %s %d", s.key, id)
}

func (s *fakeSession) End() {
	s.f.mu.Lock()
	if !s.burst {
		s.f.t.Error("End outside a burst")
	}
	s.burst = false
	token := s.token
	ack := !s.f.hold && token > s.acked
	if ack {
		s.acked = token
	}
	s.f.mu.Unlock()
	if ack {
		s.acker.Ack(token)
	}
}

func (s *fakeSession) Confirm(upTo uint64) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.event("confirm %s %d", s.key, upTo)
}

func (s *fakeSession) Reset() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.event("reset %s", s.key)
}

func (s *fakeSession) Close() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if s.burst {
		s.f.t.Error("Close within a burst")
	}
	if s.f.open[s.key] != s {
		s.f.t.Errorf("session %q is closed twice", s.key)
	}
	for s.f.stay {
		s.f.closing = true
		s.f.cond.Broadcast()
		s.f.cond.Wait()
	}
	delete(s.f.open, s.key)
	s.f.event("close %s", s.key)
}

// release acknowledges everything that came, and what comes from now on.
func (f *fakeSink) release() {
	f.mu.Lock()
	f.hold = false
	type due struct {
		a telemetry.Acker
		n uint64
	}
	var all []due
	for _, s := range f.open {
		if s.token > s.acked {
			s.acked = s.token
			all = append(all, due{s.acker, s.token})
		}
	}
	f.mu.Unlock()
	for _, d := range all {
		d.a.Ack(d.n)
	}
}

func (f *fakeSink) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.cond.Broadcast()
}

// await waits until what the sink has satisfies the condition.
func (f *fakeSink) await(what string, ok func() bool) {
	f.t.Helper()
	if !waitFor(&f.mu, &f.cond, ok) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.t.Fatalf("waited in vain for %s; got %d messages, the last %+v; events %v", what, len(f.got), f.got[max(0, len(f.got)-3):], f.events)
	}
}

func (f *fakeSink) awaitCount(n int) []got {
	f.t.Helper()
	f.await(fmt.Sprintf("%d messages", n), func() bool { return len(f.got) >= n })
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]got(nil), f.got...)
}

func (f *fakeSink) awaitEvent(e string) {
	f.t.Helper()
	f.await("event "+e, func() bool {
		for _, have := range f.events {
			if have == e {
				return true
			}
		}
		return false
	})
}

// never waits a moment for what must not come to pass.
func (f *fakeSink) never(what string, ok func() bool) {
	f.t.Helper()
	time.Sleep(100 * time.Millisecond) // too short a time can only hide a defect, never report one
	f.mu.Lock()
	defer f.mu.Unlock()
	if ok() {
		f.t.Error(what)
	}
}
