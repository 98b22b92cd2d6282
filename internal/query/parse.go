package query

import (
	"fmt"
	"strconv"
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

// The binding powers of SQLite's grammar, lowest first.
const (
	bindOr = iota + 1
	bindAnd
	bindNot
	bindEq
	bindCompare
	bindEscape
	bindBit
	bindAdd
	bindMul
	bindConcat
	bindCollate
	bindUnary
)

func (p *parser) expr() *expr { return p.binary(bindOr) }

// binary parses an expression whose operators bind at least as tightly as min.
func (p *parser) binary(min int) *expr {
	if p.depth++; p.depth > maxDepth {
		p.giveUp("an expression nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	left := p.unary()
	for n := 0; ; n++ {
		// A chain is as deep a tree as its length.
		if n > maxDepth {
			p.giveUp("an expression chain longer than %d", maxDepth)
		}
		e := p.infix(left, min)
		if e == nil {
			return left
		}
		e.start, e.end = left.start, p.toks[p.pos-1].end
		left = e
	}
}

// infix parses one operator and its right side after left, or returns nil.
func (p *parser) infix(left *expr, min int) *expr {
	t := p.peek()
	if t.kind == tokOp {
		b, ok := binaryOps[t.text]
		if !ok {
			if t.is("||") || t.is("->") || t.is("->>") {
				p.giveUp("the operator %s", t.text)
			}
			return nil
		}
		if b.bind < min {
			return nil
		}
		p.pos++
		return &expr{op: b.op, args: []*expr{left, p.binary(b.bind + 1)}}
	}
	if t.kind != tokWord {
		return nil
	}
	switch strings.ToUpper(t.text) {
	case "OR":
		if bindOr < min {
			return nil
		}
		p.pos++
		return &expr{op: opOr, args: []*expr{left, p.binary(bindOr + 1)}}
	case "AND":
		if bindAnd < min {
			return nil
		}
		p.pos++
		return &expr{op: opAnd, args: []*expr{left, p.binary(bindAnd + 1)}}
	case "COLLATE", "MATCH", "REGEXP", "ESCAPE", "OVER", "FILTER", "WITHIN":
		p.giveUp("%s", strings.ToUpper(t.text))
	case "IS", "ISNULL", "NOTNULL", "NOT", "IN", "BETWEEN", "LIKE", "GLOB":
		if bindEq < min {
			return nil
		}
		return p.predicate(left)
	}
	return nil
}

var binaryOps = map[string]struct {
	op   opcode
	bind int
}{
	"=": {opEq, bindEq}, "==": {opEq, bindEq}, "<>": {opNe, bindEq}, "!=": {opNe, bindEq},
	"<": {opLt, bindCompare}, "<=": {opLe, bindCompare}, ">": {opGt, bindCompare}, ">=": {opGe, bindCompare},
	"&": {opBitAnd, bindBit}, "|": {opBitOr, bindBit}, "<<": {opShl, bindBit}, ">>": {opShr, bindBit},
	"+": {opAdd, bindAdd}, "-": {opSub, bindAdd},
	"*": {opMul, bindMul}, "/": {opDiv, bindMul}, "%": {opMod, bindMul},
}

// predicate parses what follows left at the level of =, beginning with a word.
func (p *parser) predicate(left *expr) *expr {
	null := &expr{op: opConst}
	switch {
	case p.kw("ISNULL"):
		return &expr{op: opIs, args: []*expr{left, null}}
	case p.kw("NOTNULL"):
		return &expr{op: opIsNot, args: []*expr{left, null}}
	case p.kw("IS"):
		op := opIs
		if p.kw("NOT") {
			op = opIsNot
		}
		if p.kw("DISTINCT") {
			p.expectKw("FROM")
			op = opIs + opIsNot - op
		}
		if t := p.peek(); t.word("TRUE") || t.word("FALSE") {
			p.giveUp("IS %s", strings.ToUpper(t.text))
		}
		return &expr{op: op, args: []*expr{left, p.binary(bindEq + 1)}}
	}
	not := p.kw("NOT")
	pick := func(yes, no opcode) opcode {
		if not {
			return no
		}
		return yes
	}
	switch {
	case not && p.kw("NULL"):
		return &expr{op: opIsNot, args: []*expr{left, null}}
	case p.kw("BETWEEN"):
		lo := p.binary(bindEq + 1)
		p.expectKw("AND")
		return &expr{op: pick(opBetween, opNotBetween), args: []*expr{left, lo, p.binary(bindEq + 1)}}
	case p.kw("IN"):
		if !p.op("(") {
			p.giveUp("IN a table")
		}
		if t := p.peek(); t.word("SELECT") || t.word("WITH") || t.word("VALUES") {
			p.giveUp("a subquery")
		}
		e := &expr{op: pick(opIn, opNotIn), args: []*expr{left}}
		if !p.op(")") {
			e.args = append(e.args, p.exprList()...)
			p.expectOp(")")
		}
		return e
	case p.kw("LIKE"):
		return &expr{op: pick(opLike, opNotLike), args: []*expr{left, p.binary(bindEq + 1)}}
	case p.kw("GLOB"):
		return &expr{op: pick(opGlob, opNotGlob), args: []*expr{left, p.binary(bindEq + 1)}}
	}
	p.giveUp("syntax at %q", p.peek().text)
	return nil
}

func (p *parser) unary() *expr {
	t := p.peek()
	one := func(op opcode, bind int) *expr {
		p.pos++
		x := p.binary(bind)
		return &expr{op: op, args: []*expr{x}, start: t.start, end: x.end}
	}
	switch {
	case t.is("-"):
		return one(opNeg, bindUnary)
	case t.is("+"):
		return one(opPos, bindUnary)
	case t.is("~"):
		return one(opBitNot, bindUnary)
	case t.word("NOT"):
		return one(opNot, bindNot)
	}
	e := p.primary()
	if e.end == 0 {
		e.start, e.end = t.start, p.toks[p.pos-1].end
	}
	return e
}

func (p *parser) primary() *expr {
	t := p.next()
	switch t.kind {
	case tokInt:
		if strings.HasPrefix(t.text, "0x") || strings.HasPrefix(t.text, "0X") {
			p.giveUp("a hexadecimal number")
		}
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			p.giveUp("an integer of more than 64 bits")
		}
		return &expr{op: opConst, val: IntValue(n)}
	case tokFloat:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			p.giveUp("a number out of range")
		}
		return &expr{op: opConst, val: FloatValue(f)}
	case tokString:
		return &expr{op: opConst, val: TextValue(t.text)}
	case tokWord, tokQuoted:
		return p.word(t)
	case tokOp:
		if t.is("(") {
			if n := p.peek(); n.word("SELECT") || n.word("WITH") || n.word("VALUES") {
				p.giveUp("a subquery")
			}
			e := p.expr()
			if p.peek().is(",") {
				p.giveUp("a row value")
			}
			p.expectOp(")")
			// The parentheses belong to the text of the expression.
			c := *e
			c.start, c.end = t.start, p.toks[p.pos-1].end
			return &c
		}
	}
	p.giveUp("syntax at %q", t.text)
	return nil
}

// word parses what begins with a name or a keyword.
func (p *parser) word(t token) *expr {
	if t.kind == tokWord {
		switch strings.ToUpper(t.text) {
		case "NULL":
			return &expr{op: opConst}
		case "TRUE":
			if !p.peek().is("(") && !p.peek().is(".") {
				return &expr{op: opConst, val: IntValue(1)}
			}
		case "FALSE":
			if !p.peek().is("(") && !p.peek().is(".") {
				return &expr{op: opConst, val: IntValue(0)}
			}
		case "CASE":
			return p.caseExpr()
		case "CAST":
			return p.cast()
		case "EXISTS":
			p.giveUp("a subquery")
		case "CURRENT_TIME", "CURRENT_DATE", "CURRENT_TIMESTAMP", "RAISE":
			p.giveUp("%s", strings.ToUpper(t.text))
		}
	}
	if p.peek().is("(") {
		return p.call(t)
	}
	if !isName(t) {
		p.giveUp("syntax at %q", t.text)
	}
	e := &expr{op: opColumn, name: t.text, quoted: t.kind == tokQuoted}
	if p.op(".") {
		c := p.next()
		if c.kind != tokWord && c.kind != tokQuoted || p.peek().is(".") {
			p.giveUp("a qualified name")
		}
		e.table, e.name, e.quoted = e.name, c.text, false
	}
	return e
}

func (p *parser) call(t token) *expr {
	e := &expr{op: opFunc, name: strings.ToLower(t.text)}
	p.expectOp("(")
	switch {
	case p.op("*"):
		e.star = true
	case p.peek().is(")"):
	default:
		if p.kw("DISTINCT") {
			e.distinct = true
		} else {
			p.kw("ALL")
		}
		e.args = p.exprList()
		if p.peek().word("ORDER") {
			p.giveUp("ORDER BY in an aggregate")
		}
	}
	p.expectOp(")")
	return e
}

func (p *parser) caseExpr() *expr {
	e := &expr{op: opCase}
	if !p.peek().word("WHEN") {
		e.hasOperand = true
		e.args = append(e.args, p.expr())
	}
	for p.kw("WHEN") {
		e.args = append(e.args, p.expr())
		p.expectKw("THEN")
		e.args = append(e.args, p.expr())
	}
	if len(e.args) < 2 {
		p.giveUp("syntax at %q", p.peek().text)
	}
	if p.kw("ELSE") {
		e.hasElse = true
		e.args = append(e.args, p.expr())
	}
	p.expectKw("END")
	return e
}

func (p *parser) cast() *expr {
	p.expectOp("(")
	e := &expr{args: []*expr{p.expr()}}
	p.expectKw("AS")
	t := p.next()
	switch strings.ToUpper(t.text) {
	case "INT", "INTEGER", "BIGINT":
		e.op = opCastInt
	case "REAL", "FLOAT", "DOUBLE":
		e.op = opCastFloat
	default:
		p.giveUp("CAST AS %s", t.text)
	}
	p.expectOp(")")
	return e
}

// isName reports whether the token can name a table or column as it stands.
func isName(t token) bool {
	return t.kind == tokQuoted || t.kind == tokWord && !reserved[strings.ToUpper(t.text)]
}

func wordSet(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

var (
	// reserved are the keywords that SQLite never takes for a name.
	reserved = wordSet(`ADD ALL ALTER AND AS AUTOINCREMENT BETWEEN CASE CHECK COLLATE COMMIT CONSTRAINT CREATE DEFAULT
		DEFERRABLE DELETE DISTINCT DROP ELSE ESCAPE EXCEPT EXISTS FOREIGN FROM GROUP HAVING IN INDEX INSERT INTERSECT
		INTO IS ISNULL JOIN LIMIT NOT NOTHING NOTNULL NULL ON OR ORDER PRIMARY REFERENCES RETURNING SELECT SET TABLE
		THEN TO TRANSACTION UNION UNIQUE UPDATE USING VALUES WHEN WHERE`)
	joinWords = wordSet(`JOIN CROSS LEFT RIGHT FULL INNER OUTER NATURAL INDEXED NOT`)
	// notAlias are the words that end a term rather than name it.
	notAlias = wordSet(`CROSS LEFT RIGHT FULL INNER OUTER NATURAL INDEXED WINDOW OVER FILTER WITHIN LIKE GLOB MATCH
		REGEXP ASC DESC NULLS END OFFSET`)
)
