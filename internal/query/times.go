package query

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// timeLen is the length of a time as text: RFC 3339 in UTC with nine digits of
// the second, always. So the order of texts is the order of times.
const timeLen = len("2006-01-02T15:04:05.000000000Z")

// appendTime appends a time in its text form.
func appendTime(dst []byte, ns int64) []byte {
	sec := floorDiv(ns, 1e9)
	frac := ns - sec*1e9
	dst = appendSecond(dst, sec)
	var f [11]byte
	f[0] = '.'
	for i := 9; i >= 1; i-- {
		f[i] = byte('0' + frac%10)
		frac /= 10
	}
	f[10] = 'Z'
	return append(dst, f[:]...)
}

// appendBucket appends the start of a bucket: without a fraction where it
// begins on a whole second.
func appendBucket(dst []byte, ns int64, whole bool) []byte {
	if !whole {
		return appendTime(dst, ns)
	}
	return append(appendSecond(dst, floorDiv(ns, 1e9)), 'Z')
}

// appendSecond appends "2006-01-02T15:04:05".
func appendSecond(dst []byte, sec int64) []byte {
	days := floorDiv(sec, 86400)
	s := int(sec - days*86400)
	y, m, d := civil(days)
	n := len(dst)
	dst = append(dst, "0000-00-00T00:00:00"...)
	b := dst[n:]
	b[0], b[1], b[2], b[3] = byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10)
	put2(b[5:], m)
	put2(b[8:], d)
	put2(b[11:], s/3600)
	put2(b[14:], s/60%60)
	put2(b[17:], s%60)
	return dst
}

// dayText remembers the text of a day: times that follow each other mostly are of
// one, and its date costs more than the rest.
type dayText struct {
	begin int64 // second that the day begins with
	text  [len("2006-01-02T")]byte
	known bool
}

// appendTime is appendBucket.
func (d *dayText) appendTime(dst []byte, ns int64, whole bool) []byte {
	sec := floorDiv(ns, 1e9)
	s := sec - d.begin
	if !d.known || s < 0 || s >= 86400 {
		days := floorDiv(sec, 86400)
		d.begin, d.known = days*86400, true
		var buf [timeLen]byte
		copy(d.text[:], appendSecond(buf[:0], d.begin))
		s = sec - d.begin
	}
	n := len(dst)
	dst = append(append(dst, d.text[:]...), "00:00:00"...)
	b, clock := dst[n+len(d.text):], int(s)
	put2(b, clock/3600)
	put2(b[3:], clock/60%60)
	put2(b[6:], clock%60)
	if whole {
		return append(dst, 'Z')
	}
	frac := int(ns - sec*1e9)
	var f [11]byte
	f[0], f[10] = '.', 'Z'
	for i := 9; i >= 1; i-- {
		f[i] = byte('0' + frac%10)
		frac /= 10
	}
	return append(dst, f[:]...)
}

func put2(b []byte, n int) { b[0], b[1] = byte('0'+n/10), byte('0'+n%10) }

// civil converts days since 1970-01-01 to a date of the Gregorian calendar.
// The years of int64 nanoseconds are 1677 to 2262.
func civil(days int64) (y, m, d int) {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = int(doy - (153*mp+2)/5 + 1)
	m = int(mp + 3)
	if m > 12 {
		m -= 12
	}
	y = int(yoe + era*400)
	if m <= 2 {
		y++
	}
	return y, m, d
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// timeLayouts are the forms in which a time may be written in a comparison with
// a time column. A time without a zone is UTC.
var timeLayouts = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04Z07:00", "2006-01-02 15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
}

// parseTime reads a time written in one of timeLayouts, in nanoseconds.
// Times that int64 cannot hold are clamped to its ends.
func parseTime(s string) (int64, bool) {
	if len(s) < 10 || len(s) > 40 || !isDigit(s[0]) || s[4] != '-' {
		return 0, false
	}
	for _, l := range timeLayouts {
		t, err := time.Parse(l, s)
		if err != nil {
			continue
		}
		switch sec := t.Unix(); {
		case sec < minSecond:
			return minTime, true
		case sec >= maxSecond:
			return maxTime, true
		}
		return t.UnixNano(), true
	}
	return 0, false
}

