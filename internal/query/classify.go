package query

import (
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// statement is what a text asks for.
type statement struct {
	sql     string // without EXPLAIN and the closing semicolon
	toks    []token
	explain bool
}

// classify accepts one statement that reads and refuses everything else.
func classify(sql string, toks []token) (*statement, error) {
	const op = "query"
	st := &statement{sql: sql}
	if toks[0].word("EXPLAIN") {
		st.explain = true
		toks = toks[1:]
		if toks[0].word("QUERY") && toks[1].word("PLAN") {
			toks = toks[2:]
		}
	}
	if toks[0].kind == tokEOF {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "the statement is empty").WithHint("write for example: select * from weir_tables")
	}
	if !toks[0].word("SELECT") && !toks[0].word("WITH") && !toks[0].word("VALUES") {
		verb := strings.ToUpper(toks[0].text)
		if meant := misspelt(verb, "SELECT", "WITH", "VALUES", "EXPLAIN"); meant != "" {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "no statement begins with %q", toks[0].text).WithHint("did you mean " + meant + "?")
		}
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "%s is not allowed", verb).
			WithHint("only SELECT, WITH, VALUES and EXPLAIN: queries read and never change anything")
	}
	depth := 0
	for i, t := range toks {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.is(";"):
			if toks[i+1].kind != tokEOF {
				return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "there is more than one statement").WithHint("send them one by one")
			}
			toks = append(toks[:i:i], token{kind: tokEOF, start: t.start, end: t.start})
			return st.cut(toks), nil
		case t.kind == tokParam:
			return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "the parameter %s has no value", t.text).WithHint("write the value into the statement")
		case depth == 0 && (t.word("INSERT") || t.word("UPDATE") || t.word("DELETE") || t.word("REPLACE") && !toks[i+1].is("(") || t.word("RETURNING")):
			return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "%s is not allowed", strings.ToUpper(t.text)).
				WithHint("queries read and never change anything")
		}
	}
	return st.cut(toks), nil
}

// cut takes the text that the tokens stand for.
func (s *statement) cut(toks []token) *statement {
	s.toks = toks
	end := 0
	if n := len(toks); n > 1 {
		end = toks[n-2].end
	}
	s.sql = s.sql[:end]
	return s
}
