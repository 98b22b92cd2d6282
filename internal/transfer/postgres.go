package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// postgresSource is a dump of PostgreSQL. It is read twice: once to learn what its
// tables are, and once for the rows.
type postgresSource struct {
	paths  []string
	o      PostgresOptions
	schema *pgSchema
	tables map[string]*pgTable // by root table
	faults []Fault             // of rows that are none; told where there are no others
}

// pgTable is a table with what its rows show.
type pgTable struct {
	foreign *Foreign
	columns []*pgColumn // as they were first met
	time    string
	rows    int64
}

type pgColumn struct {
	name     string
	kind     telemetry.ColumnType // 0: only nulls until now
	declared string
	times    int // values that read as times
	others   int // and those that do not
	distinct map[string]bool
	many     bool // more values than tags have
}

// maxTagValues is how many values a column of text has at most that is taken for
// a tag.
const maxTagValues = 10_000

// OpenPostgres reads dumps as pg_dump (plain, without --inserts) and COPY TO
// STDOUT (text, or CSV with a header) write them, plain or compressed.
func OpenPostgres(ctx context.Context, paths []string, o PostgresOptions, progress func(done, total int64)) (ForeignSource, error) {
	s := &postgresSource{paths: paths, o: o, schema: newPGSchema(), tables: map[string]*pgTable{}}
	seen := map[string]map[string]*pgColumn{}
	for _, path := range paths {
		if err := s.learn(ctx, path, seen, progress); err != nil {
			return nil, err
		}
	}
	return s, s.decide()
}

// learn reads a dump for what its tables are. Rows may come before the statement
// that says whose they are, so they are gathered by the name that they have.
func (s *postgresSource) learn(ctx context.Context, path string, seen map[string]map[string]*pgColumn, progress func(done, total int64)) error {
	d, err := openDump(path, &s.o, s.schema)
	if err != nil {
		return err
	}
	defer d.close()
	for n := 0; ; n++ {
		if err := looked(ctx, n, d.in, progress); err != nil {
			return err
		}
		block, values, line, err := d.next()
		var bad *badRecord
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad): // told when the rows are read
			if len(s.faults) < maxFaults {
				s.faults = append(s.faults, Fault{d.name, line, err.Error()})
			}
			continue
		case err != nil:
			return d.in.failed(path, err)
		}
		t := s.tables[block.table]
		if t == nil {
			t = &pgTable{foreign: &Foreign{Source: block.table}}
			s.tables[block.table] = t
			seen[block.table] = map[string]*pgColumn{}
		}
		t.rows++
		for i, name := range block.columns {
			c := seen[block.table][name]
			if c == nil {
				c = &pgColumn{name: name, distinct: map[string]bool{}}
				seen[block.table][name] = c
				t.columns = append(t.columns, c)
			}
			if !values[i].null {
				c.learn(values[i].text)
			}
		}
	}
}

func (c *pgColumn) learn(text string) {
	if _, err := parseTime(text); err != nil {
		c.others++
	} else {
		c.times++
	}
	if c.kind != telemetry.String {
		c.kind = widen(c.kind, kindOf(text))
	}
	if !c.many {
		if c.distinct[text] = true; len(c.distinct) > maxTagValues || len(text) > 256 {
			c.many, c.distinct = true, nil
		}
	}
}

// kindOf is the narrowest type that a value of COPY has.
func kindOf(text string) telemetry.ColumnType {
	for _, t := range []telemetry.ColumnType{telemetry.Int, telemetry.Float} {
		if _, err := parseValue(t, text); err == nil {
			return t
		}
	}
	if text == "t" || text == "f" {
		return telemetry.Bool
	}
	return telemetry.String
}

// declaredKind is the type that a column was declared with, 0 for one that text
// stands for.
func declaredKind(declared string) (kind telemetry.ColumnType, timelike bool) {
	if strings.Contains(declared, "[]") {
		return telemetry.String, false
	}
	for prefix, k := range map[string]telemetry.ColumnType{
		"smallint": telemetry.Int, "integer": telemetry.Int, "bigint": telemetry.Int, "real": telemetry.Float, "double precision": telemetry.Float,
		"numeric": telemetry.Float, "boolean": telemetry.Bool, "json": telemetry.JSON,
	} {
		if strings.HasPrefix(declared, prefix) {
			return k, false
		}
	}
	if strings.HasPrefix(declared, "timestamp") || strings.HasPrefix(declared, "date") {
		return telemetry.String, true
	}
	return telemetry.String, false
}

