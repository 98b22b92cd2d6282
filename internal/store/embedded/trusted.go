package embedded

import (
	"database/sql/driver"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// trustedClock is the time from which ages count. A wall clock that is wrong must
// not delete what should stay, so the time goes on with a clock that only counts,
// and follows the wall clock forward with care:
//
//   - It never goes back. While the wall clock is behind it stands still, so a clock
//     that was set back deletes nothing until it has caught up, and a Raspberry Pi
//     without RTC deletes nothing before its clock is set.
//   - What the wall clock is ahead, after a stop of the node or a sleep of the
//     machine, is believed up to trustSlack at once. Each hour of running allows a
//     day of that anew.
//   - A wall clock further ahead is not believed: retention is paused, which is
//     logged and a metric. The time then gains a day on the wall clock for each day
//     that the node runs, unless a person says that the clock is right (Confirm).
//
// So from one moment to any later one, starts between them included, it advances by
// at most trustSlack + 25 times the time that the node ran.
type trustedClock struct {
	read func() (wall time.Time, mono time.Duration)
	log  *slog.Logger

	mu      sync.Mutex
	now     int64         // ns UTC; 0: nothing is known yet
	mono    time.Duration // of the last look
	slack   time.Duration // what may be believed at once
	ahead   time.Duration // of a wall clock that is not believed; 0: it is
	warned  bool
	guess   bool // now is from what the store holds, not saved
	changed bool // since it was last saved
}

const (
	trustSlack  = 7 * 24 * time.Hour
	trustRefill = 24 // slack gained for each span of running
)

// clockSet is the time before which a wall clock cannot be set: 2024-01-01.
const clockSet = 1_704_067_200 * int64(time.Second)

func newTrustedClock(read func() (time.Time, time.Duration), log *slog.Logger) *trustedClock {
	if read == nil {
		start := time.Now()
		read = func() (time.Time, time.Duration) {
			now := time.Now()
			return now, now.Sub(start)
		}
	}
	c := &trustedClock{read: read, log: log, slack: trustSlack}
	_, c.mono = read()
	return c
}

// Now looks at the clocks and returns the time, 0 while none can be known.
func (c *trustedClock) Now() int64 {
	wall, mono := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := max(0, mono-c.mono)
	c.mono = mono
	w := wall.UnixNano()
	if w < clockSet {
		return c.now // it is not set
	}
	if c.now == 0 {
		c.now, c.changed = w, true
		return c.now
	}
	if c.guess {
		c.now, c.guess = min(c.now, w), false // it was written while the clock was wrong
	}
	c.slack = min(c.slack+min(passed, trustSlack)*trustRefill, trustSlack)
	switch gap := time.Duration(w - c.now); {
	case gap <= 0:
		c.believe()
	case gap <= passed:
		c.now, c.changed = w, true
		c.believe()
	case gap-passed <= c.slack:
		c.slack -= gap - passed
		c.now, c.changed = w, true
		c.believe()
	default:
		c.now += int64(min(2*passed, gap)) // a day gained for each day
		c.changed = c.changed || passed > 0
		c.ahead = time.Duration(w - c.now)
		c.warn(w)
	}
	return c.now
}

func (c *trustedClock) believe() {
	if c.warned {
		c.log.Info("the wall clock is believed again: retention goes on", "time", stampOf(c.now))
	}
	c.ahead, c.warned = 0, false
}

func (c *trustedClock) warn(wall int64) {
	if c.warned {
		return
	}
	c.warned = true
	c.log.Warn("the wall clock is far ahead of the time that retention knows: little is deleted until they meet",
		"known", stampOf(c.now), "shows", stampOf(wall), "ahead", c.ahead,
		"hint", "if the clock is right, run: weir retention confirm")
}

// Confirm takes the wall clock as right.
func (c *trustedClock) Confirm() int64 {
	wall, _ := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := wall.UnixNano(); w >= clockSet {
		c.now, c.slack, c.changed = max(c.now, w), trustSlack, true
		c.believe()
	}
	return c.now
}

// state is what is saved, and how far ahead the wall clock is where it is not
// believed.
func (c *trustedClock) state() (now int64, slack, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, c.slack, c.ahead
}

// takeChanged reports whether there is something to save.
func (c *trustedClock) takeChanged() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.changed
	c.changed = false
	return was
}

func stampOf(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// The counters that keep the time over a start.
const (
	counterTime  = "retention_time"
	counterSlack = "retention_slack"
)

// saveTime makes the time durable.
func (s *Store) saveTime() error {
	if !s.trusted.takeChanged() {
		return nil
	}
	now, slack, _ := s.trusted.state()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return errClosed("save time")
	}
	return s.w.transaction(func() error {
		if err := s.insertRow(countersTable, nil, []driver.Value{counterTime, now}); err != nil {
			return err
		}
		return s.insertRow(countersTable, nil, []driver.Value{counterSlack, int64(slack)})
	})
}

// saveTimeHourly makes the time durable now and then: what is lost of it by a crash
// makes retention later, never earlier.
func (s *Store) saveTimeHourly() error {
	if time.Since(s.timeSaved) < time.Hour && !s.timeSaved.IsZero() {
		return nil
	}
	s.trusted.Now()
	s.timeSaved = time.Now()
	return s.saveTime()
}

// RetentionTime implements store.Keeper.
func (s *Store) RetentionTime() int64 { return s.trusted.Now() }

// ConfirmTime takes the wall clock as right where retention did not believe it,
// and returns the time that it goes by now.
func (s *Store) ConfirmTime() (int64, error) {
	if err := s.writable("confirm time"); err != nil {
		return 0, err
	}
	now := s.trusted.Confirm()
	if now == 0 {
		return 0, telemetry.Errorf(telemetry.CodeInvalid, "confirm time", "the wall clock is not set: it shows a time before 2024")
	}
	return now, s.saveTime()
}

// restoreTime gives a store that knows no time yet the newest at which anything was
// written: what it holds is no reason to believe the wall clock now.
func (s *Store) restoreTime() error {
	c := s.trusted
	if c.now != 0 {
		return nil
	}
	for _, tn := range *s.tenants.Load() {
		for _, f := range tn.frames {
			c.now = max(c.now, f.created)
		}
		for _, g := range slices.Concat(tn.segs, tn.rollups) {
			c.now = max(c.now, g.created)
		}
		for _, n := range tn.names {
			for _, v := range n.versions {
				c.now = max(c.now, v.record.Recorded)
			}
		}
	}
	if c.guess = true; c.now < clockSet {
		c.now = 0
	}
	return nil
}
