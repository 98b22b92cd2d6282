package transfer

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// A dump of PostgreSQL is SQL in which the rows of each table stand between
// COPY ... FROM stdin and \. (pg_dump), or the rows alone (COPY ... TO STDOUT).
// The rows of a hypertable or of a partitioned table stand under the names of its
// chunks; what says whose they are is read as well: ATTACH PARTITION, INHERITS, and
// TimescaleDB's own list of hypertables.

// PostgresOptions say what a dump does not.
type PostgresOptions struct {
	Table   string   // of rows without a COPY statement; only this one of a dump that has others
	Columns []string // of rows without a COPY statement and without a header
	Time    string   // the column of time; "": the first timestamp
	Tags    []string // nil: columns of text with few values
}

// copyBlock is the rows of one COPY.
type copyBlock struct {
	table   string // as the dump names it
	columns []string
	csv     bool
}

var (
	copyFrom     = regexp.MustCompile(`(?i)^COPY (\S+) \((.*)\) FROM stdin(.*);$`)
	createTable  = regexp.MustCompile(`(?i)^CREATE (?:UNLOGGED |FOREIGN )?TABLE (?:IF NOT EXISTS )?(\S+) \($`)
	inherits     = regexp.MustCompile(`(?i)INHERITS \(([^)]+)\)`)
	attach       = regexp.MustCompile(`(?i)ATTACH PARTITION (\S+)`)
	alterTable   = regexp.MustCompile(`(?i)^ALTER TABLE (?:ONLY )?(\S+)`)
	partitionOf  = regexp.MustCompile(`(?i)^CREATE TABLE (\S+) PARTITION OF (\S+)`)
	hyperChunk   = regexp.MustCompile(`^_timescaledb_internal\._hyper_(\d+)_\d+_chunk$`)
	insertRow    = regexp.MustCompile(`(?i)^INSERT INTO `)
	systemSchema = regexp.MustCompile(`^(_timescaledb_(catalog|config|cache|internal)|timescaledb_information|pg_catalog|information_schema)\.`)
)

const hypertableCatalog = "_timescaledb_catalog.hypertable"

// unquoteName makes schema.table of what SQL has, without quotes.
func unquoteName(s string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimSpace(s), ","), `"`, "")
}

// splitNames splits a list of columns.
func splitNames(s string) []string {
	var out []string
	for _, part := range strings.Split(s, ",") {
		out = append(out, unquoteName(part))
	}
	return out
}

// dumpReader reads the rows of a dump one by one.
type dumpReader struct {
	name   string
	in     *input
	csv    *csvReader // for CSV
	lines  *lines     // for everything else
	o      *PostgresOptions
	block  *copyBlock
	schema *pgSchema // what statements say; filled while reading
	create string    // the table whose columns are being read
	behind string    // the table whose columns were read, up to the end of its statement
	values []field
}

// pgSchema is what the statements of a dump say.
type pgSchema struct {
	types  map[string]map[string]string // by table and column
	parent map[string]string            // of chunks and partitions
	hyper  map[string]string            // by id
}

func newPGSchema() *pgSchema {
	return &pgSchema{types: map[string]map[string]string{}, parent: map[string]string{}, hyper: map[string]string{}}
}

// root returns the table that rows belong to.
func (s *pgSchema) root(table string) string {
	for range 16 {
		up := s.parent[table]
		if m := hyperChunk.FindStringSubmatch(table); up == "" && m != nil {
			up = s.hyper[m[1]]
		}
		if up == "" {
			return table
		}
		table = up
	}
	return table
}

func openDump(path string, o *PostgresOptions, schema *pgSchema) (*dumpReader, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	d := &dumpReader{name: path, in: in, o: o, schema: schema}
	name := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(path), ".gz"), ".zst")
	table := o.Table // rows alone do not say whose they are
	if table == "" {
		table, _, _ = strings.Cut(filepath.Base(path), ".")
	}
	switch {
	case strings.HasSuffix(name, ".csv"):
		d.csv = newCSVReader(in, ',')
		d.block = &copyBlock{table: table, columns: o.Columns, csv: true}
		if len(o.Columns) == 0 {
			fields, _, err := d.csv.read()
			if err != nil {
				return nil, errors.Join(noHeader(path, err), in.Close())
			}
			for _, f := range fields {
				d.block.columns = append(d.block.columns, trimBOM(f.text))
			}
		}
	default:
		d.lines = newLines(in)
		if len(o.Columns) > 0 {
			d.block = &copyBlock{table: table, columns: o.Columns}
		}
	}
	return d, nil
}

// next returns the next row: its block, its values and its line. A badRecord is a
// row that cannot be read.
func (d *dumpReader) next() (*copyBlock, []field, int64, error) {
	if d.csv != nil {
		return d.nextCSV()
	}
	for {
		line, err := d.lines.next()
		if err != nil {
			return d.block, nil, d.lines.line, err
		}
		text := string(line)
		if d.block == nil {
			if err := d.statement(text); err != nil {
				return nil, nil, d.lines.line, err
			}
			continue
		}
		if text == `\.` {
			d.block = nil
			continue
		}
		values, err := splitCopy(text, d.values[:0])
		d.values = values
		if err == nil && len(values) != len(d.block.columns) {
			err = fmt.Errorf("%d values, the table has %d columns", len(values), len(d.block.columns))
		}
		if err != nil {
			return d.block, nil, d.lines.line, &badRecord{err}
		}
		if d.block.table == hypertableCatalog {
			d.hypertable(values)
			continue
		}
		if systemSchema.MatchString(d.block.table) && !hyperChunk.MatchString(d.block.table) {
			continue
		}
		return d.block, values, d.lines.line, nil
	}
}

