package query

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// columnSource says where the values of a relation's column come from.
type columnSource uint8

const (
	fromTime columnSource = iota
	fromReceived
	fromTag
	fromTopic
	fromVersion
	fromField
	fromSeries // the series ref: hidden, for rate in SQLite
)

// relationColumn is one column of a relation.
type relationColumn struct {
	name   string
	source columnSource
	index  int // of the tag or field
	field  telemetry.Column
}

// Type names the column's type in results.
func (c *relationColumn) typeName() string {
	switch c.source {
	case fromTime, fromReceived:
		return TypeTime
	case fromVersion, fromSeries:
		return TypeInt
	case fromField:
		switch c.field.Type {
		case telemetry.Float:
			return TypeFloat
		case telemetry.Int:
			return TypeInt
		case telemetry.Bool:
			return TypeBool
		case telemetry.JSON:
			return TypeJSON
		}
	}
	return TypeText
}

func (c *relationColumn) affinity() affinity {
	switch c.typeName() {
	case TypeFloat, TypeInt, TypeBool:
		return affNumeric
	}
	return affText
}

// isTime reports whether comparisons read the other side as a time.
func (c *relationColumn) isTime() bool { return c.source == fromTime || c.source == fromReceived }

// seriesOnly reports whether the value is the same for all rows of a series.
func (c *relationColumn) seriesOnly() bool { return c.source == fromTag || c.source == fromTopic }

type relationKind uint8

const (
	relTable  relationKind = iota
	relLatest              // the newest row of each series
	relUnion               // a table and the versions that broke with it
	relSystem              // what there is
)

// relation is something that FROM can name.
type relation struct {
	name    string
	kind    relationKind
	table   string // in the store
	columns []relationColumn
	fields  []telemetry.Column
	tags    []string
	members []string // of relUnion: the tables
}

// find returns the position of a column, or -1. Names are matched as SQLite
// does, without regard to ASCII case.
func (r *relation) find(name string) int {
	for i := range r.columns {
		if equalFold(r.columns[i].name, name) && r.columns[i].source != fromSeries {
			return i
		}
	}
	return -1
}

func (r *relation) columnNames() []string {
	var names []string
	for i := range r.columns {
		if r.columns[i].source != fromSeries {
			names = append(names, r.columns[i].name)
		}
	}
	return names
}

// equalFold compares without regard to the case of ASCII letters.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// The names of the two relations that list what there is.
const (
	tablesRelation  = "weir_tables"
	columnsRelation = "weir_columns"
	latestSuffix    = "_latest"
	allSuffix       = "_all"
)

// catalog is what a tenant's statements can name.
type catalog struct {
	store   store.Store
	tenant  telemetry.Tenant
	records []store.TableRecord
	tables  []string // base tables, in order
}

func loadCatalog(ctx context.Context, st store.Store, tenant telemetry.Tenant) (*catalog, error) {
	recs, err := st.Tables(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	c := &catalog{store: st, tenant: tenant, records: recs}
	for _, r := range recs {
		if !slices.Contains(c.tables, r.Table.Name) {
			c.tables = append(c.tables, r.Table.Name)
		}
	}
	return c, nil
}

// names lists all relations: tables, then views, then what lists them.
func (c *catalog) names() []string {
	names := slices.Clone(c.tables)
	for _, t := range c.tables {
		if c.base(t+latestSuffix) == "" {
			names = append(names, t+latestSuffix)
		}
	}
	for _, t := range c.tables {
		if len(c.members(t)) > 1 && c.base(t+allSuffix) == "" {
			names = append(names, t+allSuffix)
		}
	}
	return append(names, tablesRelation, columnsRelation)
}

// base returns the stored table of that name, or "".
func (c *catalog) base(name string) string {
	for _, t := range c.tables {
		if equalFold(t, name) {
			return t
		}
	}
	return ""
}

// members returns a table and those that broke with it: env, env_v2, env_v3.
func (c *catalog) members(name string) []string {
	members := []string{name}
	for _, t := range c.tables {
		if n, ok := strings.CutPrefix(t, name+"_v"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			members = append(members, t)
		}
	}
	return members
}

// relation resolves a name.
func (c *catalog) relation(ctx context.Context, name string) (*relation, error) {
	if t := c.base(name); t != "" {
		return c.describe(ctx, t, t, relTable)
	}
	low := strings.ToLower(name)
	if stem, ok := strings.CutSuffix(low, latestSuffix); ok {
		if t := c.base(stem); t != "" {
			return c.describe(ctx, t+latestSuffix, t, relLatest)
		}
	}
	if stem, ok := strings.CutSuffix(low, allSuffix); ok {
		if t := c.base(stem); t != "" && len(c.members(t)) > 1 {
			return c.union(ctx, t)
		}
	}
	if low == tablesRelation || low == columnsRelation {
		return systemRelation(low), nil
	}
	return nil, c.unknownTable(name)
}

// unknownTable says what there is instead.
func (c *catalog) unknownTable(name string) error {
	e := telemetry.Errorf(telemetry.CodeNotFound, "query", "there is no table %q", name)
	names := c.names()
	hint := "tables: " + strings.Join(names, ", ")
	if len(c.tables) == 0 {
		hint = "no schema has stored anything yet"
	}
	if s := nearest(name, names); s != "" {
		hint = fmt.Sprintf("did you mean %q? %s", s, hint)
	}
	return e.WithHint(hint)
}

// describe lays out the columns of a table.
func (c *catalog) describe(ctx context.Context, name, table string, kind relationKind) (*relation, error) {
	// An empty range asks the store for the columns and for no data.
	scan, err := c.store.Scan(ctx, store.ScanRequest{Tenant: c.tenant, Table: table, Match: func(string, []store.Tag) bool { return false }})
	if err != nil {
		return nil, fmt.Errorf("describe table %q: %w", table, err)
	}
	defer scan.Close()
	return layout(name, table, kind, scan.Columns(), scan.TagNames()), nil
}

// layout orders the columns: time, tags, fields, received_at, _topic, _version.
func layout(name, table string, kind relationKind, fields []telemetry.Column, tags []string) *relation {
	r := &relation{name: name, table: table, kind: kind, fields: fields, tags: tags}
	fixed := []string{"time", "received_at", "_topic", "_version", "_series"}
	add := func(name string, col relationColumn) {
		// A payload may call a column as we do, or two alike but for case.
		for slices.ContainsFunc(fixed, func(f string) bool { return equalFold(f, name) }) || r.find(name) >= 0 {
			name += "_"
		}
		col.name = name
		r.columns = append(r.columns, col)
	}
	r.columns = append(r.columns, relationColumn{name: "time", source: fromTime})
	for i, t := range tags {
		add(t, relationColumn{source: fromTag, index: i})
	}
	for i, f := range fields {
		add(f.Name, relationColumn{source: fromField, index: i, field: f})
	}
	r.columns = append(r.columns,
		relationColumn{name: "received_at", source: fromReceived},
		relationColumn{name: "_topic", source: fromTopic},
		relationColumn{name: "_version", source: fromVersion},
		relationColumn{name: "_series", source: fromSeries})
	return r
}

// nearest returns the candidate that a name was probably meant for, or "".
func nearest(name string, candidates []string) string {
	best, at := "", len(name)/3+2
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d < at {
			best, at = c, d
		}
	}
	return best
}

// editDistance counts the letters to insert, remove, change or swap. Long
// names are far from everything.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var d [65][65]int
	for i := 0; i <= len(a); i++ {
		d[i][0] = i
	}
	for j := 0; j <= len(b); j++ {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