// decide joins chunks with their tables and says which column is what.
func (s *postgresSource) decide() error {
	roots := map[string]*pgTable{}
	for _, name := range sortedKeys(s.tables) {
		t, root := s.tables[name], s.schema.root(name)
		if s.o.Table != "" && !sameTable(root, s.o.Table) {
			if !hyperChunk.MatchString(root) {
				continue
			}
			root = s.o.Table // a dump of the data alone does not say whose its chunks are
		}
		if hyperChunk.MatchString(root) {
			return telemetry.Errorf(telemetry.CodeInvalid, "import", "the dump does not say which hypertable %s belongs to", root).
				WithHint("name it with --table, or dump the schema as well")
		}
		if r := roots[root]; r == nil {
			t.foreign.Source = root
			roots[root] = t
		} else {
			r.join(t)
		}
	}
	s.tables = roots
	if len(roots) == 0 && len(s.faults) == 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "the dump holds no rows of %s", cmpOr(s.o.Table, "any table")).
			WithHint("a dump is plain SQL with COPY statements as pg_dump writes it, a CSV file with a header, or rows of COPY TO STDOUT with --columns")
	}
	taken := map[string]bool{}
	for _, name := range sortedKeys(roots) {
		t := roots[name]
		for _, c := range t.columns {
			c.declared = s.schema.types[name][c.name]
		}
		if err := t.decide(name, &s.o, len(roots) == 1); err != nil {
			return err
		}
		_, bare, _ := strings.Cut(name, ".")
		f := t.foreign
		f.Name = tableName(cmpOr(bare, name))
		if taken[f.Name] {
			f.Name = tableName(name)
		}
		taken[f.Name] = true
		f.Topic = "timescale/" + topicLevel(strings.ReplaceAll(name, ".", "_"))
	}
	return nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// sameTable compares names that may lack their schema.
func sameTable(full, name string) bool {
	_, bare, _ := strings.Cut(full, ".")
	return full == name || bare == name
}

func (t *pgTable) join(o *pgTable) {
	t.rows += o.rows
	for _, c := range o.columns {
		i := slices.IndexFunc(t.columns, func(have *pgColumn) bool { return have.name == c.name })
		if i < 0 {
			t.columns = append(t.columns, c)
			continue
		}
		have := t.columns[i]
		have.kind = widen(have.kind, c.kind)
		have.times, have.others = have.times+c.times, have.others+c.others
		have.many = have.many || c.many
		for v := range c.distinct {
			if !have.many {
				have.distinct[v] = true
				have.many = len(have.distinct) > maxTagValues
			}
		}
	}
}

// decide chooses the time, the tags and the fields. Options about columns count
// where the dump has one table.
func (t *pgTable) decide(name string, o *PostgresOptions, alone bool) error {
	f := t.foreign
	f.Identity = "time+values"
	for _, c := range t.columns {
		declared, timelike := declaredKind(c.declared)
		if c.declared == "" {
			declared, timelike = c.kind, c.times > 2*c.others // a bad row among them is told later
		}
		if declared == 0 {
			declared = telemetry.String
		}
		switch {
		case alone && o.Time != "" && c.name == o.Time, (!alone || o.Time == "") && t.time == "" && timelike:
			t.time = c.name
		case alone && o.Tags != nil && slices.Contains(o.Tags, c.name), (!alone || o.Tags == nil) && declared == telemetry.String && !timelike && !c.many:
			f.Tags = append(f.Tags, c.name)
		default:
			f.Fields = append(f.Fields, ForeignField{c.name, declared})
		}
		c.distinct = nil
	}
	if t.time == "" {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "which column of %s is the time cannot be told", name).WithHint("name it with --time-column")
	}
	slices.Sort(f.Tags)
	return nil
}

// Tables implements ForeignSource.
func (s *postgresSource) Tables() []*Foreign {
	var out []*Foreign
	for _, name := range sortedKeys(s.tables) {
		out = append(out, s.tables[name].foreign)
	}
	return out
}