func (d *dumpReader) nextCSV() (*copyBlock, []field, int64, error) {
	fields, line, err := d.csv.read()
	if err != nil {
		return d.block, nil, line, err
	}
	if len(fields) != len(d.block.columns) {
		return d.block, nil, line, &badRecord{fmt.Errorf("%d fields, the header has %d", len(fields), len(d.block.columns))}
	}
	d.values = d.values[:0]
	for _, f := range fields {
		d.values = append(d.values, field{f.text, f.text == "" && !f.quoted})
	}
	return d.block, d.values, line, nil
}

// hypertable notes the name of a hypertable.
func (d *dumpReader) hypertable(values []field) {
	at := func(name string) string {
		if i := slices.Index(d.block.columns, name); i >= 0 {
			return values[i].text
		}
		return ""
	}
	d.schema.hyper[at("id")] = at("schema_name") + "." + at("table_name")
}

// statement reads what matters of a line of SQL.
func (d *dumpReader) statement(line string) error {
	if d.create != "" {
		if !strings.HasPrefix(line, ")") {
			d.column(line)
			return nil
		}
		d.behind, d.create = d.create, ""
	}
	if d.behind != "" {
		if m := inherits.FindStringSubmatch(line); m != nil {
			d.schema.parent[d.behind] = unquoteName(m[1])
		}
		if strings.HasSuffix(line, ";") {
			d.behind = ""
		}
		return nil
	}
	switch {
	case copyFrom.MatchString(line):
		m := copyFrom.FindStringSubmatch(line)
		if strings.Contains(strings.ToLower(m[3]), "csv") {
			return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s:%d: COPY in CSV inside of SQL is not read", d.name, d.lines.line).WithHint("use pg_dump as it is, or a .csv file with a header")
		}
		d.block = &copyBlock{table: unquoteName(m[1]), columns: splitNames(m[2])}
	case partitionOf.MatchString(line):
		m := partitionOf.FindStringSubmatch(line)
		d.schema.parent[unquoteName(m[1])] = strings.TrimSuffix(unquoteName(m[2]), ";")
	case createTable.MatchString(line):
		d.create = unquoteName(createTable.FindStringSubmatch(line)[1])
		d.schema.types[d.create] = map[string]string{}
	case attach.MatchString(line):
		if m := alterTable.FindStringSubmatch(line); m != nil {
			d.schema.parent[unquoteName(attach.FindStringSubmatch(line)[1])] = unquoteName(m[1])
		}
	case insertRow.MatchString(line) && !systemSchema.MatchString(unquoteName(line[len("INSERT INTO "):])):
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s:%d: the dump has INSERT statements", d.name, d.lines.line).WithHint("make it without --inserts: rows are read from COPY")
	}
	return nil
}

// column notes the type of a column of CREATE TABLE.
func (d *dumpReader) column(line string) {
	line = strings.TrimSuffix(strings.TrimSpace(line), ",")
	var name, rest string
	if strings.HasPrefix(line, `"`) {
		name, rest, _ = strings.Cut(line[1:], `"`)
	} else {
		name, rest, _ = strings.Cut(line, " ")
	}
	if name == "" || name == "CONSTRAINT" || name == "PRIMARY" || name == "UNIQUE" || name == "CHECK" {
		return
	}
	d.schema.types[d.create][name] = strings.ToLower(strings.TrimSpace(rest))
}

// splitCopy takes a row of COPY's text format apart.
func splitCopy(line string, out []field) ([]field, error) {
	for {
		text, rest, more := strings.Cut(line, "\t")
		if text == `\N` {
			out = append(out, field{null: true})
		} else {
			value, err := unescapeCopy(text)
			if err != nil {
				return out, err
			}
			out = append(out, field{text: value})
		}
		if !more {
			return out, nil
		}
		line = rest
	}
}

// unescapeCopy undoes the escapes of COPY's text format (PostgreSQL, "COPY", File
// Formats).
func unescapeCopy(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", errors.New("a backslash stands at the end of a value")
		}
		if at := strings.IndexByte("bfnrtv", s[i]); at >= 0 {
			b.WriteByte("\b\f\n\r\t\v"[at])
			continue
		}
		digits, base := 0, 8
		switch {
		case s[i] == 'x' && i+1 < len(s) && isHex(s[i+1]):
			i, base = i+1, 16
			for digits < 2 && i+digits < len(s) && isHex(s[i+digits]) {
				digits++
			}
		default:
			for digits < 3 && i+digits < len(s) && s[i+digits] >= '0' && s[i+digits] <= '7' {
				digits++
			}
		}
		if digits == 0 {
			b.WriteByte(s[i])
			continue
		}
		n, err := strconv.ParseUint(s[i:i+digits], base, 16)
		if err != nil {
			return "", err
		}
		b.WriteByte(byte(n))
		i += digits - 1
	}
	return b.String(), nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (d *dumpReader) close() error { return d.in.Close() }
