package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// misspelt returns the word that was meant where it is one or two letters away,
// "" where it is another word.
func misspelt(written string, words ...string) string {
	for _, w := range words {
		if d := editDistance(strings.ToUpper(written), w); d == 1 || d == 2 && len(w) > 4 {
			return w
		}
	}
	return ""
}

var (
	noFunction  = regexp.MustCompile(`^no such function: (\S+)`)
	syntaxNear  = regexp.MustCompile(`^near "(\w+)": syntax error`)
	syntaxOther = regexp.MustCompile(`syntax error$|^incomplete input|^unrecognized token`)
	arguments   = regexp.MustCompile(`^wrong number of arguments to function`)
)

// hintOf returns what helps against SQLite's message; ok is false where the
// names of tables and columns do.
func hintOf(message string) (hint string, ok bool) {
	if m := noFunction.FindStringSubmatch(message); m != nil {
		known := functionNames()
		hint = "functions: " + strings.Join(known, ", ") + ", and SQLite's others"
		if s := nearest(m[1], known); s != "" {
			hint = fmt.Sprintf("did you mean %s? %s", s, hint)
		}
		return hint, true
	}
	if m := syntaxNear.FindStringSubmatch(message); m != nil {
		clauses := []string{"SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "JOIN", "BETWEEN", "DISTINCT", "UNION"}
		if s := misspelt(m[1], clauses...); s != "" {
			return "did you mean " + s + "?", true
		}
	}
	return "", syntaxOther.MatchString(message) || arguments.MatchString(message)
}

// functionNames are the functions that a person may want, the executor's first.
func functionNames() []string {
	names := []string{
		"count", "sum", "avg", "stddev", "quantile", "median", "first", "last", "rate", "now", "ago",
		"length", "lower", "upper", "substr", "trim", "replace", "instr", "group_concat", "total", "strftime", "printf", "json_extract",
	}
	for name := range scalarFuncs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkTimes refuses a text beside a time column that no time begins with: it
// would be compared as text, and match everything or nothing.
func checkTimes(sql string, toks []token) error {
	r := newRewriter(sql, toks)
	for i, t := range toks {
		if t.kind == tokString && r.besideTime(i) && !beginsTime(t.text) {
			return telemetry.Errorf(telemetry.CodeInvalid, "query", "%q is compared with a time and is none", t.text).
				WithHint("write 2025-06-15, 2025-06-15T10:00:00Z, or ago('1h')")
		}
	}
	return nil
}

// beginsTime reports whether a text is a time or, as 2025-06, the beginning of
// one in the form of time columns.
func beginsTime(s string) bool {
	if _, ok := parseTime(s); ok {
		return true
	}
	const rest = "2000-10-10T00:00:00.000000000Z"
	if len(s) > len(rest) {
		return false
	}
	_, ok := parseTime(s + rest[len(s):])
	return ok
}
