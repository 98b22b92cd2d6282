package pipeline

import (
	"log/slog"
	"sync"
	"time"
)

// Clock gives the time of receipt: nanoseconds since 1970 UTC that grow with the
// monotonic clock and follow the wall clock with care.
//
//   - While both agree within a second it follows the wall clock; backwards by
//     running at half speed, so that a later message never has an earlier time.
//   - A larger difference is a jump: it is logged at once, and believed only after
//     the wall clock has stood by it for a minute, in either direction. Until then
//     stamps go on as if nothing had happened, so a jump that is taken back leaves
//     no trace.
//   - A node that started with a clock that was not set (before 2024, as a
//     Raspberry Pi without RTC) believes the first set time at once.
//
// So stamps go back only where a wall clock was set back by more than a second and
// kept so for a minute.
type Clock struct {
	read func() (wall int64, mono time.Duration)
	log  *slog.Logger

	mu    sync.Mutex
	base  int64         // the time at mono
	mono  time.Duration // of the last call
	skew  int64         // of a jump that is not believed yet
	since time.Duration // mono, when it was seen
	jump  bool
	jumps uint64
}

const (
	clockSlack  = int64(time.Second)
	clockSettle = time.Minute
)

// clockSet is the time before which a wall clock cannot be set: 2024-01-01.
const clockSet = 1_704_067_200 * int64(time.Second)

// NewClock returns a clock that follows what read returns: the wall clock, and one
// that only goes on. A nil read stands for the machine's; a nil logger is silent.
func NewClock(logger *slog.Logger, read func() (wall int64, mono time.Duration)) *Clock {
	if read == nil {
		start := time.Now()
		read = func() (int64, time.Duration) {
			now := time.Now()
			return now.UnixNano(), now.Sub(start)
		}
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	c := &Clock{read: read, log: logger}
	c.base, c.mono = read()
	return c
}

// Now returns the time of receipt for what came just now.
func (c *Clock) Now() int64 {
	wall, mono := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := max(0, int64(mono-c.mono))
	c.base += passed
	c.mono = mono
	switch skew := wall - c.base; {
	case skew >= 0 && skew <= clockSlack:
		c.base, c.jump = wall, false
	case skew < 0 && skew >= -clockSlack:
		c.base -= min(-skew, passed/2)
		c.jump = false
	case c.base < clockSet && wall >= clockSet:
		c.log.Info("the wall clock was set", "from", stamp(c.base), "to", stamp(wall))
		c.base, c.jump = wall, false
	case !c.jump || abs(skew-c.skew) > clockSlack:
		c.jump, c.skew, c.since = true, skew, mono
		c.jumps++
		c.log.Warn("the wall clock jumped; stamps follow if it stays so for a minute",
			"expected", stamp(c.base), "shows", stamp(wall), "jump", time.Duration(skew))
	case mono-c.since >= clockSettle:
		c.log.Warn("the wall clock kept its jump; stamps follow it now", "from", stamp(c.base), "to", stamp(wall))
		c.base, c.jump = wall, false
	}
	return c.base
}

// Jumps counts the jumps of the wall clock that were seen.
func (c *Clock) Jumps() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jumps
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}
