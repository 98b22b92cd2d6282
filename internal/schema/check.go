package schema

import (
	"hash/maphash"
	"math/bits"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Limits of a payload.
const (
	// MaxDepth is how deep lists and objects may be nested.
	MaxDepth = 64
	// MaxRows is how many readings one payload may hold; fewer where the table
	// has more than 16 columns.
	MaxRows = 65_536
	// maxRowValues is how many values the readings of one payload may have.
	maxRowValues = 1 << 20
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
	start, end int // in the payload, between the quotes
	escaped    bool
	hash       uint64 // only where there are many
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
	if p.device && !c.withinProfile(p, payload) {
		return false
	}
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
		if root := p.root; root != nil && root.use == useNone && root.object != nil && root.types&typeObject != 0 && pos < len(payload) && payload[pos] == '{' {
			c.depth = 1 // what most payloads are, without the way through value
			end = c.object(root, pos)
		} else {
			end = c.value(root, pos)
		}
		if end < 0 {
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
