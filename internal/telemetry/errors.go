package telemetry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Code classifies an error for the border of the program: exit codes, HTTP
// statuses and retry decisions are derived from it in one place each.
type Code string

// The codes that cross a border between rooms.
const (
	CodeInvalid     Code = "invalid"     // the caller's input is wrong; the same call fails again
	CodeNotFound    Code = "not_found"   // what was named does not exist
	CodeConflict    Code = "conflict"    // it contradicts what is stored
	CodeRefused     Code = "refused"     // the store refuses this data and always will: bisect and quarantine it
	CodeCardinality Code = "cardinality" // the tenant's series budget is spent
	CodeUnavailable Code = "unavailable" // a part is away or full; the same call may succeed later
	CodeDamaged     Code = "damaged"     // bytes on disk fail their checksum or format
	CodeLimit       Code = "limit"       // a configured limit of memory, rows or time was reached
	CodeInternal    Code = "internal"    // a defect
)

// Error is the one error type that crosses a border: what was being done, what
// is wrong, and what the reader can do about it.
type Error struct {
	Code    Code
	Op      string // what was being done, as "open segment"
	Message string // what is wrong, and where
	Hint    string // what to do; may be empty
	Err     error  // the cause; may be nil
}

// Errorf returns an Error of the given code whose message is formatted as by
// fmt.Errorf, %w included. The last error among the arguments becomes its cause.
func Errorf(code Code, op, format string, args ...any) *Error {
	e := &Error{Code: code, Op: op, Message: fmt.Errorf(format, args...).Error()}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.Err = err
		}
	}
	return e
}

// WithHint returns the error with a sentence that says what to do.
func (e *Error) WithHint(hint string) *Error {
	e.Hint = hint
	return e
}

func (e *Error) Error() string { return Phrase(e.Hint, e.Op, e.Message) }

// Phrase says in one line what is wrong: the parts that are not empty, each but the
// last with a colon, and the hint in parentheses, if there is one.
func Phrase(hint string, parts ...string) string {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	said := strings.Join(parts, ": ")
	if hint != "" {
		said += " (" + hint + ")"
	}
	return said
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the outermost Error in err's chain, CodeInternal
// for any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
