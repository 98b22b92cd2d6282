package schema

import (
	"fmt"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// valueColumn is the column of a payload that is one value.
const valueColumn = "value"

// addColumns gives the table its columns: every value that the schema names,
// unless the document gives it another name or leaves it out, then the
// document's own.
func (c *compiler) addColumns() {
	taken := map[*place]bool{}
	dropped := map[string]bool{}
	type own struct {
		spec  *columnSpec
		place *place
		inner bool
	}
	var owns []own
	for i := range c.doc.columns {
		spec := &c.doc.columns[i]
		if spec.drop {
			dropped[spec.name] = false
			continue
		}
		p, inner := c.resolve(&spec.at, "columns."+spec.name)
		if p != nil {
			taken[p] = true
			owns = append(owns, own{spec, p, inner})
		}
	}
	if c.doc.format != formatJSON {
		if !taken[c.root] {
			c.addColumn(valueColumn, c.root, false, c.root.unit, nil, 0, 0)
		}
	} else {
		c.defaultColumns(c.root, "", taken, dropped, false)
	}
	for _, o := range owns {
		unit := o.spec.unit
		if unit == "" {
			unit = o.place.unit
		}
		c.addColumn(o.spec.name, o.place, o.inner, unit, o.spec.mapped, o.spec.line, o.spec.col)
	}
	for i := range c.doc.columns {
		if spec := &c.doc.columns[i]; spec.drop && !dropped[spec.name] {
			c.at(spec.line, spec.col, "columns."+spec.name, "there is no column of that name to leave out", "")
		}
	}
	if len(c.table.Columns) > maxColumns {
		c.at(1, 1, "payload", fmt.Sprintf("%d columns; a table has at most %d", len(c.table.Columns), maxColumns), "")
	}
}

// defaultColumns adds a column for every property below the place that the
// schema names.
func (c *compiler) defaultColumns(p *place, prefix string, taken map[*place]bool, dropped map[string]bool, inner bool) {
	if p.rows {
		c.defaultColumns(p.items, "", taken, dropped, true)
		if len(p.items.props) == 0 && !taken[p.items] && p.items.types != 0 && len(p.items.uses) == 0 {
			c.defaultColumn(valueColumn, p.items, dropped, true)
		}
		return
	}
	for i, child := range p.props {
		name := prefix + p.names[i]
		switch {
		case taken[child] || len(child.uses) > 0:
		case child.rows || child.leadsToRows():
			c.defaultColumns(child, name+".", taken, dropped, inner)
		case !child.declared:
			if len(child.props) > 0 {
				c.defaultColumns(child, name+".", taken, dropped, inner)
			}
		case child.types&^typeNull == 0:
			// Nothing but null can stand there.
		case child.described && child.types&typeObject != 0 && (child.types&^(typeObject|typeNull) == 0 || child.types == typeAny):
			c.defaultColumns(child, name+".", taken, dropped, inner)
		default:
			c.defaultColumn(name, child, dropped, inner)
		}
	}
}

func (c *compiler) defaultColumn(name string, p *place, dropped map[string]bool, inner bool) {
	if _, ok := dropped[name]; ok {
		dropped[name] = true
		return
	}
	line, col := 0, 0
	if p.src != nil {
		line, col = p.src.line, p.src.col
	}
	c.addColumn(name, p, inner, p.unit, nil, line, col)
}

// leadsToRows reports whether the list of readings stands below.
func (p *place) leadsToRows() bool {
	return slices.ContainsFunc(p.props, func(child *place) bool { return child.rows || child.leadsToRows() })
}

func (c *compiler) addColumn(name string, p *place, inner bool, unit string, mapped []mapSpec, line, col int) {
	path := "columns." + name
	if !c.freeName(name, line, col, path) {
		return
	}
	if p.rows || p.leadsToRows() {
		c.at(line, col, path, "the list that rows names cannot be a column", "")
		return
	}
	column := telemetry.Column{Name: name, Type: p.columnType(), Unit: unit}
	u := use{kind: toColumn, slot: int32(len(c.table.Columns))}
	if mapped != nil {
		column.Type, u.mapped = c.mappings(path, mapped)
	}
	u.colType = column.Type
	p.uses = append(p.uses, u)
	p.raw = p.raw || column.Type == telemetry.JSON
	p.setNulls(c.doc.nulls)
	c.inner[p] = inner
	c.table.Columns = append(c.table.Columns, column)
	c.columnPlaces = append(c.columnPlaces, p)
}

// mappings compiles a column's map; the type is the one that holds all of its
// results.
func (c *compiler) mappings(path string, specs []mapSpec) (telemetry.ColumnType, []mapping) {
	var kind telemetry.ColumnType
	for _, s := range specs {
		var t telemetry.ColumnType
		switch s.to.kind {
		case docNull:
			continue
		case docBool:
			t = telemetry.Bool
		case docString:
			t = telemetry.String
		default:
			t = telemetry.Float
			if d := parseDecimal(s.to.text); d.isInt() {
				t = telemetry.Int
			}
		}
		switch {
		case kind == 0 || kind == t:
			kind = t
		case kind == telemetry.Int && t == telemetry.Float || kind == telemetry.Float && t == telemetry.Int:
			kind = telemetry.Float
		default:
			c.problem(s.to, path+".map", fmt.Sprintf("gives a %s where others give a %s", t, kind), "")
		}
	}
	if kind == 0 {
		kind = telemetry.Bool
	}
	var out []mapping
	for i, s := range specs {
		if slices.ContainsFunc(specs[:i], func(o mapSpec) bool { return o.from.same(&s.from) }) {
			c.problem(s.to, path+".map", fmt.Sprintf("maps %s twice", s.from.text), "")
		}
		m := mapping{from: s.from}
		m.to, _ = constantOf(s.to)
		switch {
		case s.to.kind == docNull:
			m.null = true
		case kind == telemetry.Bool:
			m.bits = uint64(b2i(s.to.text == "true"))
		case kind == telemetry.String:
			m.text = []byte(s.to.text)
		default:
			lit := []byte(s.to.text)
			mant, exp, _, flags := scanNumber(lit, 0)
			v, ok := scalarBits(kind, mant, exp, flags, lit)
			if !ok {
				c.problem(s.to, path+".map", "is beyond what a "+kind.String()+" holds", "")
			}
			m.bits = v
		}
		out = append(out, m)
	}
	return kind, out
}
