package query

import (
	"fmt"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// aggregates are the aggregate functions of the executor.
var aggregates = map[string]bool{
	"count": true, "sum": true, "total": true, "avg": true, "min": true, "max": true,
	"first": true, "last": true, "rate": true, "stddev": true, "quantile": true, "median": true,
}

// binder gives the names of a select their meaning.
type binder struct {
	rel     *relation
	sel     *selectStmt
	now     int64
	aliases map[string]*expr
	depth   int
}

// isAggregate reports whether a call is of an aggregate.
func isAggregate(e *expr) bool {
	if e.op != opFunc || !aggregates[e.name] {
		return false
	}
	return e.name != "min" && e.name != "max" || len(e.args) <= 1
}

func hasAggregate(e *expr) bool {
	return !e.walk(func(x *expr) bool { return !isAggregate(x) })
}

// bind resolves e in place of a copy. Errors are for the caller; unsupported
// leaves the statement to SQLite.
func (b *binder) bind(e *expr, inAggregate bool) (*expr, error) {
	if b.depth++; b.depth > 2*maxDepth {
		return nil, &unsupported{"an expression nested too deep"}
	}
	defer func() { b.depth-- }()
	switch e.op {
	case opConst:
		return e, nil
	case opColumn:
		return b.column(e, inAggregate)
	}
	c := *e
	if isAggregate(e) {
		if inAggregate {
			return nil, &unsupported{"an aggregate inside an aggregate"}
		}
		inAggregate = true
	}
	c.args = make([]*expr, len(e.args))
	for i, a := range e.args {
		var err error
		if c.args[i], err = b.bind(a, inAggregate); err != nil {
			return nil, err
		}
	}
	if c.op == opFunc {
		return b.call(&c)
	}
	if err := b.operator(&c); err != nil {
		return nil, err
	}
	return fold(&c)
}

func (b *binder) column(e *expr, inAggregate bool) (*expr, error) {
	if e.table != "" && !equalFold(e.table, b.name()) {
		return nil, b.unknown(e.table + "." + e.name)
	}
	if i := b.rel.find(e.name); i >= 0 {
		c := *e
		c.index, c.aff = i, b.rel.columns[i].affinity()
		c.name = b.rel.columns[i].name
		return &c, nil
	}
	if e.table == "" {
		if a, ok := b.aliases[strings.ToLower(e.name)]; ok {
			if a == nil || inAggregate && hasAggregate(a) {
				return nil, &unsupported{fmt.Sprintf("the alias %q inside its own term or an aggregate", e.name)}
			}
			key := strings.ToLower(e.name)
			b.aliases[key] = nil
			bound, err := b.bind(a, inAggregate)
			b.aliases[key] = a
			return bound, err
		}
	}
	if equalFold(e.name, "rowid") || equalFold(e.name, "oid") || equalFold(e.name, "_rowid_") || equalFold(e.name, "_series") {
		return nil, &unsupported{"the column " + e.name}
	}
	return nil, b.unknown(e.name)
}

// name is what qualifies the columns of the table.
func (b *binder) name() string {
	if b.sel.alias != "" {
		return b.sel.alias
	}
	return b.rel.name
}

func (b *binder) unknown(name string) error {
	return unknownColumn(name, []*relation{b.rel})
}

// unknownColumn says which columns the tables have instead.
func unknownColumn(name string, rels []*relation) error {
	var all, lines []string
	for _, r := range rels {
		names := r.columnNames()
		all = append(all, names...)
		lines = append(lines, fmt.Sprintf("columns of %s: %s", r.name, strings.Join(names, ", ")))
	}
	hint := strings.Join(lines, "; ")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if s := nearest(last, all); s != "" {
		hint = fmt.Sprintf("did you mean %q? %s", s, hint)
	}
	return telemetry.Errorf(telemetry.CodeNotFound, "query", "there is no column %q", name).WithHint(hint)
}

// call checks a function call whose arguments are bound.
func (b *binder) call(e *expr) (*expr, error) {
	if isAggregate(e) {
		return e, b.aggregate(e)
	}
	if e.star || e.distinct {
		return nil, &unsupported{fmt.Sprintf("%s(…)", e.name)}
	}
	switch e.name {
	case "now":
		if len(e.args) == 0 {
			return textConst(e, string(appendTime(nil, b.now))), nil
		}
	case "ago":
		if len(e.args) == 1 && e.args[0].op == opConst && e.args[0].val.Kind == Text {
			t, err := ago(b.now, e.args[0].val.text)
			if err != nil {
				return nil, err
			}
			return textConst(e, string(appendTime(nil, t))), nil
		}
	case "iif", "if":
		if len(e.args) == 3 {
			c := *e
			c.op, c.hasElse = opCase, true
			return fold(&c)
		}
	}
	n, ok := scalarFuncs[e.name]
	if !ok || len(e.args) < n[0] || len(e.args) > n[1] {
		return nil, &unsupported{fmt.Sprintf("the function %s", e.name)}
	}
	if e.name == "bucket" {
		if e.args[0].op != opConst || len(e.args) == 3 && e.args[2].op != opConst {
			return nil, &unsupported{"a bucket that is not constant"}
		}
		zone := ""
		if len(e.args) == 3 {
			zone = e.args[2].val.String()
		}
		if !e.args[0].val.IsNull() {
			if _, err := newBucketer(e.args[0].val.String(), zone); err != nil {
				return nil, err
			}
		}
	}
	return fold(e)
}

func textConst(at *expr, s string) *expr {
	return &expr{op: opConst, val: TextValue(s), start: at.start, end: at.end}
}

func (b *binder) aggregate(e *expr) error {
	want := 1
	if e.star {
		want = 0
	}
	if e.name == "quantile" {
		if len(e.args) != 2 || e.distinct || e.star {
			return &unsupported{fmt.Sprintf("quantile of %d arguments", len(e.args))}
		}
		if e.args[1].op != opConst {
			return &unsupported{"a quantile that is not constant"}
		}
		_, err := quantileOf(e.args[1].val)
		return err
	}
	if len(e.args) != want || e.star && e.name != "count" || e.distinct && e.name != "count" {
		if e.name == "count" && len(e.args) == 0 && !e.distinct {
			e.star = true
			return nil
		}
		return &unsupported{fmt.Sprintf("%s of %d arguments", e.name, len(e.args))}
	}
	return nil
}

// operator checks an operator whose operands are bound.
func (b *binder) operator(e *expr) error {
	switch e.op {
	case opEq, opNe, opLt, opLe, opGt, opGe, opIs, opIsNot:
		if b.isTime(e.args[0]) {
			b.canon(e.args, 1)
		} else if b.isTime(e.args[1]) {
			b.canon(e.args, 0)
		}
		return textOfFloat(e.args[0], e.args[1])
	case opBetween, opNotBetween:
		for _, i := range []int{1, 2} {
			if b.isTime(e.args[0]) {
				b.canon(e.args, i)
			}
			if err := textOfFloat(e.args[0], e.args[i]); err != nil {
				return err
			}
		}
	case opIn, opNotIn:
		for i := range e.args[1:] {
			if b.isTime(e.args[0]) {
				b.canon(e.args, i+1)
			}
			if err := textOfFloat(e.args[0], e.args[i+1]); err != nil {
				return err
			}
		}
	case opCase:
		if e.hasOperand {
			for i := 1; i+1 < len(e.args); i += 2 {
				if err := textOfFloat(e.args[0], e.args[i]); err != nil {
					return err
				}
			}
		}
	case opLike, opNotLike, opGlob, opNotGlob:
		for _, a := range e.args {
			if a.op == opConst && a.val.Kind != Float {
				continue
			}
			if a.op == opColumn && a.aff == affText {
				continue
			}
			return &unsupported{"LIKE of a number"}
		}
	}
	return nil
}

// textOfFloat leaves to SQLite what would compare the text of a number.
func textOfFloat(a, b *expr) error {
	fa, fb := exprAffinity(a), exprAffinity(b)
	if comparisonAffinity(fa, fb) != affText {
		return nil
	}
	for _, e := range []*expr{a, b} {
		if exprAffinity(e) == affText || e.op == opConst && e.val.Kind != Float {
			continue
		}
		return &unsupported{"a comparison of text with a computed value"}
	}
	return nil
}

// isTime reports whether e is a bare time column.
func (b *binder) isTime(e *expr) bool {
	return e.op == opColumn && b.rel.columns[e.index].isTime()
}

// canon brings a literal that stands beside a time column to the form of time
// columns. rewrite does the same to what SQLite runs.
func (b *binder) canon(args []*expr, i int) {
	if a := args[i]; a.op == opConst && a.val.Kind == Text {
		args[i] = textConst(a, canonicalTime(a.val.text))
	}
}

// fold computes what is constant.
func fold(e *expr) (*expr, error) {
	for _, a := range e.args {
		if a.op != opConst {
			return e, nil
		}
	}
	if e.op == opFunc && isAggregate(e) {
		return e, nil
	}
	v, err := evalExpr(e, nil)
	if err != nil {
		return nil, err
	}
	return &expr{op: opConst, val: v, start: e.start, end: e.end}, nil
}

// sameExpr reports whether two bound expressions compute the same.
func sameExpr(a, b *expr) bool {
	if a.op != b.op || a.name != b.name || a.distinct != b.distinct || a.star != b.star ||
		a.hasOperand != b.hasOperand || a.hasElse != b.hasElse || a.index != b.index || a.val != b.val || len(a.args) != len(b.args) {
		return false
	}
	for i := range a.args {
		if !sameExpr(a.args[i], b.args[i]) {
			return false
		}
	}
	return true
}
