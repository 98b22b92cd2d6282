package schema

import (
	"hash/maphash"
	"math"
	"math/bits"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Limits of a payload.
const (
	// MaxDepth is how deep lists and objects may be nested.
	MaxDepth = 64
	// MaxRows is how many readings one payload may hold.
	MaxRows = 65_536
)

// Checker holds the scratch memory of one goroutine that checks payloads.
type Checker struct {
	plan  *Plan
	p     []byte
	depth int

	// Where values go: the row, or what is outside of the rows.
	values []telemetry.Value
	tags   []TagValue
	filled uint64 // of the first 64 columns
	time   int64
	timed  bool
	whens  int

	deferred Failure // valid by the schema, but not to be stored
	fail     Failure

	rows       []Row
	valueArena []telemetry.Value
	tagArena   []TagValue
	rest       []byte // members that the schema does not name, each as "name":value,
	rowRest    []byte // the same of the element of a list of readings
	arena      []byte // text of strings with escapes, and of _rest
	names      []seenName
	seed       maphash.Seed
	wide       []uint64 // which properties beyond the 64th were seen
	large      bool     // the payload before was larger than maxScratch
}

// trim gives back the scratch memory of a large payload.
func (c *Checker) trim() {
	c.rows, c.valueArena, c.tagArena = nil, nil, nil
	c.rest, c.rowRest, c.arena, c.names, c.wide = nil, nil, nil, nil, nil
}

// seenName is a name that the plan does not know, kept to find it twice.
type seenName struct {
	hash       uint64
	start, end int // in the payload, between the quotes
}

// NewChecker returns a Checker for the use of one goroutine at a time.
func NewChecker() *Checker { return &Checker{seed: maphash.MakeSeed()} }

// Row is one reading that was extracted from a payload.
type Row struct {
	Time    int64 // ns UTC
	HasTime bool  // false: the time of the reading is that of its receipt
	Tags    []TagValue
	Values  []telemetry.Value // parallel to Table().Columns
}

// TagValue is one tag from the payload.
type TagValue struct {
	Text []byte
	Null bool
}

// maxScratch is the size of a payload above which a Checker gives back the
// scratch memory that it needed.
const maxScratch = 1 << 16

// Check tries the route's plans in order; the first that accepts wins. It does
// not allocate on success, nor on the ordinary failure of a plan without slow
// keywords. A payload without rows, an empty list, gives no rows and no failure.
//
// Rows and the failure are valid until the next Check, and as long as the
// payload does not change. The failure is that of the newest plan whose `when`
// the payload meets; where it meets none, the reason is ReasonUnmatched and
// there is no plan.
func (c *Checker) Check(r *Route, payload []byte) (plan *Plan, rows []Row, fail *Failure) {
	p := r.Plans[0]
	if c.run(p, payload) {
		return p, c.rows, nil
	}
	if len(r.Plans) == 1 && p.whens == 0 {
		return nil, nil, &c.fail
	}
	return c.checkOthers(r, payload)
}

// checkOthers goes on after the first plan of a route refused the payload.
func (c *Checker) checkOthers(r *Route, payload []byte) (plan *Plan, rows []Row, fail *Failure) {
	var first Failure
	for i, p := range r.Plans {
		if i > 0 && c.run(p, payload) {
			return p, c.rows, nil
		}
		if first.kind == failNone && c.fail.kind != failWhen && (c.fail.Reason == telemetry.ReasonMalformed || p.meetsWhen(payload)) {
			first = c.fail
		}
	}
	if first.kind == failNone {
		first = Failure{Reason: telemetry.ReasonUnmatched, Offset: -1, kind: failNoWhen, payload: payload}
	}
	c.fail = first
	return nil, nil, &c.fail
}

// run checks a payload by one plan and leaves its rows, or why it has none. What
// is no JSON is malformed, also where the schema refuses what stands before: so
// the reason does not depend on who decides, the plan or the library.
func (c *Checker) run(p *Plan, payload []byte) bool {
	if c.walk(p, payload) {
		return true
	}
	return c.refuse(p, payload)
}

// refuse decides between malformed and invalid, and returns false.
func (c *Checker) refuse(p *Plan, payload []byte) bool {
	if p.format == formatJSON && c.fail.kind != failLibrary && c.fail.Reason == telemetry.ReasonInvalid {
		refused := c.fail
		c.depth, c.names = 0, c.names[:0]
		if end := c.skip(skipSpace(payload, 0)); end < 0 {
			return false
		} else if end = skipSpace(payload, end); end < len(payload) {
			c.syntax(failTrailing, end)
			return false
		}
		c.fail = refused
	}
	return false
}

// walk goes through the payload once.
func (c *Checker) walk(p *Plan, payload []byte) bool {
	if c.large {
		c.trim()
	}
	c.large = len(payload) > maxScratch
	c.plan, c.p = p, payload
	c.depth, c.filled, c.whens, c.timed = 0, 0, 0, false
	c.fail.kind, c.deferred.kind = failNone, failNone
	c.arena, c.rest, c.names, c.wide = c.arena[:0], c.rest[:0], c.names[:0], c.wide[:0]
	n := len(p.table.Columns)
	if cap(c.valueArena) < n || cap(c.tagArena) < p.payloadTags || cap(c.rows) == 0 {
		c.valueArena = make([]telemetry.Value, n, n+8)
		c.tagArena = make([]TagValue, p.payloadTags, p.payloadTags+8)
		c.rows = make([]Row, 1)
	}
	c.values, c.tags = c.valueArena[:n], c.tagArena[:p.payloadTags]
	for i := range c.tags {
		c.tags[i] = TagValue{Null: true}
	}
	if p.prefill {
		c.nullRow()
	}
	if p.rowSlots != nil {
		c.rows, c.valueArena, c.tagArena = c.rows[:0], c.valueArena[:n], c.tagArena[:p.payloadTags]
	}

	var end int
	switch p.format {
	case formatJSON:
		pos := 0
		if len(payload) > 0 && isSpace(payload[0]) {
			pos = skipSpace(payload, 0)
		}
		if end = c.value(p.root, pos); end < 0 {
			return false
		}
		if end != len(payload) {
			if end = skipSpace(payload, end); end != len(payload) {
				c.syntax(failTrailing, end)
				return false
			}
		}
	case formatValue:
		if !c.bareValue(p.root) {
			return false
		}
	default:
		if !c.bareText(p.root) {
			return false
		}
	}
	if c.whens != p.whens {
		c.failAt(failWhen, nil, -1)
		return false
	}
	if p.library != nil && !c.checkLibrary() {
		return false
	}
	if p.timeAs != timeNone && p.rowSlots == nil && !c.timed {
		c.deferAt(failNoTime, nil, -1)
	}
	if p.rowSlots != nil {
		return c.endRows()
	}
	if c.deferred.kind != failNone {
		c.fail = c.deferred
		return false
	}
	if !p.prefill {
		for left := p.slotMask &^ c.filled; left != 0; left &= left - 1 {
			c.values[bits.TrailingZeros64(left)] = telemetry.Value{Null: true}
		}
	}
	if p.restSlot >= 0 {
		if v := &c.values[p.restSlot]; len(c.rest) > 0 || !v.Null || v.Text != nil {
			*v = c.restValue(c.rest)
		}
	}
	c.rows = c.rows[:1]
	row := &c.rows[0]
	row.Time, row.HasTime, row.Tags, row.Values = c.time, c.timed, c.tags, c.values
	return true
}

// nullRow makes every value of the current row null.
func (c *Checker) nullRow() {
	for i := range c.values {
		c.values[i] = telemetry.Value{Null: true}
	}
}

// restValue is the _rest column of members that stand in buf as `"a":1,`.
func (c *Checker) restValue(buf []byte) telemetry.Value {
	if len(buf) == 0 {
		return telemetry.Value{Null: true}
	}
	start := len(c.arena)
	c.arena = append(c.arena, '{')
	c.arena = append(c.arena, buf[:len(buf)-1]...)
	c.arena = append(c.arena, '}')
	return telemetry.Value{Text: c.arena[start:len(c.arena):len(c.arena)]}
}

// value parses, checks and takes the value at pos, and returns where it ends;
// -1 is a failure.
func (c *Checker) value(n *node, pos int) int {
	if uint(pos) >= uint(len(c.p)) {
		return c.syntax(failEnd, len(c.p))
	}
	if n == nil {
		return c.skip(pos)
	}
	switch ch := c.p[pos]; ch {
	case '{':
		return c.objectValue(n, pos)
	case '"':
		return c.str(n, pos)
	case '[':
		return c.array(n, pos)
	case 't', 'f', 'n':
		return c.word(n, pos)
	default:
		return c.number(n, pos)
	}
}

// number takes the number at pos.
func (c *Checker) number(n *node, pos int) int {
	p := c.p
	mant, exp, end, flags := scanNumber(p, pos)
	if flags&numBad != 0 {
		return c.badValue(pos, end)
	}
	if n.floats {
		// What most values are: a float column, with or without bounds.
		var f float64
		if mant < 1<<53 && exp <= 0 && exp >= -22 && flags&numTrunc == 0 {
			if f = float64(mant); exp != 0 {
				f /= pow10f[-exp]
			}
			if flags != 0 {
				f = -f
			}
		} else {
			f = toFloat(mant, exp, flags, p[pos:end])
		}
		if !(f > n.low && f < n.high) {
			if !n.inBounds(f, mant, flags, p[pos:end]) {
				return c.failBounds(n, pos)
			}
			if math.IsInf(f, 0) {
				c.deferAt(failOverflow, n, pos)
				return end
			}
		}
		v := &c.values[n.slot]
		v.Null = false
		v.Bits = math.Float64bits(f)
		c.filled |= 1 << (uint(n.slot) & 63)
		return end
	}
	if n.ints && exp == 0 && flags&numTrunc == 0 && mant < 1<<53 {
		// An int column: within 2^53 the bounds compare as floats do.
		i := int64(mant)
		if flags != 0 {
			i = -i
		}
		if f := float64(i); !(f > n.low && f < n.high) && !n.inBounds(f, mant, flags, p[pos:end]) {
			return c.failBounds(n, pos)
		}
		v := &c.values[n.slot]
		v.Null = false
		v.Bits = uint64(i)
		c.filled |= 1 << (uint(n.slot) & 63)
		return end
	}
	if n.types&typeNumber != typeNumber && n.checks&checkNullNumbers == 0 && !n.takesNumber(mant, exp, flags, p[pos:end]) {
		return c.failAt(failType, n, pos)
	}
	if n.checks&checkNumbers != 0 {
		if n.checks&checkNullNumbers != 0 {
			if matchNumber(n.nulls, p[pos:end], mant, exp, flags) {
				return c.takeNull(n, pos, end)
			}
			if !n.takesNumber(mant, exp, flags, p[pos:end]) {
				return c.failAt(failType, n, pos)
			}
		}
		if !c.numberChecks(n, mant, exp, flags, pos, end) {
			return -1
		}
	}
	switch n.use {
	case useNone:
		return end
	case useTime:
		if t, ok := numericTime(c.plan.timeAs, mant, exp, flags); ok {
			c.time, c.timed = t, true
		} else {
			c.deferAt(failTime, n, pos)
		}
		return end
	}
	s := scalar{kind: typeNumber, mant: mant, exp: exp, flags: flags, text: p[pos:end]}
	return c.take(n, &s, pos, end)
}

// takesNumber reports whether the node's types take the number.
func (n *node) takesNumber(mant uint64, exp int, flags uint, lit []byte) bool {
	switch n.types & typeNumber {
	case typeNumber:
		return true
	case typeInteger:
		return exp >= 0 && flags&numTrunc == 0 || isInteger(mant, exp, flags, lit)
	}
	return false
}

// inBounds compares first as floats, which rounding keeps in order, and as exact
// decimals only where the floats are equal.
func (n *node) inBounds(f float64, mant uint64, flags uint, lit []byte) bool {
	if n.checks&checkMin != 0 && f <= n.min.float {
		if f < n.min.float || n.min.order(mant, flags, lit) < b2i(n.min.exclusive) {
			return false
		}
	}
	if n.checks&checkMax != 0 && f >= n.max.float {
		if f > n.max.float || n.max.order(mant, flags, lit) > -b2i(n.max.exclusive) {
			return false
		}
	}
	return true
}

// order compares a literal with a bound whose float64 is the same.
func (b *bound) order(mant uint64, flags uint, lit []byte) int {
	if b.short && mant < 1e15 && flags&numTrunc == 0 {
		return 0
	}
	return b.exact.compare(lit)
}

// numberChecks runs every keyword about numbers.
func (c *Checker) numberChecks(n *node, mant uint64, exp int, flags uint, pos, end int) bool {
	lit := c.p[pos:end]
	if n.checks&(checkMin|checkMax) != 0 && !n.inBounds(toFloat(mant, exp, flags, lit), mant, flags, lit) {
		c.failBounds(n, pos)
		return false
	}
	if n.checks&checkMultiple != 0 && !n.multiple.divides(lit) {
		c.failAt(failMultiple, n, pos)
		return false
	}
	if n.checks&checkEnum != 0 && !matchNumber(n.enum, lit, mant, exp, flags) {
		c.failAt(failEnum, n, pos)
		return false
	}
	return true
}

// str takes the string whose opening quote is at pos.
func (c *Checker) str(n *node, pos int) int {
	p := c.p
	end, flags := scanString(p, pos+1)
	if flags&strBad != 0 {
		return c.syntax(failString, end)
	}
	text := p[pos+1 : end]
	if flags&strEscape != 0 {
		start := len(c.arena)
		c.arena = appendUnescaped(c.arena, text)
		text = c.arena[start:len(c.arena):len(c.arena)]
	}
	if n.checks&checkNulls != 0 && matchText(n.nulls, text) {
		return c.takeNull(n, pos, end+1)
	}
	if n.types&typeString == 0 {
		return c.failAt(failType, n, pos)
	}
	if n.checks&checkStrings != 0 && !c.textChecks(n, text, flags, pos) {
		return -1
	}
	if n.use == useColumn && n.colType == telemetry.String {
		v := &c.values[n.slot]
		v.Null = false
		v.Text = text
		c.filled |= 1 << (uint(n.slot) & 63)
		return end + 1
	}
	if n.use == useNone {
		return end + 1
	}
	s := scalar{kind: typeString, text: text, raw: p[pos : end+1]}
	return c.take(n, &s, pos, end+1)
}

// textChecks runs every keyword about strings.
func (c *Checker) textChecks(n *node, text []byte, flags uint, pos int) bool {
	if n.checks&checkEnum != 0 && !matchText(n.enum, text) {
		c.failAt(failEnum, n, pos)
		return false
	}
	if n.checks&checkLength != 0 {
		count := len(text)
		if flags&(strWide|strEscape) != 0 {
			count = utf8.RuneCount(text)
		}
		if count < n.minLen {
			c.failAt(failShort, n, pos)
			return false
		}
		if count > n.maxLen {
			c.failAt(failLong, n, pos)
			return false
		}
	}
	if n.checks&checkPattern != 0 && !n.pattern.Match(text) {
		c.failAt(failPattern, n, pos)
		return false
	}
	return true
}

// word takes true, false or null.
func (c *Checker) word(n *node, pos int) int {
	p := c.p
	var kind typeMask
	end := wordEnd(p, pos)
	switch {
	case end < 0:
		return c.badValue(pos, pos)
	case p[pos] == 'n':
		kind = typeNull
	default:
		kind = typeBool
	}
	s := scalar{kind: kind, text: p[pos:end]}
	if n.checks&checkNulls != 0 && matchWord(n.nulls, &s) {
		return c.takeNull(n, pos, end)
	}
	if n.types&kind == 0 {
		return c.failAt(failType, n, pos)
	}
	if n.checks&checkEnum != 0 && !matchWord(n.enum, &s) {
		return c.failAt(failEnum, n, pos)
	}
	if n.use == useNone {
		return end
	}
	if kind == typeNull {
		return c.takeNull(n, pos, end)
	}
	return c.take(n, &s, pos, end)
}

// wordEnd returns where the true, false or null at pos ends, or -1.
func wordEnd(p []byte, pos int) int {
	switch rest := p[pos:]; {
	case len(rest) >= 4 && string(rest[:4]) == "true", len(rest) >= 4 && string(rest[:4]) == "null":
		return pos + 4
	case len(rest) >= 5 && string(rest[:5]) == "false":
		return pos + 5
	}
	return -1
}
