package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestCommits(t *testing.T) {
	t.Run("StartAtLeastAnIntervalApart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{CommitInterval: 100 * time.Millisecond}, envDoc)
			p := r.open("a")
			for i := range 100 {
				p.send(env(1, i+1, 20))
				time.Sleep(7 * time.Millisecond)
			}
			p.wait()
			all := r.st.durable()
			for i := 1; i < len(all); i++ {
				if d := all[i].start.Sub(all[i-1].start); d < 100*time.Millisecond {
					t.Errorf("commit %d starts %v after the one before", i, d)
				}
			}
			if len(all) < 7 || len(all) > 9 {
				t.Errorf("%d commits in 700 ms", len(all))
			}
		})
	})
	t.Run("StartAtOnceAfterSilence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{CommitInterval: time.Second}, envDoc)
			p := r.open("a")
			time.Sleep(time.Minute)
			began := time.Now()
			p.send(env(1, 1, 20))
			p.wait()
			if d := time.Since(began); d > 0 {
				t.Errorf("acknowledged after %v", d)
			}
		})
	})
	t.Run("ALargeBatchDoesNotWaitForTheInterval", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{CommitInterval: time.Hour, BatchBytes: 2000}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, 20))
			p.wait()
			began := time.Now()
			for i := range 100 {
				p.send(env(1, i+2, 20))
			}
			synctest.Wait()
			if p.acked.upTo() < 50 || time.Since(began) > 0 {
				t.Errorf("acknowledged up to %d after %v", p.acked.upTo(), time.Since(began))
			}
		})
	})
	t.Run("OneIsStagedWhileTheOneBeforeIsMadeDurable", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			gate := make(chan struct{})
			st.onCommit(func(*seen) error { <-gate; return nil })
			r := start(t, st, Config{CommitInterval: time.Millisecond}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, 20))
			time.Sleep(10 * time.Millisecond)
			p.send(env(1, 2, 20))
			time.Sleep(10 * time.Millisecond)
			p.send(env(1, 3, 20))
			time.Sleep(time.Second)
			st.mu.Lock()
			staged := st.staging
			st.mu.Unlock()
			if staged != 2 {
				t.Errorf("%d commits are staged while the first is under way, want it and the next", staged)
			}
			close(gate)
			p.wait()
			if got := p.acked.all; !slices.Equal(got, []uint64{1, 2, 3}) {
				t.Errorf("acknowledged %v", got)
			}
		})
	})
	t.Run("ThatHoldNothingAreNotMade", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{}, envDoc, neverDoc)
			p := r.open("a")
			m := msg("cmd/d1", "1")
			m.Retained = true
			p.send(msg("unknown/topic", "1"), m, msg("cmd/d1", "bad"))
			p.wait()
			if n := len(r.st.durable()); n != 0 {
				t.Errorf("%d commits were made", n)
			}
			if s := r.source("src"); s.Unmatched != 1 || s.Dropped[DroppedRetained] != 1 || s.Dropped[telemetry.ReasonMalformed]+s.Dropped[telemetry.ReasonInvalid] != 1 {
				t.Errorf("counted %+v", s)
			}
		})
	})
	t.Run("AcknowledgeTheHighestTokenOnce", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{CommitInterval: time.Second}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, 20))
			p.wait()
			for i := range 50 {
				p.send(env(1, i+2, 20))
			}
			p.wait()
			if got := p.acked.all; !slices.Equal(got, []uint64{1, 51}) {
				t.Errorf("acknowledged %v", got)
			}
		})
	})
	t.Run("KeepTheOrderWithWhatNeedsNoStoring", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			gate := make(chan struct{})
			st.onCommit(func(*seen) error { <-gate; return nil })
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, 20))
			time.Sleep(time.Second)
			p.send(msg("unknown/topic", "1"))
			time.Sleep(time.Second)
			if p.acked.upTo() != 0 {
				t.Errorf("token %d overtook one that is not durable", p.acked.upTo())
			}
			close(gate)
			p.wait()
		})
	})
	t.Run("AnIdlePipelineGivesItsMemoryBackAndSleeps", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{Lanes: 1}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, 20))
			p.wait()
			time.Sleep(2 * idleAfter)
			l := r.lanes[0]
			l.mu.Lock()
			if len(l.spare) != 0 || l.current.byTable[0] != nil {
				t.Error("an idle lane keeps its batches")
			}
			l.mu.Unlock()
			p.send(env(1, 2, 20))
			p.wait()
			// That nothing wakes up is seen in the loop: no timer is armed
			// after the idle one, and the bubble would end in a deadlock if
			// anything waited for the clock.
		})
	})
}

func TestClose(t *testing.T) {
	t.Run("MakesEverythingDurableAndAcknowledges", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{CommitInterval: time.Hour}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, 20))
			p.wait()
			for i := range 10 {
				p.send(env(1, i+2, 20))
			}
			r.drain()
			if p.acked.upTo() != 11 || len(r.st.readings(t, "env")) != 11 {
				t.Errorf("acknowledged up to %d, stored %d", p.acked.upTo(), len(r.st.readings(t, "env")))
			}
			if err := p.Begin(context.Background()); err == nil {
				t.Error("a burst begins after the end")
			}
		})
	})
	t.Run("EndsAtItsDeadlineWithoutFalseAcks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.onCommit(func(*seen) error { return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "away") })
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, 20))
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			began := time.Now()
			err := r.Close(ctx)
			<-r.ran
			r.over = true
			if err == nil || !strings.Contains(err.Error(), "1 messages stay unacknowledged") || time.Since(began) > 11*time.Second {
				t.Errorf("close returned %v after %v", err, time.Since(began))
			}
			if p.acked.upTo() != 0 {
				t.Error("an acknowledgement was sent")
			}
		})
	})
	t.Run("IsHardWhenTheContextOfRunEnds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.onCommit(func(*seen) error { return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "away") })
			p := New(Config{}, st, nil)
			p.SetSchemas(plansOf(t, pulseDoc))
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- p.Run(ctx) }()
			s, err := p.OpenSession(ctx, "src", "a", noAcks{})
			if err != nil {
				t.Fatal(err)
			}
			m := pulse(1, 1)
			for range 3 {
				if err := s.Begin(ctx); err != nil {
					t.Fatal(err)
				}
				s.Add(&m)
				s.End()
				time.Sleep(time.Second)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("run returned %v", err)
			}
			if err := s.Begin(context.Background()); !errors.Is(err, errStopped) {
				t.Errorf("begin returned %v", err)
			}
			if err := p.Close(context.Background()); err == nil || !strings.Contains(err.Error(), "3 messages stay") {
				t.Errorf("close returned %v", err)
			}
		})
	})
	t.Run("LetsWaitingBurstsGo", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{BufferBytes: 100}, envDoc)
			r.budget.force(1000)
			p := r.open("a")
			done := make(chan error)
			go func() { done <- p.Begin(context.Background()) }()
			synctest.Wait()
			r.drain()
			if err := <-done; !errors.Is(err, errStopped) {
				t.Errorf("begin returned %v", err)
			}
		})
	})
}
