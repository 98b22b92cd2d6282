package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestAMessageIsStoredAndAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newTap(), Config{}, envDoc, pulseDoc)
		p := r.open("a")
		p.send(env(1, 1000, 20.5), pulse(7, 3))
		p.wait()
		if got := r.st.readings(t, "env"); !slices.Equal(got, []string{"env/d1 d1 1000 20.5 ok null"}) {
			t.Errorf("stored %q", got)
		}
		if got := r.st.readings(t, "pulse"); len(got) != 1 {
			t.Errorf("stored %q", got)
		}
		r.drain()
		if s := r.source("src"); s.Stored != 2 || s.InFlight != 0 || s.StoredReadings != 2 {
			t.Errorf("counted %+v", s)
		}
	})
}

// Promise 1 of the design: an acknowledgement means stored.
func TestAckMeansStored(t *testing.T) {
	t.Run("NothingIsAcknowledgedWhileTheStoreDoesNotAnswer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			release := make(chan struct{})
			st.onCommit(func(*seen) error { <-release; return nil })
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			p.send(env(1, 1000, 20), msg("env/d1", "not json"))
			time.Sleep(time.Hour)
			if p.acked.upTo() != 0 {
				t.Fatalf("token %d was acknowledged before its commit ended", p.acked.upTo())
			}
			close(release)
			p.wait()
		})
	})
	t.Run("NothingIsAcknowledgedWhileCommitsFail", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			gone := telemetry.Errorf(telemetry.CodeUnavailable, "commit", "no space left on device")
			st.onCommit(func(*seen) error { return gone })
			r := start(t, st, Config{}, envDoc, pulseDoc)
			p := r.open("a")
			p.send(env(1, 1000, 20), pulse(1, 1))
			time.Sleep(time.Hour)
			if p.acked.upTo() != 0 {
				t.Fatalf("token %d was acknowledged", p.acked.upTo())
			}
			if err := r.Health(); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("health says %v", err)
			}
			r.balanced()
			st.onCommit(nil)
			p.wait()
			if err := r.Health(); err != nil {
				t.Errorf("after the store came back, health says %v", err)
			}
			if n := len(r.st.readings(t, "env")) + len(r.st.readings(t, "pulse")); n != 2 {
				t.Errorf("%d readings are stored", n)
			}
		})
	})
	t.Run("AnAcknowledgedTokenIsDurableAtTheMomentOfItsAck", func(t *testing.T) {
		st := newTap()
		r := start(t, st, Config{CommitInterval: -1}, envDoc)
		// The acker looks into the store itself.
		check := &storeChecker{t: t, st: st}
		s, err := r.OpenSession(context.Background(), "src", "a", check)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			if err := s.Begin(context.Background()); err != nil {
				t.Fatal(err)
			}
			m := env(1, i+1, 20)
			m.Token, m.PacketID, m.Size = uint64(i+1), uint16(i+1), len(m.Payload)
			s.Add(&m)
			s.End()
		}
		r.drain()
		if check.last != 200 {
			t.Errorf("acknowledged up to %d", check.last)
		}
	})
	t.Run("AfterACrashEverythingAcknowledgedIsThere", func(t *testing.T) {
		st := newTap()
		r := start(t, st, Config{CommitInterval: -1}, envDoc)
		p := r.open("a")
		for i := range 300 {
			p.send(env(1, i+1, 20))
		}
		acked := p.acked.upTo()
		r.crash()
		if acked = max(acked, p.acked.upTo()); len(st.readings(t, "env")) < int(acked) {
			t.Errorf("%d are acknowledged, %d stored", acked, len(st.readings(t, "env")))
		}
	})
}

// storeChecker compares every acknowledgement with what the store holds.
type storeChecker struct {
	t    *testing.T
	st   *tap
	last uint64
}

func (c *storeChecker) Ack(upTo uint64) {
	if upTo <= c.last {
		c.t.Errorf("token %d was acknowledged after %d", upTo, c.last)
	}
	c.last = upTo
	rows := 0
	for _, s := range c.st.durable() {
		rows += s.rows
	}
	if rows < int(upTo) {
		c.t.Errorf("token %d is acknowledged while %d readings are durable", upTo, rows)
	}
}

