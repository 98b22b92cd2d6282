package query

import (
	"fmt"
	"math"
	"strings"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The types of result columns. Values of an Any column may be of every class.
const (
	TypeTime  = "time" // text, RFC 3339 in UTC
	TypeText  = "text"
	TypeInt   = "int"
	TypeFloat = "float"
	TypeBool  = "bool" // integers 0 and 1
	TypeJSON  = "json" // text that is one JSON value
	TypeAny   = "any"
)

// output is one column of the result.
type output struct {
	name string
	typ  string
	expr *expr
}

type orderKey struct {
	expr       *expr
	out        int // the output that is the same expression, or -1
	desc       bool
	nullsFirst bool
}

// aggSpec is one aggregate to compute.
type aggSpec struct {
	fn       string
	arg      *expr   // nil for count(*)
	p        float64 // of quantile
	distinct bool
}

// plan is a select that the executor can run.
type plan struct {
	rel      *relation
	from, to int64
	never    bool // the condition is constantly false
	seriesIf []*expr
	rowIf    []*expr
	ranges   []store.ValueRange
	open     []openEnds // parallel to ranges
	grouped  bool
	keys     []*expr
	aggs     []aggSpec
	having   *expr
	outs     []output
	order    []orderKey
	distinct bool
	limit    int64 // -1: none
	offset   int64
	rawRates bool // rate keeps every point, because the times of units overlap
}

// newPlan binds a select. It returns unsupported where SQLite has to run it.
func newPlan(s *selectStmt, sql string, rel *relation, now int64) (*plan, error) {
	p := &plan{rel: rel, from: math.MinInt64, to: math.MaxInt64, limit: -1, distinct: s.distinct}
	b := &binder{rel: rel, sel: s, now: now, aliases: map[string]*expr{}}
	for _, c := range s.columns {
		if c.alias != "" {
			key := strings.ToLower(c.alias)
			if _, dup := b.aliases[key]; !dup {
				b.aliases[key] = c.expr
			}
		}
	}
	if err := p.bindOutputs(b, sql); err != nil {
		return nil, err
	}
	if err := p.bindWhere(b); err != nil {
		return nil, err
	}
	if err := p.bindGroups(b); err != nil {
		return nil, err
	}
	if err := p.bindOrder(b); err != nil {
		return nil, err
	}
	if err := p.bindLimit(b); err != nil {
		return nil, err
	}
	return p, p.finish()
}

func (p *plan) bindOutputs(b *binder, sql string) error {
	for _, c := range b.sel.columns {
		if c.star {
			if c.table != "" && !equalFold(c.table, b.name()) {
				return telemetry.Errorf(telemetry.CodeNotFound, "query", "there is no table %q in FROM", c.table)
			}
			for i := range p.rel.columns {
				if col := &p.rel.columns[i]; col.source != fromSeries {
					e := &expr{op: opColumn, name: col.name, index: i, aff: col.affinity()}
					p.outs = append(p.outs, output{name: col.name, expr: e})
				}
			}
			continue
		}
		// A term's own alias does not name it.
		e, err := b.bindTerm(c)
		if err != nil {
			return err
		}
		name := c.alias
		if name == "" {
			name = strings.TrimSpace(sql[c.expr.start:c.expr.end])
			if e.op == opColumn {
				name = e.name
			}
		}
		p.outs = append(p.outs, output{name: name, expr: e})
	}
	return nil
}

func (b *binder) bindTerm(c resultColumn) (*expr, error) {
	// In the select list, SQLite knows no aliases.
	saved := b.aliases
	b.aliases = nil
	defer func() { b.aliases = saved }()
	return b.bind(c.expr, false)
}

func (p *plan) bindWhere(b *binder) error {
	if b.sel.where == nil {
		return nil
	}
	e, err := b.bind(b.sel.where, false)
	if err != nil {
		return err
	}
	if hasAggregate(e) {
		return &unsupported{"an aggregate in WHERE"}
	}
	p.addCondition(e)
	return nil
}

func (p *plan) bindGroups(b *binder) error {
	for _, g := range b.sel.groupBy {
		var e *expr
		var err error
		if g.op == opConst && g.val.Kind == Int {
			n := g.val.Int()
			if n < 1 || n > int64(len(p.outs)) {
				return &unsupported{"a GROUP BY term out of range"}
			}
			e = p.outs[n-1].expr
		} else if e, err = b.bind(g, false); err != nil {
			return err
		}
		if hasAggregate(e) {
			return &unsupported{"an aggregate in GROUP BY"}
		}
		p.keys = append(p.keys, e)
	}
	p.grouped = len(p.keys) > 0
	for i := range p.outs {
		p.grouped = p.grouped || hasAggregate(p.outs[i].expr)
	}
	if b.sel.having != nil {
		e, err := b.bind(b.sel.having, false)
		if err != nil {
			return err
		}
		if !p.grouped && !hasAggregate(e) {
			return &unsupported{"HAVING without groups"}
		}
		p.grouped, p.having = true, e
	}
	return nil
}

func (p *plan) bindOrder(b *binder) error {
	for _, o := range b.sel.orderBy {
		k := orderKey{desc: o.desc, nullsFirst: o.nullsFirst, out: -1}
		switch {
		case o.expr.op == opConst && o.expr.val.Kind == Int:
			n := o.expr.val.Int()
			if n < 1 || n > int64(len(p.outs)) {
				return &unsupported{"an ORDER BY term out of range"}
			}
			k.expr = p.outs[n-1].expr
		case o.expr.op == opColumn && o.expr.table == "" && b.aliasOutput(o.expr.name) >= 0:
			k.expr = p.outs[b.aliasOutput(o.expr.name)].expr
		default:
			e, err := b.bind(o.expr, false)
			if err != nil {
				return err
			}
			k.expr = e
		}
		if hasAggregate(k.expr) && !p.grouped {
			return &unsupported{"an aggregate in ORDER BY only"}
		}
		p.order = append(p.order, k)
	}
	return nil
}

// aliasOutput returns which output has the alias, or -1. It is only used where
// the select list has no star before it.
func (b *binder) aliasOutput(name string) int {
	at := 0
	for _, c := range b.sel.columns {
		if c.star {
			for i := range b.rel.columns {
				if b.rel.columns[i].source != fromSeries {
					at++
				}
			}
			continue
		}
		if c.alias != "" && equalFold(c.alias, name) {
			return at
		}
		at++
	}
	return -1
}

func (p *plan) bindLimit(b *binder) error {
	number := func(e *expr) (int64, error) {
		bound, err := b.bind(e, false)
		if err != nil {
			return 0, err
		}
		if bound.op != opConst || bound.val.Kind != Int {
			return 0, &unsupported{"a LIMIT that is not a constant integer"}
		}
		return bound.val.Int(), nil
	}
	var err error
	if b.sel.limit != nil {
		if p.limit, err = number(b.sel.limit); err != nil {
			return err
		}
		p.limit = max(p.limit, -1)
	}
	if b.sel.offset != nil {
		if p.offset, err = number(b.sel.offset); err != nil {
			return err
		}
		p.offset = max(p.offset, 0)
	}
	return nil
}

// finish turns outputs, having and order of a grouped select into expressions
// over keys and aggregates, and types the outputs.
func (p *plan) finish() error {
	for i := range p.outs {
		p.outs[i].typ = p.typeOf(p.outs[i].expr)
	}
	if p.distinct && !p.grouped {
		// DISTINCT over expressions of rows is grouping by them.
		for i := range p.outs {
			p.keys = append(p.keys, p.outs[i].expr)
		}
		p.grouped, p.distinct = true, false
	}
	if p.grouped {
		var err error
		for i := range p.outs {
			if p.outs[i].expr, err = p.overGroups(p.outs[i].expr); err != nil {
				return err
			}
		}
		for i := range p.order {
			if p.order[i].expr, err = p.overGroups(p.order[i].expr); err != nil {
				return err
			}
		}
		if p.having != nil {
			if p.having, err = p.overGroups(p.having); err != nil {
				return err
			}
		}
	}
	for i := range p.order {
		for j := range p.outs {
			if sameExpr(p.order[i].expr, p.outs[j].expr) {
				p.order[i].out = j
				break
			}
		}
	}
	if p.distinct {
		for _, o := range p.order {
			if o.out < 0 {
				return &unsupported{"DISTINCT ordered by what is not selected"}
			}
		}
	}
	return nil
}

// overGroups replaces keys and aggregates by their slots: first the keys, then
// the aggregates.
func (p *plan) overGroups(e *expr) (*expr, error) {
	for i, k := range p.keys {
		if sameExpr(e, k) {
			return &expr{op: opSlot, index: i, aff: exprAffinity(e), start: e.start, end: e.end}, nil
		}
	}
	if isAggregate(e) {
		spec := aggSpec{fn: e.name, distinct: e.distinct}
		if len(e.args) > 0 {
			spec.arg = e.args[0]
		}
		switch spec.fn {
		case "quantile":
			spec.p = e.args[1].val.asFloat()
		case "median":
			spec.fn, spec.p = "quantile", 0.5
		}
		if spec.distinct && (spec.fn == "min" || spec.fn == "max") {
			spec.distinct = false
		}
		for i, a := range p.aggs {
			if a.fn == spec.fn && a.p == spec.p && a.distinct == spec.distinct && (a.arg == nil) == (spec.arg == nil) && (a.arg == nil || sameExpr(a.arg, spec.arg)) {
				return &expr{op: opSlot, index: len(p.keys) + i}, nil
			}
		}
		p.aggs = append(p.aggs, spec)
		return &expr{op: opSlot, index: len(p.keys) + len(p.aggs) - 1}, nil
	}
	if e.op == opColumn {
		return nil, &unsupported{fmt.Sprintf("the column %q outside GROUP BY and aggregates", e.name)}
	}
	if len(e.args) == 0 {
		return e, nil
	}
	c := *e
	c.args = make([]*expr, len(e.args))
	for i, a := range e.args {
		var err error
		if c.args[i], err = p.overGroups(a); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// typeOf names the type of an output as far as it is known before running.
func (p *plan) typeOf(e *expr) string {
	switch e.op {
	case opColumn:
		return p.rel.columns[e.index].typeName()
	case opConst:
		switch e.val.Kind {
		case Int:
			return TypeInt
		case Float:
			return TypeFloat
		case Text:
			return TypeText
		}
	case opFunc:
		switch e.name {
		case "count":
			return TypeInt
		case "avg", "total", "rate", "stddev", "quantile", "median":
			return TypeFloat
		case "bucket":
			return TypeTime
		case "min", "max", "first", "last", "sum":
			if len(e.args) == 1 {
				switch t := p.typeOf(e.args[0]); t {
				case TypeInt, TypeBool:
					return TypeInt
				case TypeFloat, TypeTime, TypeText:
					if e.name != "sum" || t == TypeFloat {
						return t
					}
				}
			}
		}
	}
	return TypeAny
}
