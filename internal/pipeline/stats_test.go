package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestCountersAddUpAtAnyTime(t *testing.T) {
	st := newTap()
	var faults sync.Mutex
	r0 := rand.New(rand.NewPCG(1, 2))
	st.onCommit(func(c *seen) error {
		faults.Lock()
		defer faults.Unlock()
		switch {
		case slices.Contains(c.values, poison):
			return refusal()
		case r0.IntN(20) == 0:
			return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "busy")
		}
		return nil
	})
	r := start(t, st, Config{CommitInterval: -1, Lanes: 3, BufferBytes: 20_000}, envDoc, pulseDoc, manyDoc, neverDoc)
	stop := make(chan struct{})
	var watcher, senders sync.WaitGroup
	watcher.Go(func() {
		var last uint64
		for {
			select {
			case <-stop:
				return
			default:
			}
			var received uint64
			for _, s := range r.Stats().Sources {
				received += s.Received
				if s.Balance() != 0 || s.ReadingsBalance() != 0 {
					t.Errorf("the counters do not add up: %+v", s)
					return
				}
			}
			if received < last {
				t.Errorf("received went from %d to %d", last, received)
			}
			last = received
			r.Unmatched()
		}
	})
	const each = 120
	for k := range 4 {
		senders.Go(func() {
			a := &acks{news: make(chan struct{}, 1)}
			s, err := r.OpenSession(context.Background(), fmt.Sprintf("source%d", k%2), fmt.Sprint(k), a)
			if err != nil {
				t.Error(err)
				return
			}
			p := &peer{Session: s, r: r, acked: a}
			random := rand.New(rand.NewPCG(uint64(k), 3))
			for range each {
				v := random.Float64()
				if random.IntN(30) == 0 {
					v = poison
				}
				ms := []telemetry.Message{
					env(random.IntN(5), random.IntN(20), v), pulse(random.IntN(5), v),
					msg("many/g", fmt.Sprintf(`{"readings":[{"ts":%d,"v":1},{"ts":%d,"v":%g}]}`, random.IntN(9), random.IntN(9), v)),
					msg("env/x", "bad"), msg("who/knows", "1"), msg("cmd/x", "bad"), msg("cmd/x", "5"), msg("a/+", "1"),
				}
				m := ms[random.IntN(len(ms))]
				m.QoS, m.Dup = uint8(random.IntN(3)), random.IntN(4) == 0
				m.PacketID = uint16(1 + random.IntN(10))
				p.send(m)
				if random.IntN(10) == 0 {
					p.Confirm(p.acked.upTo())
				}
			}
			p.wait()
		})
	}
	senders.Wait()
	r.drain()
	close(stop)
	watcher.Wait()
	var received uint64
	for _, s := range r.Stats().Sources {
		received += s.Received
		if s.InFlight != 0 || s.InFlightReadings != 0 {
			t.Errorf("in flight at the end: %+v", s)
		}
	}
	if received != 4*each {
		t.Errorf("%d of %d messages were counted", received, 4*each)
	}
	var quarantined uint64
	for _, s := range r.Stats().Sources {
		for _, n := range s.Quarantined {
			quarantined += n
		}
	}
	if n := len(st.quarantined(t)); n < int(quarantined) {
		t.Errorf("%d messages are counted as quarantined, %d records are stored", quarantined, n)
	}
}

func TestStatsOfCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newTap()
		st.onCommit(func(*seen) error { time.Sleep(30 * time.Millisecond); return nil })
		r := start(t, st, Config{}, envDoc)
		p := r.open("a")
		for i := range 3 {
			p.send(env(1, i+1, 20), env(2, i+1, 20))
			p.wait()
		}
		s := r.Stats()
		if s.Commits != 3 || s.CommittedRows != 6 || s.CommitRows.Count != 3 || s.CommitRows.Counts[1] != 3 {
			t.Errorf("commits: %+v", s)
		}
		if h := s.CommitSeconds; h.Count != 3 || h.Sum < .089 || h.Sum > .091 {
			t.Errorf("commit seconds: %+v", h)
		}
		if h := s.AckSeconds; h.Count != 3 || h.Sum < .089 || h.Sum > .097 {
			t.Errorf("ack seconds: %+v", h)
		}
		if s.OpenSessions != 1 || s.CachedTopics != 2 || s.LastCommit.IsZero() || s.Trouble != nil {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestUnmatchedKeepsTheMostFrequentTopics(t *testing.T) {
	u := &unmatched{limit: 10}
	for i := range 10_000 {
		u.add(fmt.Appendf(nil, "rare/%d", i), int64(i))
		if i%4 == 0 {
			u.add([]byte("often"), int64(i))
		}
	}
	if len(u.list) != 10 || len(u.at) != 10 {
		t.Fatalf("%d topics are listed, %d indexed", len(u.list), len(u.at))
	}
	i, ok := u.at["often"]
	if !ok {
		t.Fatal("the most frequent topic is not listed")
	}
	if o := u.list[i]; o.Count < 2500 || o.Count-o.Error > 2500 {
		t.Errorf("often came 2500 times, listed as %+v", o)
	}
}
