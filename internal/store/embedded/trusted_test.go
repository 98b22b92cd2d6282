package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fakeClock is a wall clock and one that only goes on.
type fakeClock struct {
	wall time.Time
	mono time.Duration
}

func newFakeClock() *fakeClock { return &fakeClock{wall: time.Unix(0, sampleClock)} }

func (f *fakeClock) read() (time.Time, time.Duration) { return f.wall, f.mono }

// run lets both clocks go on, in steps as a node looks at them.
func (f *fakeClock) run(c *trustedClock, d time.Duration) {
	for d > 0 {
		step := min(d, time.Minute)
		f.wall, f.mono, d = f.wall.Add(step), f.mono+step, d-step
		c.Now()
	}
}

func trusted(f *fakeClock) *trustedClock {
	return newTrustedClock(f.read, slog.New(slog.DiscardHandler))
}

// restart is a stop of the node and a start that knows what was saved.
func restart(f *fakeClock, c *trustedClock) *trustedClock {
	now, slack, _ := c.state()
	f.mono = 0
	next := trusted(f)
	next.now, next.slack = now, slack
	return next
}

const aDay = 24 * time.Hour

func TestTheTrustedClock(t *testing.T) {
	at := func(c *trustedClock, f *fakeClock) time.Duration { return time.Duration(c.Now() - f.wall.UnixNano()) }
	t.Run("FollowsTheWallClock", func(t *testing.T) {
		f := newFakeClock()
		c := trusted(f)
		f.run(c, 3*time.Hour)
		if d := at(c, f); d != 0 {
			t.Errorf("it is %s off", d)
		}
	})
	t.Run("FollowsAfterAStopOfSomeDays", func(t *testing.T) {
		f := newFakeClock()
		c := trusted(f)
		f.run(c, time.Hour)
		f.wall = f.wall.Add(5 * aDay)
		c = restart(f, c)
		if d := at(c, f); d != 0 {
			t.Errorf("it is %s off", d)
		}
	})
	t.Run("FollowsAMachineThatRunsAnHourADay", func(t *testing.T) {
		f := newFakeClock()
		c := trusted(f)
		for range 400 {
			f.run(c, time.Hour)
			f.wall = f.wall.Add(23 * time.Hour)
			c = restart(f, c)
		}
		if d := at(c, f); d != 0 {
			t.Errorf("it is %s off", d)
		}
	})
	t.Run("DoesNotFollowAYearForward", func(t *testing.T) {
		for _, how := range []string{"running", "stopped"} {
			var said bytes.Buffer
			f := newFakeClock()
			c := trusted(f)
			c.log = slog.New(slog.NewTextHandler(&said, nil))
			before := c.Now()
			f.wall = f.wall.Add(365 * aDay)
			if how == "stopped" {
				c = restart(f, c)
				c.log = slog.New(slog.NewTextHandler(&said, nil))
			}
			if now := c.Now(); now != before {
				t.Errorf("%s: it went on by %s at once", how, time.Duration(now-before))
			}
			f.run(c, aDay)
			if gained := time.Duration(c.Now() - before); gained != 2*aDay {
				t.Errorf("%s: it gained %s in a day", how, gained)
			}
			if _, _, ahead := c.state(); ahead != 364*aDay {
				t.Errorf("%s: the wall clock is said to be %s ahead", how, ahead)
			}
			if n := strings.Count(said.String(), "far ahead"); n != 1 {
				t.Errorf("%s: it warned %d times:\n%s", how, n, said.String())
			}
			f.wall = f.wall.Add(-365 * aDay) // somebody sets it right
			f.run(c, 3*aDay)
			if d := at(c, f); d != 0 {
				t.Errorf("%s: it is %s off after the clock was set right", how, d)
			}
		}
	})
	t.Run("DoesNotFollowAYearForwardInALoopOfCrashes", func(t *testing.T) {
		f := newFakeClock()
		c := trusted(f)
		before := c.Now()
		f.wall = f.wall.Add(365 * aDay)
		for range 1000 {
			c = restart(f, c)
			f.run(c, 5*time.Second)
		}
		if gained := time.Duration(c.Now() - before); gained > 10000*time.Second {
			t.Errorf("it gained %s", gained)
		}
	})
	t.Run("StandsStillWhileTheWallClockIsBehind", func(t *testing.T) {
		f := newFakeClock()
		c := trusted(f)
		before := c.Now()
		f.wall = f.wall.Add(-aDay)
		f.run(c, 23*time.Hour)
		if now := c.Now(); now != before {
			t.Errorf("it moved by %s", time.Duration(now-before))
		}
		f.run(c, 2*time.Hour)
		if d := at(c, f); d != 0 {
			t.Errorf("it is %s off", d)
		}
	})
	t.Run("KnowsNoTimeBeforeTheClockIsSet", func(t *testing.T) {
		f := &fakeClock{wall: time.Unix(100, 0)}
		c := trusted(f)
		f.run(c, time.Hour)
		if now := c.Now(); now != 0 {
			t.Errorf("it is %s", stampOf(now))
		}
		f.wall = time.Unix(0, sampleClock)
		if d := at(c, f); d != 0 {
			t.Errorf("it is %s off when the clock was set", d)
		}
	})
	t.Run("BelievesWhoConfirms", func(t *testing.T) {
		f := newFakeClock()
		c := trusted(f)
		c.Now()
		f.wall = f.wall.Add(365 * aDay)
		c.Now()
		c.Confirm()
		if d := at(c, f); d != 0 {
			t.Errorf("it is %s off", d)
		}
		if _, _, ahead := c.state(); ahead != 0 {
			t.Errorf("the wall clock is still said to be %s ahead", ahead)
		}
	})
}

// Whatever the wall clock does, and however often the node starts, the time never
// goes back and advances by at most trustSlack and 25 times the running time.
func TestTheTrustedClockIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFakeClock()
		c := trusted(f)
		began, last, ran := c.Now(), c.Now(), time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				f.wall = f.wall.Add(time.Duration(rapid.IntRange(-400, 400).Draw(t, "hours")) * time.Hour)
			case 1:
				f.wall = f.wall.Add(time.Duration(rapid.IntRange(-800, 800).Draw(t, "days")) * aDay)
			case 2:
				c = restart(f, c)
			default:
				d := time.Duration(rapid.IntRange(0, 3000).Draw(t, "minutes")) * time.Minute
				f.wall, f.mono = f.wall.Add(d), f.mono+d
				ran += d
			}
			now := c.Now()
			if now < last {
				t.Fatalf("it went back by %s", time.Duration(last-now))
			}
			last = now
			if gained := time.Duration(now - began); gained > trustSlack+25*ran {
				t.Fatalf("it advanced by %s in %s of running", gained, ran)
			}
		}
	})
}
