package query

import (
	"strconv"
	"strings"
)

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
