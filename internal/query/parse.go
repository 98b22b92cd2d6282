package query

import (
	"fmt"
	"strings"
)

// unsupported says why a statement is left to SQLite. It is no error for the
// caller: SQLite runs the statement, or says what is wrong with it.
type unsupported struct{ why string }

func (u *unsupported) Error() string { return u.why }

// maxDepth bounds the recursion of the parser and of everything that walks
// its trees. SQLite takes what is deeper, within its own limit.
const maxDepth = 200

// parser reads the part of SQLite's grammar that the executor runs. It gives
// up with unsupported, by panic inside and as an error outside, wherever the
// text leaves that part.
type parser struct {
	sql   string
	toks  []token
	pos   int
	depth int
}

// parseSelect parses a select of one table, or says why it is left to SQLite.
func parseSelect(sql string, toks []token) (s *selectStmt, why *unsupported) {
	p := &parser{sql: sql, toks: toks}
	defer func() {
		if r := recover(); r != nil {
			u, ok := r.(*unsupported)
			if !ok {
				panic(r)
			}
			s, why = nil, u
		}
	}()
	s = p.selectStmt()
	if p.op(";"); p.peek().kind != tokEOF {
		p.giveUp("syntax at %q", p.peek().text)
	}
	return s, nil
}

func (p *parser) giveUp(format string, args ...any) {
	panic(&unsupported{fmt.Sprintf(format, args...)})
}

func (p *parser) peek() token { return p.toks[p.pos] }

func (p *parser) peekAt(n int) token {
	if p.pos+n >= len(p.toks) {
		return p.toks[len(p.toks)-1]
	}
	return p.toks[p.pos+n]
}

func (p *parser) next() token {
	t := p.toks[p.pos]
	if t.kind != tokEOF {
		p.pos++
	}
	return t
}

// op takes the operator if it comes next.
func (p *parser) op(s string) bool {
	if p.peek().is(s) {
		p.pos++
		return true
	}
	return false
}

// kw takes the keyword if it comes next.
func (p *parser) kw(s string) bool {
	if p.peek().word(s) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) expectOp(s string) {
	if !p.op(s) {
		p.giveUp("syntax at %q", p.peek().text)
	}
}

func (p *parser) expectKw(s string) {
	if !p.kw(s) {
		p.giveUp("syntax at %q", p.peek().text)
	}
}

func (p *parser) selectStmt() *selectStmt {
	if p.peek().word("WITH") {
		p.giveUp("a WITH clause")
	}
	p.expectKw("SELECT")
	s := &selectStmt{}
	if p.kw("DISTINCT") {
		s.distinct = true
	} else {
		p.kw("ALL")
	}
	for {
		s.columns = append(s.columns, p.resultColumn())
		if !p.op(",") {
			break
		}
	}
	if !p.kw("FROM") {
		p.giveUp("no FROM clause")
	}
	p.fromTable(s)
	if p.kw("WHERE") {
		s.where = p.expr()
	}
	if p.kw("GROUP") {
		p.expectKw("BY")
		s.groupBy = p.exprList()
	}
	if p.kw("HAVING") {
		s.having = p.expr()
	}
	for _, w := range []string{"UNION", "INTERSECT", "EXCEPT", "WINDOW"} {
		if p.peek().word(w) {
			p.giveUp("%s", w)
		}
	}
	if p.kw("ORDER") {
		p.expectKw("BY")
		for {
			s.orderBy = append(s.orderBy, p.orderTerm())
			if !p.op(",") {
				break
			}
		}
	}
	if p.kw("LIMIT") {
		s.limit = p.expr()
		if p.kw("OFFSET") {
			s.offset = p.expr()
		} else if p.op(",") {
			s.offset, s.limit = s.limit, p.expr()
		}
	}
	return s
}

func (p *parser) fromTable(s *selectStmt) {
	t := p.next()
	if !isName(t) {
		p.giveUp("a subquery in FROM")
	}
	s.table = t.text
	switch {
	case p.peek().is("."):
		p.giveUp("a qualified table name")
	case p.peek().is("("):
		p.giveUp("a table-valued function")
	}
	if p.kw("AS") {
		t := p.next()
		if !isName(t) {
			p.giveUp("syntax at %q", t.text)
		}
		s.alias = t.text
	} else if t := p.peek(); isName(t) && !notAlias[strings.ToUpper(t.text)] {
		p.pos++
		s.alias = t.text
	}
	if t := p.peek(); t.is(",") || t.kind == tokWord && joinWords[strings.ToUpper(t.text)] {
		p.giveUp("a join")
	}
}

func (p *parser) resultColumn() resultColumn {
	if p.op("*") {
		return resultColumn{star: true}
	}
	if t := p.peek(); isName(t) && p.peekAt(1).is(".") && p.peekAt(2).is("*") {
		p.pos += 3
		return resultColumn{star: true, table: t.text}
	}
	c := resultColumn{expr: p.expr()}
	if p.kw("AS") {
		t := p.next()
		if !isName(t) && t.kind != tokString {
			p.giveUp("syntax at %q", t.text)
		}
		c.alias = t.text
	} else if t := p.peek(); t.kind == tokString || isName(t) && !notAlias[strings.ToUpper(t.text)] {
		p.pos++
		c.alias = t.text
	}
	return c
}

func (p *parser) orderTerm() orderTerm {
	t := orderTerm{expr: p.expr()}
	if p.kw("DESC") {
		t.desc = true
	} else {
		p.kw("ASC")
	}
	t.nullsFirst = !t.desc
	if p.kw("NULLS") {
		switch {
		case p.kw("FIRST"):
			t.nullsFirst = true
		case p.kw("LAST"):
			t.nullsFirst = false
		default:
			p.giveUp("syntax at %q", p.peek().text)
		}
	}
	return t
}

func (p *parser) exprList() []*expr {
	var list []*expr
	for {
		list = append(list, p.expr())
		if !p.op(",") {
			return list
		}
	}
}
