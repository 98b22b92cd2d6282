package transfer

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// field is one field of a text file.
type field struct {
	text string
	null bool
}

// row makes a reading of the fields of a file.
func (m *mapping) row(tables *Tables, names []string, f []field, line int64) (Row, error) {
	r := Row{Line: line}
	var err error
	if m.time < 0 || f[m.time].null {
		return r, errors.New("the time is missing")
	}
	if r.Time, err = parseTime(f[m.time].text); err != nil {
		return r, err
	}
	if m.received >= 0 && !f[m.received].null {
		if r.Received, err = parseTime(f[m.received].text); err != nil {
			return r, fmt.Errorf("column %q: %w", receivedColumn, err)
		}
	}
	for _, i := range m.extra {
		if !f[i].null {
			return r, fmt.Errorf("version %d of %s has no column %q", m.shape.Version, m.shape.Table, names[i])
		}
	}
	for _, i := range m.tags {
		t := store.Tag{Null: true}
		if i >= 0 && !f[i].null {
			t = store.Tag{Value: f[i].text}
		}
		r.Tags = append(r.Tags, t)
	}
	r.Values = make([]telemetry.Value, len(m.columns))
	for c, i := range m.columns {
		if i < 0 || f[i].null {
			r.Values[c].Null = true
			continue
		}
		if r.Values[c], err = parseColumn(m.shape.Columns[c].Type, f[i].text); err != nil {
			return r, fmt.Errorf("column %q: %w", m.shape.Columns[c].Name, err)
		}
	}
	if m.topic >= 0 && !f[m.topic].null {
		r.Topic = f[m.topic].text
	}
	return r, m.finish(tables, &r)
}

// finish gives a reading its topic, where the file has none.
func (m *mapping) finish(tables *Tables, r *Row) error {
	if r.Topic == "" && tables.Topic != nil {
		r.Topic = tables.Topic(tables.Find(m.shape.Table, m.shape.Version), func(name string) (string, bool) {
			for i, t := range m.shape.Tags {
				if t == name && !r.Tags[i].Null {
					return r.Tags[i].Value, true
				}
			}
			return "", false
		})
	}
	if r.Topic == "" {
		return fmt.Errorf("the topic is missing: there is no column %s, and the tags do not tell it", topicColumn)
	}
	return nil
}

// parseColumn reads a value. A whole number that was widened to a float in a file
// of several versions is an integer again.
func parseColumn(t telemetry.ColumnType, text string) (telemetry.Value, error) {
	v, err := parseValue(t, text)
	if err == nil || t != telemetry.Int {
		return v, err
	}
	if f, e := strconv.ParseFloat(text, 64); e == nil && decimal(text) {
		if w, e := numberValue(t, f); e == nil {
			return w, nil
		}
	}
	return v, err
}

// numberValue is a float as a float or, where it is whole, as an integer.
func numberValue(t telemetry.ColumnType, f float64) (telemetry.Value, error) {
	if t == telemetry.Float {
		return telemetry.Value{Bits: math.Float64bits(f)}, nil
	}
	if f == math.Trunc(f) && f >= math.MinInt64 && f < math.MaxInt64 {
		return telemetry.Value{Bits: uint64(int64(f))}, nil
	}
	return telemetry.Value{}, fmt.Errorf("%v is not an integer of 64 bits", f)
}

// csvImport reads a file that an export wrote, or one like it.
type csvImport struct {
	places
	name     string
	in       *input
	csv      *csvReader
	tables   *Tables
	table    string
	names    []string
	version  int // field, -1 for none
	mappings map[int]*mapping
	newest   int
	fields   []field
	skip     int64
}

// OpenCSV reads a CSV file with a header into a table.
func OpenCSV(path, table string, tables *Tables) (Reader, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	c := &csvImport{places: places{path}, name: path, in: in, csv: newCSVReader(in, ','), tables: tables, table: table, version: -1}
	if err := c.header(); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return c, nil
}

func (c *csvImport) header() error {
	versions, err := c.tables.require(c.table)
	if err != nil {
		return err
	}
	fields, _, err := c.csv.read()
	if err != nil {
		return noHeader(c.name, err)
	}
	for i, f := range fields {
		if i == 0 {
			f.text = trimBOM(f.text)
		}
		if f.text == versionColumn {
			c.version = i
		}
		c.names = append(c.names, f.text)
	}
	if c.mappings, err = mapNames(versions, c.names); err != nil {
		return err
	}
	c.newest = versions[len(versions)-1].Version
	if c.mappings[c.newest].time < 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s has no column %q", c.name, timeColumn)
	}
	return nil
}

// noHeader says why a CSV file has no first row.
func noHeader(name string, err error) error {
	if errors.Is(err, io.EOF) {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s is empty: a CSV file begins with the names of its columns", shownName(name))
	}
	return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s has no header: %v", shownName(name), err)
}

// shownName names a source for a person.
func shownName(path string) string {
	if path == Stdin {
		return "standard input"
	}
	return path
}

func trimBOM(s string) string {
	if len(s) >= 3 && s[:3] == "\xef\xbb\xbf" {
		return s[3:]
	}
	return s
}

func (c *csvImport) Skip(mark uint64) error {
	c.skip = int64(mark)
	for c.csv.offset < c.skip {
		if _, err := c.csv.byte(); err != nil {
			return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s ends before byte %d, where the import goes on", c.name, mark).
				WithHint("the file was changed; --again imports it from its beginning")
		}
	}
	return nil
}

func (c *csvImport) Next() (*Group, error) {
	var g grouper
	for !g.full() {
		fields, line, err := c.csv.read()
		var bad *badRecord
		switch {
		case errors.Is(err, io.EOF):
			if out := g.take(uint64(c.csv.offset)); out != nil {
				return out, nil
			}
			return nil, io.EOF
		case errors.As(err, &bad):
			g.fault(Fault{c.name, line, err.Error()})
			continue
		case err != nil:
			return nil, c.in.failed(c.name, err)
		}
		m, row, err := c.reading(fields, line)
		if err != nil {
			g.fault(Fault{c.name, line, err.Error()})
			continue
		}
		g.add(&m.shape, m.shape.Version, row)
	}
	return g.take(uint64(c.csv.offset)), nil
}

func (c *csvImport) reading(fields []csvField, line int64) (*mapping, Row, error) {
	if len(fields) != len(c.names) {
		return nil, Row{}, fmt.Errorf("%d fields, the header has %d", len(fields), len(c.names))
	}
	version := c.newest
	if c.version >= 0 && fields[c.version].text != "" {
		v, err := strconv.Atoi(fields[c.version].text)
		if err != nil {
			return nil, Row{}, fmt.Errorf("column %q: %s is not a version", versionColumn, short(fields[c.version].text))
		}
		version = v
	}
	m := c.mappings[version]
	if m == nil {
		return nil, Row{}, fmt.Errorf("version %d of %s is not recorded", version, c.table)
	}
	c.fields = c.fields[:0]
	for _, f := range fields {
		c.fields = append(c.fields, field{f.text, f.text == "" && !f.quoted})
	}
	row, err := m.row(c.tables, c.names, c.fields, line)
	return m, row, err
}

func (c *csvImport) Progress() (int64, int64) { return c.in.progress() }
func (c *csvImport) Close() error             { return c.in.Close() }
