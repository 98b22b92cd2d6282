package command

import (
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestWhatIsWrongIsSaidOnce(t *testing.T) {
	for _, c := range []struct {
		r    control.Record
		want string
	}{
		{control.Record{Detail: "a string has no end, at byte 45", Offset: 45}, "a string has no end, at byte 45"},
		{control.Record{Detail: "a string has no end, at byte 45", Offset: 4}, "a string has no end, at byte 45, byte 4"},
		{control.Record{Detail: "-1 is below the minimum 0", Pointer: "/seq", Offset: 7}, "-1 is below the minimum 0 at /seq, byte 7"},
		{control.Record{Detail: "no schema", Offset: -1}, "no schema"},
		{control.Record{Detail: "\x1b[2J", Offset: -1}, `\x1b[2J`},
	} {
		if got := what(&c.r); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestSinceIsATimeOrAnAge(t *testing.T) {
	now := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"2h":                   now.Add(-2 * time.Hour),
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := ParseSince("--since", text, now, time.ParseDuration); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if _, err := ParseSince("--since", "soon", now, time.ParseDuration); telemetry.CodeOf(err) != telemetry.CodeInvalid {
		t.Errorf("soon: %v", err)
	}
}
