package config

import (
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	at := func(text string) time.Time {
		d, err := time.ParseInLocation("2006-01-02 15:04:05", text, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct{ schedule, last, next string }{
		{"6h", "2026-01-01 10:00:00", "2026-01-01 16:00:00"},
		{"03:30", "2026-01-01 03:29:59", "2026-01-01 03:30:00"},
		{"03:30", "2026-01-01 03:30:00", "2026-01-02 03:30:00"},
		{"00:00", "2026-12-31 23:59:59", "2027-01-01 00:00:00"},
	} {
		s, err := ParseSchedule(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(at(c.last)); !got.Equal(at(c.next)) || s.Never() {
			t.Errorf("%s after %s is %s, want %s", c.schedule, c.last, got, c.next)
		}
	}
	for _, bad := range []string{"25:00", "soon", "10s", "-6h"} {
		if _, err := ParseSchedule(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if s, err := ParseSchedule(""); err != nil || !s.Never() {
		t.Error("an empty schedule is not never")
	}
}
