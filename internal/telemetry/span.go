package telemetry

import (
	"fmt"
	"strings"
	"time"
)

// Span writes a length of time as schema documents and the configuration do: 90d,
// 1d12h, 1m30s. What is below a millisecond is left out.
func Span(d time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if k := d / u.of; k > 0 {
			fmt.Fprintf(&b, "%d%s", k, u.name)
			d -= k * u.of
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
