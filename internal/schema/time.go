package schema

import (
	"math"
	"math/bits"
	"time"
	_ "time/tzdata" // "local:Zone" works where the system has no zones, as on Windows
)

// timeFormat is how the time of a reading is written.
type timeFormat uint8

const (
	timeNone timeFormat = iota
	timeUnixS
	timeUnixMS
	timeUnixUS
	timeUnixNS
	timeRFC3339
	timeLocal
)

// timeScale is the power of ten from the unit to nanoseconds.
var timeScale = [...]int{timeUnixS: 9, timeUnixMS: 6, timeUnixUS: 3, timeUnixNS: 0}

// The range of readings' times: 1678-01-01 to 2262-01-01, which int64 nanoseconds
// hold with room for a clock's offset and a bucket's edge.
const (
	minTime = -9214560000 * int64(time.Second)
	maxTime = 9214646400 * int64(time.Second)
)

// numericTime turns a scanned number of the unit into nanoseconds. What is below
// a nanosecond is cut off, towards the past.
func numericTime(as timeFormat, mant uint64, exp int, flags uint) (int64, bool) {
	if as == timeNone || as > timeUnixNS {
		return 0, false
	}
	exp += timeScale[as]
	cut := flags&numTrunc != 0
	for ; exp < 0 && mant != 0; exp++ {
		cut = cut || mant%10 != 0
		mant /= 10
	}
	if exp > 0 && mant != 0 {
		if exp > 19 {
			return 0, false
		}
		hi, lo := bits.Mul64(mant, pow10u[exp])
		if hi != 0 {
			return 0, false
		}
		mant = lo
	}
	if mant > math.MaxInt64 {
		return 0, false
	}
	t := int64(mant)
	if flags&numNeg != 0 {
		t = -t
		if cut {
			t--
		}
	}
	return t, t >= minTime && t < maxTime
}

// readTime reads the time of a reading from its value.
func (p *Plan) readTime(s *scalar) (int64, bool) {
	switch {
	case s.kind == typeNumber:
		return numericTime(p.timeAs, s.mant, s.exp, s.flags)
	case s.kind != typeString:
		return 0, false
	case p.timeAs == timeRFC3339:
		return parseDateTime(s.text, nil)
	case p.timeAs == timeLocal:
		return parseDateTime(s.text, p.zone)
	}
	return 0, false
}

// parseDateTime reads an RFC 3339 time, or, with a zone, the same without an
// offset. Date and time may be parted by a space (RFC 3339 section 5.6, note).
// A leap second counts as the second after it.
func parseDateTime(s []byte, zone *time.Location) (int64, bool) {
	if len(s) < 19 || s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	if c := s[10]; c != 'T' && c != 't' && c != ' ' {
		return 0, false
	}
	year := int64(twoDigits(s[0:]))*100 + int64(twoDigits(s[2:]))
	month, day := twoDigits(s[5:]), twoDigits(s[8:])
	hour, minute, sec := twoDigits(s[11:]), twoDigits(s[14:]), twoDigits(s[17:])
	if twoDigits(s[0:]) < 0 || twoDigits(s[2:]) < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		uint(hour) > 23 || uint(minute) > 59 || uint(sec) > 60 {
		return 0, false
	}
	i := 19
	nanos, scale := int64(0), int64(100_000_000)
	if i < len(s) && (s[i] == '.' || zone != nil && s[i] == ',') {
		start := i + 1
		for i++; i < len(s) && isDigit(s[i]); i++ {
			nanos += int64(s[i]-'0') * scale
			scale /= 10
		}
		if i == start {
			return 0, false
		}
	}
	secs := daysSinceEpoch(year, month, day)*86400 + int64(hour)*3600 + int64(minute)*60 + int64(sec)
	switch {
	case zone != nil:
		if i != len(s) || year < 1678 || year > 2261 {
			return 0, false
		}
		secs = localToUTC(secs, zone)
	case i < len(s) && s[i]|0x20 == 'z' && i+1 == len(s):
	case i+6 == len(s) && (s[i] == '+' || s[i] == '-') && s[i+3] == ':':
		h, m := twoDigits(s[i+1:]), twoDigits(s[i+4:])
		if uint(h) > 23 || uint(m) > 59 {
			return 0, false
		}
		offset := int64(h*3600 + m*60)
		if s[i] == '-' {
			offset = -offset
		}
		secs -= offset
	default:
		return 0, false
	}
	if secs < minTime/1e9 || secs >= maxTime/1e9 {
		return 0, false
	}
	return secs*1e9 + nanos, true
}

// twoDigits is the number of two digits, or a negative number.
func twoDigits(s []byte) int {
	a, b := int(s[0])-'0', int(s[1])-'0'
	if uint(a) > 9 || uint(b) > 9 {
		return -1
	}
	return a*10 + b
}

func daysIn(year int64, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSinceEpoch counts the days of the Gregorian calendar from 1970-01-01.
func daysSinceEpoch(year int64, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	// Years begin in March, so that the leap day is their last.
	return 365*year + year/4 - year/100 + year/400 + int64((153*(month-3)+2)/5+day-1) - 719468
}

// localToUTC turns seconds of a local clock into seconds since 1970 UTC. An hour
// that a clock shows twice is the first of the two; an hour that it skips counts
// on from before it, as a clock that was not yet set would.
func localToUTC(local int64, zone *time.Location) int64 {
	before := offsetAt(local-86400, zone)
	after := offsetAt(local+86400, zone)
	if before == after || offsetAt(local-before, zone) == before {
		return local - before
	}
	if offsetAt(local-after, zone) == after {
		return local - after
	}
	return local - before
}

func offsetAt(unix int64, zone *time.Location) int64 {
	_, offset := time.Unix(unix, 0).In(zone).Zone()
	return int64(offset)
}
