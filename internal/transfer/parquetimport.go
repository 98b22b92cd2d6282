package transfer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// DefinitionsKey is the key of a Parquet file's metadata under which the table
// versions stand, as they stand in the file beside other exports.
const DefinitionsKey = "weir.definitions"

// ParquetDefinitions returns the table versions that stand in a Parquet file, nil
// where there are none.
func ParquetDefinitions(path string) (*Definitions, error) {
	file, f, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, ok := f.Lookup(DefinitionsKey)
	if !ok {
		return nil, nil
	}
	return ReadDefinitions([]byte(text))
}

func openParquet(path string) (*os.File, *parquet.File, error) {
	if path == Stdin {
		return nil, nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "a Parquet file is read from its end, so it cannot come from standard input").
			WithHint("write it to a file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, telemetry.Errorf(telemetry.CodeNotFound, "import", "%v", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	f, err := parquet.OpenFile(file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, nil, errors.Join(telemetry.Errorf(telemetry.CodeDamaged, "import", "%s is no Parquet file, or damaged: %v", path, err), file.Close())
	}
	return file, f, nil
}

// parquetImport reads a file that an export wrote, or one like it: flat columns
// by name.
type parquetImport struct {
	places
	name     string
	file     *os.File
	f        *parquet.File
	r        *parquet.GenericReader[any]
	tables   *Tables
	table    string
	columns  []parquetColumn
	version  int // column, -1 for none
	mappings map[int]*mapping
	newest   int
	at       int64 // row
	rows     []parquet.Row
}

// parquetColumn is a leaf column of the file.
type parquetColumn struct {
	name string
	kind parquet.Kind
	unit time.Duration // of a timestamp; 0: it is none
}

// OpenParquet reads a Parquet file into a table.
func OpenParquet(path, table string, tables *Tables) (Reader, error) {
	versions, err := tables.require(table)
	if err != nil {
		return nil, err
	}
	file, f, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	p := &parquetImport{places: places{path}, name: path, file: file, f: f, r: parquet.NewGenericReader[any](f), tables: tables, table: table, version: -1}
	var names []string
	for _, c := range f.Root().Columns() {
		if !c.Leaf() || c.Repeated() {
			return nil, errors.Join(telemetry.Errorf(telemetry.CodeInvalid, "import", "%s: column %q is nested or repeated", path, c.Name()), file.Close())
		}
		if c.Name() == versionColumn {
			p.version = len(names)
		}
		names = append(names, c.Name())
		p.columns = append(p.columns, parquetColumn{c.Name(), c.Type().Kind(), timestampUnit(c.Type().LogicalType())})
	}
	if p.mappings, err = mapNames(versions, names); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p.newest = versions[len(versions)-1].Version
	if m := p.mappings[p.newest]; m.time < 0 {
		return nil, errors.Join(telemetry.Errorf(telemetry.CodeInvalid, "import", "%s has no column %q", path, timeColumn), file.Close())
	}
	p.rows = make([]parquet.Row, 256)
	return p, nil
}

func timestampUnit(t *format.LogicalType) time.Duration {
	if t == nil {
		return 0
	}
	ts, ok := t.Value.(*format.TimestampType)
	if !ok {
		return 0
	}
	switch u := ts.Unit.Value.(type) {
	case *format.NanoSeconds:
		return time.Nanosecond
	case *format.MicroSeconds:
		return time.Microsecond
	case *format.MilliSeconds:
		return time.Millisecond
	default:
		_ = u
		return 0
	}
}

func (p *parquetImport) Skip(mark uint64) error {
	if mark > uint64(p.f.NumRows()) {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s has %d rows, and the import goes on at %d", p.name, p.f.NumRows(), mark)
	}
	p.at = int64(mark)
	return p.r.SeekToRow(p.at)
}

func (p *parquetImport) Next() (*Group, error) {
	var g grouper
	for !g.full() {
		n, err := p.r.ReadRows(p.rows)
		for _, values := range p.rows[:n] {
			p.at++
			m, row, err := p.reading(values)
			if err != nil {
				g.fault(Fault{p.name, p.at, err.Error()})
				continue
			}
			row.Line = p.at
			g.add(&m.shape, m.shape.Version, row)
		}
		if errors.Is(err, io.EOF) {
			if out := g.take(uint64(p.at)); out != nil {
				return out, nil
			}
			return nil, io.EOF
		}
		if err != nil {
			return nil, telemetry.Errorf(telemetry.CodeDamaged, "import", "%s, after row %d: %v", p.name, p.at, err)
		}
	}
	return g.take(uint64(p.at)), nil
}

