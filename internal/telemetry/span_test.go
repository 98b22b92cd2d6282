package telemetry

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Microsecond: "0s", 90 * 24 * time.Hour: "90d", 36 * time.Hour: "1d12h", 90 * time.Second: "1m30s", 2*time.Hour + time.Millisecond: "2h1ms",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s becomes %q, want %q", d, got, want)
		}
	}
}