const (
	minTime   = -1 << 63
	maxTime   = 1<<63 - 1
	minSecond = minTime / 1_000_000_000
	maxSecond = maxTime / 1_000_000_000
)

// canonicalTime rewrites a text that names a time to the form of time columns;
// other texts stay.
func canonicalTime(s string) string {
	if ns, ok := parseTime(s); ok {
		return string(appendTime(nil, ns))
	}
	return s
}

// width is the length of a bucket: nanoseconds, or calendar months.
type width struct {
	ns     int64
	months int64
}

func (w width) wholeSeconds() bool { return w.months > 0 || w.ns%1e9 == 0 }

// parseWidth reads a duration as 90s, 5m, 1h30m, 1d, 2w, 1mo or 1y.
func parseWidth(s string) (width, error) {
	var w width
	rest := strings.TrimSpace(s)
	if rest == "" {
		return w, badWidth(s)
	}
	for rest != "" {
		i := 0
		for i < len(rest) && (isDigit(rest[i]) || rest[i] == '.') {
			i++
		}
		j := i
		for j < len(rest) && !isDigit(rest[j]) {
			j++
		}
		n, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil || n < 0 {
			return w, badWidth(s)
		}
		unit, ok := widthUnits[strings.TrimSpace(rest[i:j])]
		if !ok {
			return w, badWidth(s)
		}
		if unit.months > 0 {
			if n != float64(int64(n)) || n > 12000 {
				return w, badWidth(s)
			}
			w.months += unit.months * int64(n)
		} else {
			add := n * float64(unit.ns)
			if add > 9e18 || w.ns+int64(add) < 0 {
				return w, badWidth(s)
			}
			if n == float64(int64(n)) {
				w.ns += int64(n) * unit.ns
			} else {
				w.ns += int64(add)
			}
		}
		rest = rest[j:]
	}
	if w.ns == 0 && w.months == 0 || w.ns != 0 && w.months != 0 {
		return w, badWidth(s)
	}
	return w, nil
}

var widthUnits = map[string]width{
	"ns": {ns: 1}, "us": {ns: 1e3}, "µs": {ns: 1e3}, "ms": {ns: 1e6}, "s": {ns: 1e9}, "m": {ns: 60e9}, "min": {ns: 60e9},
	"h": {ns: 3600e9}, "d": {ns: 86400e9}, "w": {ns: 7 * 86400e9}, "mo": {months: 1}, "y": {months: 12},
}

func badWidth(s string) error {
	return telemetry.Errorf(telemetry.CodeInvalid, "run query", "%q is no duration", s).
		WithHint("write it as '90s', '5m', '1h', '1d', '1w', '1mo' or '1y'")
}

// ago returns the time that lies d before now.
func ago(now int64, d string) (int64, error) {
	w, err := parseWidth(d)
	if err != nil {
		return 0, err
	}
	if w.months > 0 {
		return time.Unix(0, now).UTC().AddDate(0, -int(w.months), 0).UnixNano(), nil
	}
	if now < minTime+w.ns {
		return minTime, nil
	}
	return now - w.ns, nil
}

// bucketer cuts time into buckets. Buckets of a fixed length count from
// 1970-01-01T00:00:00, weeks from a Monday; with a zone they count in its local time, so that
// a day is 23 or 25 hours long where clocks change. Buckets shorter than a day
// always have their length.
type bucketer struct {
	w    width
	zone *time.Location // nil: UTC
}

// monday is the first Monday after the epoch, where weeks begin.
const monday = 4 * 86400e9