// Faults implements ForeignSource.
func (s *postgresSource) Faults() []Fault { return s.faults }

// Close implements ForeignSource.
func (s *postgresSource) Close() error { return nil }

// Open implements ForeignSource.
func (s *postgresSource) Open(tables *Tables) (Reader, error) {
	return &postgresReader{places: s.paths, s: s, tables: tables, paths: s.paths}, nil
}

// postgresReader gives the rows in the order of the dumps; a mark is a count of
// them.
type postgresReader struct {
	places
	s      *postgresSource
	tables *Tables
	paths  []string // that are to be read, the first of them in d
	d      *dumpReader
	at     uint64
}

// next returns the next row of a table that is imported.
func (r *postgresReader) next() (t *pgTable, block *copyBlock, values []field, line int64, err error) {
	for {
		if r.d == nil {
			if len(r.paths) == 0 {
				return nil, nil, nil, 0, io.EOF
			}
			if r.d, err = openDump(r.paths[0], &r.s.o, r.s.schema); err != nil {
				return nil, nil, nil, 0, err
			}
		}
		block, values, line, err = r.d.next()
		if errors.Is(err, io.EOF) {
			if err := r.d.close(); err != nil {
				return nil, nil, nil, 0, err
			}
			r.d, r.paths = nil, r.paths[1:]
			continue
		}
		var bad *badRecord
		if err != nil && !errors.As(err, &bad) {
			return nil, nil, nil, 0, r.d.in.failed(r.d.name, err)
		}
		if block == nil {
			return nil, nil, nil, 0, err
		}
		root := r.s.schema.root(block.table)
		if hyperChunk.MatchString(root) {
			root = r.s.o.Table
		}
		if t = r.s.tables[root]; t == nil {
			continue
		}
		r.at++
		return t, block, values, line, err
	}
}

// Skip implements Reader.
func (r *postgresReader) Skip(mark uint64) error {
	for r.at < mark {
		_, _, _, _, err := r.next()
		var bad *badRecord
		if err != nil && !errors.As(err, &bad) {
			return telemetry.Errorf(telemetry.CodeInvalid, "import", "the dump has fewer rows than were imported: %v", err)
		}
	}
	return nil
}

// Next implements Reader.
func (r *postgresReader) Next() (*Group, error) {
	var g grouper
	for !g.full() {
		t, block, values, line, err := r.next()
		var bad *badRecord
		switch {
		case errors.Is(err, io.EOF):
			if out := g.take(r.at); out != nil {
				return out, nil
			}
			return nil, io.EOF
		case errors.As(err, &bad):
			g.fault(Fault{r.d.name, line, err.Error()})
			continue
		case err != nil:
			return nil, err
		}
		row, err := r.row(t, block, values)
		if err != nil {
			g.fault(Fault{r.d.name, line, err.Error()})
			continue
		}
		row.Line = r.number(len(r.places)-len(r.paths), line)
		b := t.foreign.bound
		g.add(&b.shape, b.shape.Version, row)
	}
	return g.take(r.at), nil
}

func (r *postgresReader) row(t *pgTable, block *copyBlock, values []field) (Row, error) {
	b := t.foreign.bound
	row := b.row()
	timed := false
	for i, name := range block.columns {
		if values[i].null {
			continue
		}
		text := values[i].text
		var err error
		if name == t.time {
			timed = true
			if row.Time, err = parseTime(text); err != nil {
				return row, err
			}
			continue
		}
		if at, ok := b.tags[name]; ok {
			row.Tags[at] = store.Tag{Value: text}
			continue
		}
		if at, ok := b.fields[name]; ok {
			if row.Values[at], err = parseColumn(b.shape.Columns[at].Type, text); err != nil {
				return row, fmt.Errorf("column %q: %w", name, err)
			}
		}
	}
	if !timed {
		return row, errors.New("the time is missing")
	}
	b.finish(r.tables, t.foreign, &row)
	return row, nil
}

// Progress implements Reader.
func (r *postgresReader) Progress() (int64, int64) {
	if r.d == nil {
		return 0, 0
	}
	return r.d.in.progress()
}

// Close implements Reader.
func (r *postgresReader) Close() error {
	if r.d == nil {
		return nil
	}
	return r.d.close()
}