// Promise 3 of the design: bad data never blocks good.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newTap(), Config{QuarantinePayloadBytes: 100}, envDoc, pulseDoc)
		p := r.open("a")
		big := msg("env/d1", strings.Repeat("x", 50))
		big.Size = 1 << 28
		p.send(
			msg("env/d1", `{"ts":1,"temperature":900}`),
			msg("env/d1", `{"ts":`),
			msg("env/+/x", `{}`),
			msg("", `{}`),
			msg("env/\xff", `{}`),
			msg("env/a\x00b", `{}`),
			big,
			msg("env/d1", `{"ts":1,"temperature":"`+strings.Repeat("y", 500)+`"}`),
			env(1, 5, 20),
			msg("nobody/wants", "1"), msg("nobody/wants", "1"), msg("nobody/else", "1"),
		)
		p.wait()
		if got := len(r.st.readings(t, "env")); got != 1 {
			t.Errorf("%d readings are stored, want the good one", got)
		}
		records := r.st.quarantined(t)
		slices.Reverse(records)
		want := []telemetry.Reason{
			telemetry.ReasonInvalid, telemetry.ReasonMalformed,
			telemetry.ReasonBadTopic, telemetry.ReasonBadTopic, telemetry.ReasonBadTopic, telemetry.ReasonBadTopic,
			telemetry.ReasonTooLarge, telemetry.ReasonInvalid,
		}
		if len(records) != len(want) {
			t.Fatalf("%d records, want %d", len(records), len(want))
		}
		for i, q := range records {
			if q.Reason != want[i] || q.Source != "src" || q.Received == 0 {
				t.Errorf("record %d: %+v, want reason %s", i, q, want[i])
			}
		}
		if q := records[0]; q.Topic != "env/d1" || string(q.Payload) != `{"ts":1,"temperature":900}` || q.Schema != "env" || q.Version != 1 || q.Detail == "" {
			t.Errorf("the record says %+v", q)
		}
		if q := records[6]; q.Size != 1<<28 || len(q.Payload) != 50 {
			t.Errorf("the large payload: size %d, kept %d", q.Size, len(q.Payload))
		}
		if q := records[7]; len(q.Payload) != 100 || q.Size <= 500 {
			t.Errorf("the payload kept is %d bytes of %d", len(q.Payload), q.Size)
		}
		list := r.Unmatched()
		if len(list) != 2 || list[0].Topic != "nobody/wants" || list[0].Count != 2 || list[1].Count != 1 {
			t.Errorf("unmatched: %+v", list)
		}
		r.drain()
		if s := r.source("src"); s.Quarantined[telemetry.ReasonBadTopic] != 4 || s.Unmatched != 3 || s.Stored != 1 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestCardinality(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newTap()
		st.MaxSeries = 2
		r := start(t, st, Config{}, envDoc)
		p := r.open("a")
		p.send(env(1, 1, 20), env(2, 1, 20), env(3, 1, 20), env(1, 2, 20))
		p.wait()
		if got := st.readings(t, "env"); len(got) != 3 {
			t.Errorf("stored %q", got)
		}
		if q := st.quarantined(t); len(q) != 1 || q[0].Reason != telemetry.ReasonCardinality {
			t.Errorf("quarantined %+v", q)
		}
		st.MaxSeries = 0
		if _, err := r.Replay(context.Background(), store.QuarantineFilter{}); err != nil {
			t.Fatal(err)
		}
		if got := st.readings(t, "env"); len(got) != 4 || len(st.quarantined(t)) != 0 {
			t.Errorf("after the budget was raised: stored %q", got)
		}
	})
}

func TestRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newTap(), Config{}, latestDoc, neverDoc)
		p := r.open("a")
		retained := func(topic, payload string) telemetry.Message {
			m := msg(topic, payload)
			m.Retained = true
			return m
		}
		p.send(msg("state/d1", "5"), msg("cmd/d1", "1"))
		p.wait()
		p.send(retained("state/d1", "5"), retained("cmd/d1", "1"))
		p.wait()
		if n := len(r.st.readings(t, "state")) + len(r.st.readings(t, "cmd")); n != 2 {
			t.Errorf("%d readings, want 2: the retained one is the latest, the other is not wanted", n)
		}
		p.send(retained("state/d1", "6"))
		p.wait()
		if n := len(r.st.readings(t, "state")); n != 2 {
			t.Errorf("%d readings, want the retained one that differs too", n)
		}
		r.drain()
		if s := r.source("src"); s.Duplicate != 1 || s.Dropped[DroppedRetained] != 1 || s.Stored != 3 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestSchemasAreSwappedUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newTap(), Config{CommitInterval: time.Second}, envDoc)
		p := r.open("a")
		p.send(env(1, 1, 20))
		p.wait()
		p.send(env(1, 2, 20)) // waits in a batch of version 1
		r.use(envDoc, envLooseDoc)
		p.send(env(1, 3, 900))
		p.wait()
		if got := r.st.readings(t, "env"); len(got) != 3 || len(r.st.quarantined(t)) != 0 {
			t.Errorf("stored %q", got)
		}
		r.use(pulseDoc)
		p.send(env(1, 4, 20))
		p.wait()
		if s := r.source("src"); s.Unmatched != 1 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestPayloadTagsAndRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newTap(), Config{}, taggedDoc, manyDoc)
		p := r.open("a")
		for range 2 {
			p.send(
				msg("tagged/g1", `{"ts":1,"v":1,"sensor":"a"}`),
				msg("tagged/g1", `{"ts":1,"v":1,"sensor":"b"}`),
				msg("tagged/g2", `{"ts":1,"v":1,"sensor":"a"}`),
				msg("tagged/g2", `{"ts":1,"v":1}`),
				msg("tagged/g2", `{"ts":1,"v":1,"sensor":""}`),
				msg("many/g1", `{"readings":[{"ts":1,"v":1},{"ts":2,"v":2},{"ts":3,"v":3}]}`),
				msg("many/g1", `{"readings":[]}`),
			)
			p.wait()
		}
		p.send(msg("many/g1", `{"readings":[{"ts":3,"v":3},{"ts":4,"v":4}]}`))
		p.wait()
		if got := r.st.readings(t, "tagged"); len(got) != 5 {
			t.Errorf("stored %q", got)
		}
		if got := r.st.readings(t, "many"); len(got) != 4 {
			t.Errorf("stored %q", got)
		}
		r.drain()
		s := r.source("src")
		if s.Received != 15 || s.Stored != 7 || s.Duplicate != 6 || s.Dropped[DroppedEmpty] != 2 {
			t.Errorf("messages: %+v", s)
		}
		if s.Readings != 18 || s.StoredReadings != 9 || s.DuplicateReadings != 9 {
			t.Errorf("readings: %+v", s)
		}
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newTap(), Config{}, latestDoc)
		p := r.open("a")
		p.send(msg("state/d1", "5"), msg("state/d2", "5"))
		p.wait()
		time.Sleep(50 * time.Second)
		p.send(msg("state/d2", "6"))
		p.wait()
		time.Sleep(20 * time.Second)
		got := r.Silence()
		if len(got) != 1 || got[0].Table != "state" || got[0].Heard != 2 || got[0].Silent != 1 {
			t.Errorf("silence: %+v", got)
		}
	})
}

func TestOpenSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newTap(), Config{}, envDoc)
		p := r.open("a")
		if _, err := r.OpenSession(context.Background(), "src", "a", p.acked); telemetry.CodeOf(err) != telemetry.CodeConflict {
			t.Errorf("a second open of the key: %v", err)
		}
		st := r.st
		gate := make(chan struct{})
		st.onCommit(func(*seen) error { <-gate; return nil })
		p.send(env(1, 1, 20))
		p.Close()
		close(gate)
		synctest.Wait()
		if p.acked.upTo() != 0 {
			t.Error("a closed session was acknowledged")
		}
		r.sessionsMu.Lock()
		if len(r.sessions) != 0 {
			t.Errorf("%d sessions are kept", len(r.sessions))
		}
		r.sessionsMu.Unlock()
		r.open("a").Close()
	})
}

func TestAHundredThousandEmptySessionsAreCheap(t *testing.T) {
	p := New(Config{Lanes: 2}, &sink{}, nil)
	p.SetSchemas(plansOf(t, envDoc))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 100_000
	sessions := make([]telemetry.Session, n)
	for i := range sessions {
		s, err := p.OpenSession(context.Background(), "broker", fmt.Sprintf("broker:client-%06d", i), noAcks{})
		if err != nil {
			t.Fatal(err)
		}
		sessions[i] = s
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("an open session takes %d bytes", each)
	if each > 600 {
		t.Errorf("an open session takes %d bytes", each)
	}
	for _, s := range sessions {
		s.Close()
	}
	if len(p.sessions) != 0 {
		t.Errorf("%d sessions are kept", len(p.sessions))
	}
}

func TestATopicCacheThatIsTooSmallChangesNothing(t *testing.T) {
	for name, bytes := range map[string]int{"NoRoomAtAll": 1, "RoomForAFew": 1<<16 + 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newTap()
				r := start(t, st, Config{TopicCacheBytes: bytes, Lanes: 1}, envDoc, taggedDoc)
				p := r.open("a")
				random := rand.New(rand.NewPCG(1, 2))
				want := map[string]bool{}
				for i := range 1200 {
					d := random.IntN(300)
					if i%2 == 0 {
						p.send(env(d, i, 20))
						want[fmt.Sprintf("env/d%d d%d %d 20 ok null", d, d, i)] = true
						continue
					}
					p.send(msg(fmt.Sprintf("tagged/g%d", d), fmt.Sprintf(`{"ts":%d,"v":1,"sensor":"s%d"}`, i, d%7)))
					want[fmt.Sprintf("tagged/g%d g%d s%d %d 1 null", d, d, d%7, i)] = true
				}
				p.wait()
				got := append(st.readings(t, "env"), st.readings(t, "tagged")...)
				for _, g := range got {
					if !want[g] {
						t.Fatalf("stored %q, which nobody sent", g)
					}
				}
				if len(got) != len(want) {
					t.Errorf("%d readings of %d", len(got), len(want))
				}
			})
		})
	}
}
