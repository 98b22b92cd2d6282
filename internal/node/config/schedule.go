package config

import (
	"fmt"
	"time"
)

// Schedule says when something is done again.
type Schedule struct {
	every time.Duration // 0: daily
	at    time.Duration // since midnight
}

// ParseSchedule reads an interval, as 6h or 7d, or a time of day in the machine's
// zone, as 03:30. "" is never.
func ParseSchedule(text string) (Schedule, error) {
	if text == "" {
		return Schedule{}, nil
	}
	if t, err := time.Parse("15:04", text); err == nil {
		return Schedule{at: time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + 1}, nil
	}
	d, err := ParseDuration(text)
	if err != nil {
		return Schedule{}, fmt.Errorf("%q is neither an interval, as 6h, nor a time of day, as 03:30", text)
	}
	if d < time.Minute {
		return Schedule{}, fmt.Errorf("%q is less than a minute", text)
	}
	return Schedule{every: d}, nil
}

// Never reports whether nothing is to be done.
func (s Schedule) Never() bool { return s == Schedule{} }

// Next returns when it is due after it was done last. The zero time is due at
// once.
func (s Schedule) Next(last time.Time) time.Time {
	if last.IsZero() || s.every > 0 {
		return last.Add(s.every)
	}
	l := last.Local()
	for day := 0; ; day++ {
		t := time.Date(l.Year(), l.Month(), l.Day()+day, 0, int(s.at/time.Minute), 0, 0, time.Local)
		if t.After(last) {
			return t
		}
	}
}
