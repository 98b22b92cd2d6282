package schema

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var durationUnits = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// duration reads a span as 60s, 1h30m or 90d; least is the shortest allowed.
func (r *documentReader) duration(n *docNode, path string, least time.Duration) time.Duration {
	if n == nil {
		return 0
	}
	d, ok := parseDuration(n.text)
	if !ok || n.kind != docString {
		r.problem(n, path, fmt.Sprintf("%q is not a span of time", n.text), "a number with ms, s, m, h, d or w, as 60s or 1h30m")
		return 0
	}
	if d < least {
		r.problem(n, path, fmt.Sprintf("must be at least %s", least), "")
		return 0
	}
	return d
}

func parseDuration(s string) (time.Duration, bool) {
	var total time.Duration
	if s == "" {
		return 0, false
	}
	for s != "" {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		count, err := strconv.ParseInt(s[:digits], 10, 64)
		if err != nil {
			return 0, false
		}
		s = s[digits:]
		end := strings.IndexAny(s, "0123456789")
		if end < 0 {
			end = len(s)
		}
		unit, ok := durationUnits[s[:end]]
		if !ok || count > int64(math.MaxInt64/unit) || total > math.MaxInt64-time.Duration(count)*unit {
			return 0, false
		}
		total += time.Duration(count) * unit
		s = s[end:]
	}
	return total, true
}

// suggest names the known word that a wrong one was probably meant to be.
func suggest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// distance is how many edits part two words: insert, delete, replace, or swap of
// neighbours.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	two, one := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := b2i(a[i-1] != b[j-1])
			row[j] = min(row[j-1]+1, one[j]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one = one, row
	}
	return one[len(b)]
}
