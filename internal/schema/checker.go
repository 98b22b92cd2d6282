package schema

import "github.com/weir-telemetry/weir/internal/telemetry"

// Checker holds the scratch memory of one goroutine that checks payloads.
type Checker struct {
	rows []Row
	fail Failure
}

// NewChecker returns a Checker for the use of one goroutine at a time.
func NewChecker() *Checker { return &Checker{} }

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

// Failure says why no plan took a payload. It belongs to the Checker and is valid
// until its next Check, and as long as the payload does not change.
type Failure struct {
	Reason telemetry.Reason
	Offset int   // byte offset in the payload, -1 where it has none
	Plan   *Plan // the plan whose verdict this is
}

// Detail is one sentence for a person. It allocates.
func (f *Failure) Detail() string { return "" }

// Pointer is the JSON pointer (RFC 6901) of the offending value; "" is the whole
// payload. It allocates.
func (f *Failure) Pointer() string { return "" }

// Check tries the route's plans in order; the first that accepts wins. It does
// not allocate on success, nor on the ordinary failure of a plan without slow
// keywords. Rows are valid until the next Check, and as long as the payload does
// not change.
func (c *Checker) Check(r *Route, payload []byte) (plan *Plan, rows []Row, fail *Failure) {
	c.fail = Failure{Reason: telemetry.ReasonInvalid, Offset: -1}
	return nil, nil, &c.fail
}
