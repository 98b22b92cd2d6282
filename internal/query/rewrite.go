package query

import (
	"sort"
	"strings"
)

// rewrite prepares a statement for SQLite, by its tokens:
//
//   - now() becomes the instant of the statement, and ago(d) knows it;
//   - first(x), last(x) and rate(x) get the time, and rate the series, that
//     they need;
//   - a literal beside a time column gets the form of time columns.
//
// Comments mark what was changed, because SQLite names columns by their text:
// originalName takes the marks out again.
func rewrite(sql string, toks []token, now int64) string {
	r := newRewriter(sql, toks)
	at := "'" + string(appendTime(nil, now)) + "'"
	for i, t := range toks {
		switch {
		case t.kind == tokString:
			if r.besideTime(i) {
				if c := canonicalTime(t.text); c != t.text {
					r.replace(t.start, t.end, "'"+c+"'")
				}
			}
		case !isName(t) || !toks[i+1].is("("):
		case i > 0 && toks[i-1].is("."):
		default:
			r.call(i, strings.ToLower(t.text), at)
		}
	}
	return r.apply()
}

type rewriter struct {
	sql   string
	toks  []token
	times map[string]bool
	edits []edit
}

type edit struct {
	at, end int
	text    string
}

// newRewriter returns one that knows the names of time columns.
func newRewriter(sql string, toks []token) *rewriter {
	r := &rewriter{sql: sql, toks: toks, times: map[string]bool{"time": true, "received_at": true}}
	for i := 0; i+2 < len(toks); i++ {
		if t := toks[i]; (t.word("time") || t.word("received_at")) && toks[i+1].word("AS") && isName(toks[i+2]) {
			r.times[strings.ToLower(toks[i+2].text)] = true
		}
	}
	return r
}

const (
	markInsert = "/*+weir*/"
	markOld    = "/*weir:"
	markNew    = "*//*=*/"
	markEnd    = "/*-weir*/"
)

func (r *rewriter) replace(at, end int, text string) {
	r.edits = append(r.edits, edit{at, end, markOld + r.sql[at:end] + markNew + text + markEnd})
}

func (r *rewriter) insert(at int, text string) {
	r.edits = append(r.edits, edit{at, at, markInsert + text + markEnd})
}

// call rewrites the function call whose name is token i.
func (r *rewriter) call(i int, name, now string) {
	switch name {
	case "now", "ago", "first", "last", "rate":
	default:
		return
	}
	depth, commas, end := 0, 0, -1
	for j := i + 1; j < len(r.toks) && end < 0; j++ {
		switch t := r.toks[j]; {
		case t.is("("):
			depth++
		case t.is(")"):
			if depth--; depth == 0 {
				end = j
			}
		case t.is(",") && depth == 1:
			commas++
		}
	}
	if end < 0 || commas > 0 {
		return
	}
	empty := end == i+2
	if name == "now" {
		if empty {
			r.replace(r.toks[i].start, r.toks[end].end, now)
		}
		return
	}
	if empty {
		return
	}
	table := ""
	if end == i+5 && isName(r.toks[i+2]) && r.toks[i+3].is(".") {
		table = r.sql[r.toks[i+2].start:r.toks[i+3].end]
	}
	switch name {
	case "ago":
		r.insert(r.toks[end].start, ", "+now)
	case "first", "last":
		r.insert(r.toks[end].start, ", "+table+"time")
	default:
		r.insert(r.toks[end].start, ", "+table+"time, "+table+"_series")
	}
}

// besideTime reports whether the literal at i is compared with a time column:
// time >= '…', '…' <= time, time between '…' and '…', time in ('…', '…').
func (r *rewriter) besideTime(i int) bool {
	comparison := func(t token) bool {
		switch t.text {
		case "=", "==", "<", "<=", ">", ">=", "<>", "!=":
			return t.kind == tokOp
		}
		return t.word("IS")
	}
	tok := func(j int) token {
		if j < 0 || j >= len(r.toks) {
			return token{}
		}
		return r.toks[j]
	}
	isTime := func(t token) bool { return isName(t) && r.times[strings.ToLower(t.text)] }
	if comparison(tok(i + 1)) {
		j := i + 2
		if tok(j + 1).is(".") {
			j += 2
		}
		if isTime(tok(j)) && !tok(j+1).is("(") {
			return true
		}
	}
	j := i - 1
	if tok(j).word("AND") {
		// The upper bound: look behind the lower one.
		if k := r.back(j-1, func(t token) bool { return t.word("BETWEEN") }); k >= 0 {
			j = k
		}
	}
	if tok(j).word("BETWEEN") {
		j--
		if tok(j).word("NOT") {
			j--
		}
		return isTime(tok(j))
	}
	if comparison(tok(j)) || tok(j).word("NOT") && tok(j-1).word("IS") {
		if tok(j).word("NOT") {
			j--
		}
		return isTime(tok(j - 1))
	}
	if j = r.back(j, func(t token) bool { return t.is("(") }); tok(j - 1).word("IN") {
		j -= 2
		if tok(j).word("NOT") {
			j--
		}
		return isTime(tok(j))
	}
	return false
}

// back looks from token j backwards for what is asked, past what stands in
// parentheses, until a word of logic. It returns -1 if it is not there.
func (r *rewriter) back(j int, want func(token) bool) int {
	depth := 0
	for ; j >= 0; j-- {
		t := r.toks[j]
		switch {
		case depth == 0 && want(t):
			return j
		case t.is(")"):
			depth++
		case t.is("("):
			depth--
		case depth == 0 && (t.word("AND") || t.word("OR") || t.word("WHERE") || t.word("SELECT")):
			return -1
		}
		if depth < 0 {
			return -1
		}
	}
	return -1
}

func (r *rewriter) apply() string {
	if len(r.edits) == 0 {
		return r.sql
	}
	sort.SliceStable(r.edits, func(i, j int) bool { return r.edits[i].at < r.edits[j].at })
	var b strings.Builder
	at := 0
	for _, e := range r.edits {
		if e.at < at {
			continue // inside a text that was replaced
		}
		b.WriteString(r.sql[at:e.at])
		b.WriteString(e.text)
		at = e.end
	}
	b.WriteString(r.sql[at:])
	return b.String()
}

// originalName undoes rewrite in the name of a column.
func originalName(name string) string {
	for {
		i := strings.Index(name, markInsert)
		if i < 0 {
			break
		}
		n := strings.Index(name[i:], markEnd)
		if n < 0 {
			break
		}
		name = name[:i] + name[i+n+len(markEnd):]
	}
	for {
		i := strings.Index(name, markOld)
		if i < 0 {
			return name
		}
		n := strings.Index(name[i:], markNew)
		m := strings.Index(name[i:], markEnd)
		if n < 0 || m < n {
			return name
		}
		name = name[:i] + name[i+len(markOld):i+n] + name[i+m+len(markEnd):]
	}
}
