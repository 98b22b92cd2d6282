package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as "64MB". Zero with Auto set means that
// the node chooses.
type Size struct {
	Bytes int64
	Auto  bool
}

// Duration is a length of time, written as "2ms", "90s" or "7d". Zero with Auto
// set means that the node chooses.
type Duration struct {
	D    time.Duration
	Auto bool
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"b", 1},
	{"", 1},
	{"k", 1 << 10},
	{"kb", 1 << 10},
	{"kib", 1 << 10},
	{"m", 1 << 20},
	{"mb", 1 << 20},
	{"mib", 1 << 20},
	{"g", 1 << 30},
	{"gb", 1 << 30},
	{"gib", 1 << 30},
	{"t", 1 << 40},
	{"tb", 1 << 40},
	{"tib", 1 << 40},
}

// ParseSize reads a size. Units are powers of 1024, with or without an i, in
// either case: memory is bought that way, and nobody wants 64MB to differ from
// 64MiB by surprise.
func ParseSize(text string) (int64, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	split := len(s)
	for split > 0 && (s[split-1] < '0' || s[split-1] > '9') && s[split-1] != '.' {
		split--
	}
	number, unit := strings.TrimSpace(s[:split]), strings.TrimSpace(s[split:])
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value < 0 || math.IsInf(value, 0) || math.IsNaN(value) {
		return 0, fmt.Errorf("%q is not a size; write it as 512KB, 64MB or 2GB", text)
	}
	for _, u := range sizeUnits {
		if u.name == unit {
			bytes := value * float64(u.bytes)
			if bytes > math.MaxInt64/2 {
				return 0, fmt.Errorf("%q is more than any machine has", text)
			}
			return int64(math.Round(bytes)), nil
		}
	}
	return 0, fmt.Errorf("%q has the unknown unit %q; write it as 512KB, 64MB or 2GB", text, unit)
}

func (s Size) String() string {
	if s.Auto {
		return "auto"
	}
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}} {
		if s.Bytes >= u.bytes && s.Bytes%u.bytes == 0 {
			return strconv.FormatInt(s.Bytes/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(s.Bytes, 10) + "B"
}

// ParseDuration reads what time.ParseDuration reads, and days and weeks ("7d",
// "2w", "1d12h"), with spaces allowed.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration; write it as 2ms, 90s, 12h or 7d", text)
	s := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), " ", ""))
	if s == "0" {
		return 0, nil
	}
	var total float64
	rest := s
	for {
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 || (rest[end] != 'd' && rest[end] != 'w') {
			break
		}
		value, err := strconv.ParseFloat(rest[:end], 64)
		if err != nil {
			return 0, bad
		}
		unit := 24 * time.Hour
		if rest[end] == 'w' {
			unit *= 7
		}
		total += value * float64(unit)
		rest = rest[end+1:]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			if _, number := strconv.ParseFloat(rest, 64); number == nil {
				return 0, fmt.Errorf("%q has no unit; write it as 2ms, 90s, 12h or 7d", text)
			}
			return 0, bad
		}
		total += float64(d)
	} else if s == "" {
		return 0, bad
	}
	if total < 0 || total > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is out of range", text)
	}
	return time.Duration(total), nil
}

func (d Duration) String() string {
	if d.Auto {
		return "auto"
	}
	const day = 24 * time.Hour
	if d.D >= day && d.D%day == 0 {
		return strconv.FormatInt(int64(d.D/day), 10) + "d"
	}
	s := d.D.String() // as 1h0m0s: the zeros say nothing
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}
