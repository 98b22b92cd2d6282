package query

import (
	"context"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// systemColumns are the columns of the relations that list what there is.
var systemColumns = map[string][]string{
	tablesRelation:  {"name", "kind", "versions", "columns"},
	columnsRelation: {"table_name", "name", "type", "unit", "kind"},
}

// systemRelation describes weir_tables or weir_columns. The columns are
// described as fields, whose types they share.
func systemRelation(name string) *relation {
	r := &relation{name: name, kind: relSystem}
	for i, c := range systemColumns[name] {
		t := telemetry.String
		if c == "versions" || c == "columns" {
			t = telemetry.Int
		}
		r.columns = append(r.columns, relationColumn{name: c, source: fromField, index: i, field: telemetry.Column{Name: c, Type: t}})
	}
	return r
}

// systemRows lists what there is.
func (c *catalog) systemRows(ctx context.Context, rel *relation) ([][]Value, error) {
	var rows [][]Value
	for _, name := range c.names() {
		r, err := c.relation(ctx, name)
		if err != nil {
			return nil, err
		}
		if rel.name == tablesRelation {
			rows = append(rows, []Value{TextValue(r.name), TextValue(r.kind.String()), c.versions(r), IntValue(int64(len(r.columnNames())))})
			continue
		}
		for i := range r.columns {
			col := &r.columns[i]
			if col.source == fromSeries {
				continue
			}
			unit := Value{}
			if col.field.Unit != "" {
				unit = TextValue(col.field.Unit)
			}
			rows = append(rows, []Value{TextValue(r.name), TextValue(col.name), TextValue(col.typeName()), unit, TextValue(col.kind(r))})
		}
	}
	return rows, nil
}

func (k relationKind) String() string {
	return [...]string{"table", "latest", "all", "system"}[k]
}

// kind says what a column is: time, tag, field or system.
func (c *relationColumn) kind(r *relation) string {
	switch {
	case r.kind == relSystem:
		return "system"
	case c.source == fromTime:
		return "time"
	case c.source == fromTag:
		return "tag"
	case c.source == fromField:
		return "field"
	}
	return "system"
}

// versions counts the recorded versions of a table.
func (c *catalog) versions(r *relation) Value {
	n := int64(0)
	for _, rec := range c.records {
		if rec.Table.Name == r.table {
			n++
		}
	}
	if n == 0 {
		return Value{}
	}
	return IntValue(n)
}

// union describes the view over a table and those that broke with it: every
// column that one of them has. It is a view in SQLite.
func (c *catalog) union(ctx context.Context, table string) (*relation, error) {
	u := &relation{name: table + allSuffix, kind: relUnion, members: c.members(table)}
	for _, m := range u.members {
		r, err := c.describe(ctx, m, m, relTable)
		if err != nil {
			return nil, err
		}
		for i := range r.columns {
			if u.find(r.columns[i].name) < 0 && r.columns[i].source != fromSeries {
				u.columns = append(u.columns, r.columns[i])
			}
		}
	}
	u.columns = append(u.columns, relationColumn{name: "_series", source: fromSeries})
	return u, nil
}

// unionView is the SELECT of a relUnion. Series of different tables stay apart.
func unionView(u *relation, members []*relation) string {
	view := ""
	for m, r := range members {
		if m > 0 {
			view += " UNION ALL "
		}
		view += "SELECT "
		for i := range u.columns {
			if i > 0 {
				view += ", "
			}
			name := u.columns[i].name
			switch {
			case u.columns[i].source == fromSeries:
				view += "_series"
			case r.find(name) < 0:
				view += "NULL AS " + quoteName(name)
			default:
				view += quoteName(name)
			}
		}
		view += " FROM " + quoteName(r.name)
	}
	return view
}