// reading makes a reading of one row, which has a value for each leaf.
func (p *parquetImport) reading(values parquet.Row) (*mapping, Row, error) {
	version := p.newest
	if p.version >= 0 && !values[p.version].IsNull() {
		n, err := p.integer(values[p.version], p.version)
		if err != nil {
			return nil, Row{}, err
		}
		version = int(n)
	}
	m := p.mappings[version]
	if m == nil {
		return nil, Row{}, fmt.Errorf("version %d of %s is not recorded", version, p.table)
	}
	r := Row{}
	var err error
	if values[m.time].IsNull() {
		return nil, r, errors.New("the time is missing")
	}
	if r.Time, err = p.time(values[m.time], m.time); err != nil {
		return nil, r, err
	}
	if m.received >= 0 && !values[m.received].IsNull() {
		if r.Received, err = p.time(values[m.received], m.received); err != nil {
			return nil, r, err
		}
	}
	for _, i := range m.extra {
		if !values[i].IsNull() {
			return nil, r, fmt.Errorf("version %d of %s has no column %q", version, p.table, p.columns[i].name)
		}
	}
	for _, i := range m.tags {
		t := store.Tag{Null: true}
		if i >= 0 && !values[i].IsNull() {
			t = store.Tag{Value: string(values[i].ByteArray())}
			if p.columns[i].kind != parquet.ByteArray || !utf8.ValidString(t.Value) {
				return nil, r, fmt.Errorf("column %q is a tag and not text", p.columns[i].name)
			}
		}
		r.Tags = append(r.Tags, t)
	}
	r.Values = make([]telemetry.Value, len(m.columns))
	for c, i := range m.columns {
		if i < 0 || values[i].IsNull() {
			r.Values[c].Null = true
			continue
		}
		if r.Values[c], err = p.value(m.shape.Columns[c].Type, values[i], i); err != nil {
			return nil, r, fmt.Errorf("column %q: %w", p.columns[i].name, err)
		}
	}
	if m.topic >= 0 && !values[m.topic].IsNull() && p.columns[m.topic].kind == parquet.ByteArray {
		r.Topic = string(values[m.topic].ByteArray())
	}
	return m, r, m.finish(p.tables, &r)
}

func (p *parquetImport) integer(v parquet.Value, col int) (int64, error) {
	switch p.columns[col].kind {
	case parquet.Int64:
		return v.Int64(), nil
	case parquet.Int32:
		return int64(v.Int32()), nil
	}
	return 0, fmt.Errorf("column %q is not of whole numbers", p.columns[col].name)
}

func (p *parquetImport) time(v parquet.Value, col int) (int64, error) {
	c := p.columns[col]
	if c.kind == parquet.ByteArray {
		return parseTime(string(v.ByteArray()))
	}
	n, err := p.integer(v, col)
	if err != nil || c.unit == 0 {
		return 0, fmt.Errorf("column %q is neither a timestamp nor a time as text", c.name)
	}
	if ns := n * int64(c.unit); ns/int64(c.unit) == n {
		return ns, nil
	}
	return 0, fmt.Errorf("the time %d of column %q lies outside 1677-09-21 to 2262-04-11", n, c.name)
}

// value reads a value of a column. Numbers may come in other widths.
func (p *parquetImport) value(t telemetry.ColumnType, v parquet.Value, col int) (telemetry.Value, error) {
	c := p.columns[col]
	switch c.kind {
	case parquet.Boolean:
		if t == telemetry.Bool {
			out := telemetry.Value{}
			if v.Boolean() {
				out.Bits = 1
			}
			return out, nil
		}
	case parquet.Double, parquet.Float:
		f := float64(0)
		if c.kind == parquet.Double {
			f = v.Double()
		} else {
			f = float64(v.Float())
		}
		if t == telemetry.Float || t == telemetry.Int {
			return numberValue(t, f)
		}
	case parquet.Int64, parquet.Int32:
		n, err := p.integer(v, col)
		switch {
		case err != nil:
			return telemetry.Value{}, err
		case t == telemetry.Int:
			return telemetry.Value{Bits: uint64(n)}, nil
		case t == telemetry.Float && int64(float64(n)) == n:
			return numberValue(t, float64(n))
		}
	case parquet.ByteArray:
		if t.Textual() {
			return parseValue(t, strings.Clone(string(v.ByteArray())))
		}
	}
	return telemetry.Value{}, fmt.Errorf("%s does not fit the type %s", short(fmt.Sprint(v)), t)
}

func (p *parquetImport) Progress() (int64, int64) { return p.at, p.f.NumRows() }
func (p *parquetImport) Close() error             { return errors.Join(p.r.Close(), p.file.Close()) }
