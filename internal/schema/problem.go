package schema

import (
	"fmt"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Problem is one error in a schema document. Line and Column count from 1; they
// are 0 where the problem is with the document as a whole.
type Problem struct {
	File    string
	Line    int
	Column  int
	Path    string // where in the document, as "payload.properties.ts"
	Message string // what is wrong
	Hint    string // what to do; may be empty
}

func (p Problem) Error() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	return telemetry.Phrase(p.Hint, where, p.Path, p.Message)
}

// Problems is every error that was found, in the order of the document.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the problems as an error, or nil where there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
