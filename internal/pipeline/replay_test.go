package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestReplay(t *testing.T) {
	t.Run("StoresWhatIsValidNowAndLeavesTheRest", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			r := start(t, st, Config{QuarantinePayloadBytes: 60}, envDoc)
			p := r.open("a")
			long := env(3, 1, 900)
			long.Payload = append(long.Payload, "                                    "...)
			p.send(env(1, 1, 900), env(1, 2, 2000), env(2, 1, 900), msg("env/d1", "not json"), long, env(1, 3, 20))
			p.wait()
			r.use(envDoc, envLooseDoc)
			got, err := r.Replay(context.Background(), store.QuarantineFilter{})
			if err != nil || got != (ReplayResult{Seen: 5, Stored: 2, Readings: 2, Stay: 3}) {
				t.Errorf("replay: %+v, %v", got, err)
			}
			if n := len(st.readings(t, "env")); n != 3 {
				t.Errorf("%d readings", n)
			}
			if n := len(st.quarantined(t)); n != 3 {
				t.Errorf("%d records stay", n)
			}
			again, err := r.Replay(context.Background(), store.QuarantineFilter{})
			if err != nil || again.Stored != 0 || again.Stay != 3 {
				t.Errorf("a second replay: %+v, %v", again, err)
			}
			if s := r.Stats(); s.Replayed != 2 {
				t.Errorf("%d were counted", s.Replayed)
			}
		})
	})
	t.Run("KeepsToItsFilterAndLimit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			for i := range 1200 {
				p.send(env(i%2, i, 900))
			}
			p.wait()
			r.use(envDoc, envLooseDoc)
			got, err := r.Replay(context.Background(), store.QuarantineFilter{Topic: "env/d1", Limit: 550})
			if err != nil || got.Stored != 550 {
				t.Errorf("replay: %+v, %v", got, err)
			}
			if got, err = r.Replay(context.Background(), store.QuarantineFilter{}); err != nil || got.Stored != 650 {
				t.Errorf("the rest: %+v, %v", got, err)
			}
		})
	})
	t.Run("KeepsTheTimeOfReceipt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.MaxSeries = 1
			r := start(t, st, Config{}, pulseDoc)
			p := r.open("a")
			p.send(pulse(1, 1))
			p.wait()
			came := time.Now().UnixMilli()
			p.send(pulse(2, 2))
			p.wait()
			st.MaxSeries = 0
			time.Sleep(time.Hour)
			if _, err := r.Replay(context.Background(), store.QuarantineFilter{}); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("pulse/m2 m2 %d 2", came); !slices.Contains(st.readings(t, "pulse"), want) {
				t.Errorf("stored %q, want %q", st.readings(t, "pulse"), want)
			}
		})
	})
	t.Run("LeavesWhatTheStoreRefuses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			for i := range 20 {
				p.send(env(1, i, 900))
			}
			p.send(env(1, 21, 666))
			p.wait()
			r.use(envDoc, envLooseDoc)
			st.onCommit(func(c *seen) error {
				if slices.Contains(c.values, 666) {
					return refusal()
				}
				return nil
			})
			got, err := r.Replay(context.Background(), store.QuarantineFilter{})
			if err != nil || got != (ReplayResult{Seen: 21, Stored: 20, Readings: 20, Stay: 1}) {
				t.Errorf("replay: %+v, %v", got, err)
			}
			if q := st.quarantined(t); len(q) != 1 || q[0].Reason != telemetry.ReasonInvalid {
				t.Errorf("what stays: %+v", q)
			}
		})
	})
	t.Run("RunsBesideTheStream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			for i := range 600 {
				p.send(env(1, i, 900))
			}
			p.wait()
			r.use(envDoc, envLooseDoc)
			done := make(chan error)
			for range 2 {
				go func() {
					_, err := r.Replay(context.Background(), store.QuarantineFilter{})
					done <- err
				}()
			}
			for i := range 50 {
				p.send(env(2, i, 20))
				time.Sleep(time.Millisecond)
			}
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			p.wait()
			if n := len(st.readings(t, "env")); n != 650 {
				t.Errorf("%d readings", n)
			}
		})
	})
	t.Run("EndsWithThePipeline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{}, envDoc)
			r.drain()
			if _, err := r.Replay(context.Background(), store.QuarantineFilter{}); !errors.Is(err, errStopped) {
				t.Errorf("replay returned %v", err)
			}
		})
	})
	t.Run("StoresExactlyOnceHoweverItIsInterrupted", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			// pulse has no time: the store would not notice a second copy.
			records := rapid.IntRange(1, 1500).Draw(rt, "records")
			type stop struct {
				afterCommits int
				crash        bool
				abandon      bool
				refuse       bool
			}
			var stops []stop
			for range rapid.IntRange(0, 4).Draw(rt, "interruptions") {
				stops = append(stops, stop{
					rapid.IntRange(0, 4).Draw(rt, "after"), rapid.Bool().Draw(rt, "crash"),
					rapid.Bool().Draw(rt, "abandon"), rapid.Bool().Draw(rt, "refuse"),
				})
			}
			var left, stored int
			synctest.Test(t, func(t *testing.T) {
				st := newTap()
				st.MaxSeries = 1
				r := start(t, st, Config{}, pulseDoc)
				p := r.open("a")
				p.send(pulse(0, 1))
				p.begin()
				for range records {
					p.add(pulse(1, 1)) // all alike, and over the budget of series
				}
				p.End()
				p.wait()
				st.MaxSeries = 0
				for _, s := range stops {
					var commits atomic.Int64
					ctx, cancel := context.WithCancel(context.Background())
					st.onCommit(func(*seen) error {
						if int(commits.Add(1)) <= s.afterCommits {
							return nil
						}
						if s.abandon {
							cancel()
							time.Sleep(time.Second)
							return nil
						}
						if s.refuse && commits.Load()%2 == 0 {
							return refusal()
						}
						return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "away")
					})
					done := make(chan struct{})
					go func() {
						defer close(done)
						_, _ = r.Replay(ctx, store.QuarantineFilter{})
					}()
					time.Sleep(500 * time.Millisecond)
					if s.crash {
						r.crash()
						st.onCommit(nil)
						<-done
						r = start(t, st, Config{}, pulseDoc)
					} else {
						cancel()
						<-done
						st.onCommit(nil)
					}
					cancel()
				}
				if _, err := r.Replay(context.Background(), store.QuarantineFilter{}); err != nil {
					t.Error(err)
				}
				left, stored = len(st.quarantined(t)), len(st.readings(t, "pulse"))-1
				r.drain()
			})
			if left != 0 || stored != records {
				rt.Fatalf("%d of %d are stored, %d are left", stored, records, left)
			}
		})
	})
}