// newBucketer reads the arguments of bucket().
func newBucketer(w, zone string) (*bucketer, error) {
	b := &bucketer{}
	var err error
	if b.w, err = parseWidth(w); err != nil {
		return nil, err
	}
	if zone != "" && zone != "UTC" {
		if b.zone, err = loadZone(zone); err != nil {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "run query", "%q is no time zone", zone).
				WithHint("write it as in the IANA database, for example 'Europe/Berlin'")
		}
	}
	return b, nil
}

var zones sync.Map // name -> *time.Location

func loadZone(name string) (*time.Location, error) {
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location), nil
	}
	z, err := time.LoadLocation(name)
	if err == nil {
		zones.Store(name, z)
	}
	return z, err
}

// bounds returns the bucket that holds t: its start, and the start of the next.
func (b *bucketer) bounds(t int64) (lo, hi int64) {
	if b.w.months > 0 {
		return b.monthBounds(t)
	}
	if b.zone == nil {
		return fixedBounds(t, b.w.ns)
	}
	if b.w.ns < 86400e9 {
		// Within a stretch of constant offset the buckets follow local time.
		at := time.Unix(0, t).In(b.zone)
		_, off := at.Zone()
		shift := int64(off) * 1e9
		lo, hi = fixedBounds(t+shift, b.w.ns)
		lo, hi = lo-shift, hi-shift
		from, to := at.ZoneBounds()
		if !from.IsZero() && from.Unix() > minSecond && from.UnixNano() > lo {
			lo = from.UnixNano()
		}
		if !to.IsZero() && to.Unix() < maxSecond && to.UnixNano() < hi {
			hi = to.UnixNano()
		}
		return lo, hi
	}
	local := time.Unix(0, t).In(b.zone)
	_, off := local.Zone()
	wallLo, wallHi := fixedBounds(t+int64(off)*1e9, b.w.ns)
	return b.instant(wallLo), b.instant(wallHi)
}

// instant returns when the clocks of the zone show the given wall time.
func (b *bucketer) instant(wall int64) int64 {
	u := time.Unix(0, wall).UTC()
	return time.Date(u.Year(), u.Month(), u.Day(), u.Hour(), u.Minute(), u.Second(), u.Nanosecond(), b.zone).UnixNano()
}

func (b *bucketer) monthBounds(t int64) (lo, hi int64) {
	zone := b.zone
	if zone == nil {
		zone = time.UTC
	}
	at := time.Unix(0, t).In(zone)
	month := int64(at.Year())*12 + int64(at.Month()) - 1
	first := floorDiv(month, b.w.months) * b.w.months
	return monthStart(first, zone), monthStart(first+b.w.months, zone)
}

func monthStart(month int64, zone *time.Location) int64 {
	t := time.Date(int(floorDiv(month, 12)), time.Month(month-floorDiv(month, 12)*12+1), 1, 0, 0, 0, 0, zone)
	switch {
	case t.Unix() <= minSecond:
		return minTime
	case t.Unix() >= maxSecond:
		return maxTime
	}
	return t.UnixNano()
}

func fixedBounds(t, w int64) (lo, hi int64) {
	base := int64(0)
	if w%(7*86400e9) == 0 {
		base = monday
	}
	if t < minTime+base {
		return minTime, minTime + base
	}
	q := floorDiv(t-base, w)
	lo = q*w + base
	if lo > t { // q*w fell below int64
		lo = minTime
	}
	if lo > maxTime-w {
		return lo, maxTime
	}
	return lo, lo + w
}

// bucketValue is bucket(width, time[, zone]) of values.
func bucketValue(a []Value) (Value, error) {
	for _, v := range a {
		if v.IsNull() {
			return Value{}, nil
		}
	}
	zone := ""
	if len(a) == 3 {
		zone = a[2].String()
	}
	b, err := newBucketer(a[0].String(), zone)
	if err != nil {
		return Value{}, err
	}
	t, ok := parseTime(a[1].String())
	if !ok {
		return Value{}, nil
	}
	lo, _ := b.bounds(t)
	return TextValue(string(appendBucket(nil, lo, b.w.wholeSeconds()))), nil
}
