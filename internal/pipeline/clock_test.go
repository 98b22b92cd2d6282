package pipeline

import (
	"testing"
	"time"
)

// hands are a wall clock and a monotonic clock that a test moves.
type hands struct {
	wall int64
	mono time.Duration
}

func (h *hands) pass(d time.Duration) { h.wall, h.mono = h.wall+int64(d), h.mono+d }

func (h *hands) clock() *Clock {
	return NewClock(nil, func() (int64, time.Duration) { return h.wall, h.mono })
}

func TestClock(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	minute := int64(time.Minute)

	t.Run("FollowsSmallCorrectionsWithoutGoingBack", func(t *testing.T) {
		h := &hands{wall: noon}
		c := h.clock()
		h.wall -= int64(800 * time.Millisecond)
		last := c.Now()
		for range 50 {
			h.pass(100 * time.Millisecond)
			now := c.Now()
			if now < last {
				t.Fatalf("went back by %v", time.Duration(last-now))
			}
			last = now
		}
		if last != h.wall {
			t.Errorf("off by %v after 5 s", time.Duration(last-h.wall))
		}
	})
	for name, jump := range map[string]time.Duration{"ADayBack": -24 * time.Hour, "AYearForward": 365 * 24 * time.Hour} {
		t.Run(name+"AndReturnedLeavesNoTrace", func(t *testing.T) {
			h := &hands{wall: noon}
			c := h.clock()
			h.wall += int64(jump)
			for range 30 {
				h.pass(time.Second)
				if got, want := c.Now(), noon+int64(h.mono); got != want {
					t.Fatalf("after %v the stamp is off by %v", h.mono, time.Duration(got-want))
				}
			}
			h.wall -= int64(jump)
			h.pass(2 * time.Minute)
			if got := c.Now(); got != h.wall {
				t.Errorf("off by %v", time.Duration(got-h.wall))
			}
			if c.Jumps() != 1 {
				t.Errorf("%d jumps were seen", c.Jumps())
			}
		})
		t.Run(name+"IsBelievedAfterAMinute", func(t *testing.T) {
			h := &hands{wall: noon}
			c := h.clock()
			h.wall += int64(jump)
			c.Now()
			h.pass(59 * time.Second)
			if got := c.Now(); got != noon+59*int64(time.Second) {
				t.Errorf("believed after 59 s: off by %v", time.Duration(got-noon))
			}
			h.pass(time.Second)
			if got := c.Now(); got != noon+int64(jump)+minute {
				t.Errorf("not believed after a minute: %v off", time.Duration(got-h.wall))
			}
		})
	}
	t.Run("AClockThatWasNotSetIsCorrectedAtOnce", func(t *testing.T) {
		h := &hands{wall: 17 * int64(time.Second)}
		c := h.clock()
		h.pass(time.Second)
		c.Now()
		h.wall = noon
		if got := c.Now(); got != noon {
			t.Errorf("shows %v", time.Unix(0, got).UTC())
		}
	})
}
