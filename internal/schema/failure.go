package schema

import (
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// failKind is what is wrong with a payload.
type failKind uint8

const (
	failNone failKind = iota

	// Not JSON by RFC 8259, or beyond the limits of its reader.
	failEnd       // the payload ends too early
	failTrailing  // bytes after the value
	failValue     // no value
	failString    // a string with a control character, a bad escape or bad UTF-8
	failName      // no name where one must be
	failColon     // no colon after a name
	failComma     // neither comma nor end after a member
	failDepth     // nested deeper than MaxDepth
	failDuplicate // a name twice in one object
	failNames     // more names than the device profile has room for
	failNameLong  // a name longer than the device profile allows
	failDigits    // a number of more digits than the device profile allows

	// Refused by the schema.
	failType
	failMin
	failMax
	failMultiple
	failEnum
	failShort
	failLong
	failPattern
	failRequired
	failUnknown
	failFew
	failMany
	failMap
	failRows
	failLibrary
	failWhen   // not the payload that this plan is for
	failNoWhen // no plan is for this payload

	// Valid, but not to be stored.
	failOverflow
	failIntRange
	failColumn
	failText // longer than the device profile records
	failTime
	failNoTime
)

func (k failKind) reason() telemetry.Reason {
	switch {
	case k <= failDigits:
		return telemetry.ReasonMalformed
	case k < failOverflow:
		return telemetry.ReasonInvalid
	case k < failTime:
		return telemetry.ReasonUnrepresentable
	}
	return telemetry.ReasonTime
}

// Failure says why no plan took a payload. It belongs to the Checker and is valid
// until its next Check, and as long as the payload does not change. Its words
// are made only when they are asked for, so that a refused payload costs no
// allocation.
type Failure struct {
	Reason telemetry.Reason
	Offset int   // byte offset in the payload, -1 where it has none
	Plan   *Plan // the plan whose verdict this is; nil for ReasonUnmatched

	kind    failKind
	node    *node
	index   int // of the missing property
	payload []byte
	library error
}

// failAt notes why the schema refuses the payload and returns -1.
func (c *Checker) failAt(kind failKind, n *node, pos int) int {
	c.fail = Failure{Reason: kind.reason(), Offset: pos, Plan: c.plan, kind: kind, node: n, payload: c.p}
	c.wide = c.wide[:0]
	return -1
}

// syntax notes where the payload is not JSON and returns -1.
func (c *Checker) syntax(kind failKind, pos int) int { return c.failAt(kind, nil, pos) }

// badValue notes that no value stands at pos: end is where it goes wrong.
func (c *Checker) badValue(_, end int) int {
	if end >= len(c.p) {
		return c.syntax(failEnd, len(c.p))
	}
	return c.syntax(failValue, end)
}

// failBounds says which bound it was.
func (c *Checker) failBounds(n *node, pos int) int {
	kind := failMax
	if n.checks&checkMin != 0 {
		_, _, end, _ := scanNumber(c.p, pos)
		if n.min.exact.compare(c.p[pos:end]) < b2i(n.min.exclusive) {
			kind = failMin
		}
	}
	return c.failAt(kind, n, pos)
}

func (c *Checker) failMissing(n *node, pos, index int) int {
	c.failAt(failRequired, n, pos)
	c.fail.index = index
	return -1
}

// deferAt notes that a payload cannot be stored; if the schema refuses it, that
// is the reason all the same. The first note stays.
func (c *Checker) deferAt(kind failKind, n *node, pos int) {
	if c.deferred.kind == failNone {
		c.deferred = Failure{Reason: kind.reason(), Offset: pos, Plan: c.plan, kind: kind, node: n, payload: c.p}
	}
}
