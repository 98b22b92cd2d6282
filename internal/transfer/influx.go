package transfer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// An export of InfluxDB has a line for each field of a point, all values of one
// field before those of the next, in one file after another. So the lines are
// sorted by series and time first, and what belongs to one point is put together;
// of equal fields the last line wins, as in InfluxDB.

// influxSource is a dump in line protocol.
type influxSource struct {
	paths   places
	sort    extSort
	byName  map[string]*influxTable // by database and measurement
	faults  []Fault
	dropped int   // faults beyond those kept
	lines   int64 // that were sorted
}

// influxTable is a measurement.
type influxTable struct {
	database string
	foreign  *Foreign
	tags     map[string]bool
	fields   map[string]telemetry.ColumnType
}

// maxFaults bounds the faults that are kept until they are told.
const maxFaults = 100_000

// OpenInflux reads dumps as influx_inspect export (1.x) and influxd inspect
// export-lp (2.x) write them, plain or compressed.
func OpenInflux(ctx context.Context, paths []string, progress func(done, total int64)) (ForeignSource, error) {
	s := &influxSource{paths: paths, sort: extSort{limit: extSortBytes}, byName: map[string]*influxTable{}}
	for i := range paths {
		if err := s.read(ctx, i, progress); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if s.dropped > 0 {
		s.faults = append(s.faults, Fault{paths[len(paths)-1], 0, fmt.Sprintf("and %d more lines that are no points", s.dropped)})
	}
	s.name()
	return s, nil
}

func (s *influxSource) read(ctx context.Context, file int, progress func(done, total int64)) error {
	path := s.paths[file]
	in, err := openInput(path)
	if err != nil {
		return err
	}
	defer in.Close()
	l := newLines(in)
	database, ddl := "", false
	var open []byte // a line that ends inside a text
	first := int64(0)
	for n := 0; ; n++ {
		if err := looked(ctx, n, in, progress); err != nil {
			return err
		}
		line, err := l.next()
		var bad *badRecord
		switch {
		case errors.Is(err, io.EOF):
			if open != nil {
				s.fault(Fault{path, first, errOpenString.Error()})
			}
			return nil
		case errors.As(err, &bad):
			s.fault(Fault{path, l.line, err.Error()})
			continue
		case err != nil:
			return in.failed(path, err)
		}
		if open == nil {
			first = l.line
			if done := s.directive(string(line), &database, &ddl); done {
				continue
			}
			open = append(open, line...)
		} else {
			open = append(append(open, '\n'), line...)
		}
		p, err := parsePoint(string(open))
		if errors.Is(err, errOpenString) && len(open) < maxRecord {
			continue
		}
		open = nil
		if err != nil {
			s.fault(Fault{path, first, err.Error()})
			continue
		}
		if err := s.add(database, p, s.paths.number(file, first)); err != nil {
			return err
		}
	}
}

// directive deals with what is no point: comments, and the statements of the DDL.
func (s *influxSource) directive(line string, database *string, ddl *bool) bool {
	line = strings.TrimSpace(line)
	if rest, ok := strings.CutPrefix(line, "# CONTEXT-DATABASE:"); ok {
		*database = strings.TrimSpace(rest)
	}
	switch {
	case line == "# DDL":
		*ddl = true
	case line == "# DML":
		*ddl = false
	}
	return line == "" || line[0] == '#' || *ddl
}

func (s *influxSource) fault(f Fault) {
	if len(s.faults) < maxFaults {
		s.faults = append(s.faults, f)
	} else {
		s.dropped++
	}
}

// add notes what the point has and gives it to the sort: its key is database,
// measurement, tags and time; with its fields goes where it stands.
func (s *influxSource) add(database string, p *point, place int64) error {
	id := database + "\x00" + p.measurement
	t := s.byName[id]
	if t == nil {
		t = &influxTable{database: database, foreign: &Foreign{Source: p.measurement}, tags: map[string]bool{}, fields: map[string]telemetry.ColumnType{}}
		s.byName[id] = t
	}
	slices.SortFunc(p.tags, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	key := appendText(nil, []byte(id))
	for _, tag := range p.tags {
		t.tags[tag.key] = true
		key = appendText(appendText(key, []byte(tag.key)), []byte(tag.value))
	}
	key = binary.BigEndian.AppendUint64(key, uint64(p.time)^1<<63)
	value := binary.AppendVarint(nil, place)
	for _, f := range p.fields {
		t.fields[f.key] = widen(t.fields[f.key], f.kind)
		value = appendText(append(appendText(value, []byte(f.key)), byte(f.kind)), []byte(f.text))
	}
	s.lines++
	return s.sort.add(key, value)
}

// name gives the measurements their tables.
func (s *influxSource) name() {
	taken := map[string]bool{}
	for _, id := range sortedKeys(s.byName) {
		t := s.byName[id]
		f := t.foreign
		f.Name = tableName(f.Source)
		if taken[f.Name] {
			f.Name = tableName(t.database + "_" + f.Source)
		}
		for n := 2; taken[f.Name]; n++ {
			f.Name = tableName(fmt.Sprintf("%s_%d", f.Source, n))
		}
		taken[f.Name] = true
		f.Topic = "influx/" + topicLevel(t.database) + "/" + topicLevel(f.Source)
		f.Identity = "time"
		f.Tags = sortedKeys(t.tags)
		for _, name := range sortedKeys(t.fields) {
			f.Fields = append(f.Fields, ForeignField{name, t.fields[name]})
		}
	}
}

// Tables implements ForeignSource.
func (s *influxSource) Tables() []*Foreign {
	var out []*Foreign
	for _, id := range sortedKeys(s.byName) {
		out = append(out, s.byName[id].foreign)
	}
	return out
}

// Faults implements ForeignSource.
func (s *influxSource) Faults() []Fault { return s.faults }

// Close implements ForeignSource.
func (s *influxSource) Close() error { return s.sort.close() }

// Open implements ForeignSource.
func (s *influxSource) Open(tables *Tables) (Reader, error) {
	m, err := s.sort.merge()
	if err != nil {
		return nil, err
	}
	return &influxReader{places: s.paths, s: s, m: m, tables: tables, faults: s.faults}, nil
}

// influxReader gives the points in order; a mark is a count of them.
type influxReader struct {
	places
	s      *influxSource
	m      *extMerge
	tables *Tables
	faults []Fault
	at     uint64
	lines  int64 // that were read
}

// Skip implements Reader.
func (r *influxReader) Skip(mark uint64) error {
	r.faults = nil // they were told
	for r.at < mark {
		if _, _, _, err := r.point(); err != nil {
			return telemetry.Errorf(telemetry.CodeInvalid, "import", "the dump has fewer points than were imported: %v", err)
		}
	}
	return nil
}

// influxField is a field of a point, and where it stands.
type influxField struct {
	fieldValue
	place int64
}

// point returns the next point's key, its fields, the later ones winning, and where
// the first of them stands.
func (r *influxReader) point() (key []byte, fields map[string]influxField, place int64, err error) {
	rec, err := r.m.pop()
	if err != nil {
		return nil, nil, 0, err
	}
	fields = map[string]influxField{}
	for first := true; ; first = false {
		r.lines++
		w := &wire{b: rec.value}
		at := w.varint()
		if first {
			place = at
		}
		for len(w.b) > 0 {
			f := influxField{fieldValue{key: string(w.text())}, at}
			f.kind, f.text = telemetry.ColumnType(w.byte()), string(w.text())
			fields[f.key] = f
		}
		if !bytes.Equal(r.m.peek(), rec.key) || r.m.Len() == 0 {
			r.at++
			return rec.key, fields, place, nil
		}
		if rec, err = r.m.pop(); err != nil {
			return nil, nil, 0, err
		}
	}
}

// Next implements Reader.
func (r *influxReader) Next() (*Group, error) {
	var g grouper
	for _, f := range r.faults {
		g.fault(f)
	}
	r.faults = nil
	for !g.full() {
		key, fields, place, err := r.point()
		if errors.Is(err, io.EOF) {
			if out := g.take(r.at); out != nil {
				return out, nil
			}
			return nil, io.EOF
		}
		if err != nil {
			return nil, err
		}
		b, row, err := r.row(key, fields, place)
		if err != nil {
			file, line := r.Locate(row.Line)
			g.fault(Fault{file, line, err.Error()})
			continue
		}
		g.add(&b.shape, b.shape.Version, row)
	}
	return g.take(r.at), nil
}

// row makes a reading of a point. One that cannot be made has the place of the field
// that is why.
func (r *influxReader) row(key []byte, fields map[string]influxField, place int64) (*binding, Row, error) {
	w := &wire{b: key}
	t := r.s.byName[string(w.text())]
	b := t.foreign.bound
	row := b.row()
	row.Line = place
	for len(w.b) > 8 {
		at := b.tags[string(w.text())]
		row.Tags[at] = store.Tag{Value: string(w.text())}
	}
	row.Time = int64(binary.BigEndian.Uint64(w.take(8)) ^ 1<<63)
	for name, f := range fields {
		c := b.fields[name]
		v, err := parseColumn(b.shape.Columns[c].Type, f.text)
		if err != nil {
			row.Line = f.place
			return b, row, fmt.Errorf("field %q of %s: %w", name, t.foreign.Source, err)
		}
		row.Values[c] = v
	}
	b.finish(r.tables, t.foreign, &row)
	return b, row, nil
}

// row is a reading whose tags and values are null.
func (b *binding) row() Row {
	row := Row{Tags: make([]store.Tag, len(b.shape.Tags)), Values: make([]telemetry.Value, len(b.shape.Columns))}
	for i := range row.Tags {
		row.Tags[i].Null = true
	}
	for i := range row.Values {
		row.Values[i].Null = true
	}
	return row
}

// finish gives a reading its topic: as the schema tells, else that of its table.
func (b *binding) finish(tables *Tables, f *Foreign, r *Row) {
	m := mapping{shape: b.shape}
	if err := m.finish(tables, r); err != nil {
		r.Topic = f.Topic
	}
}

// Progress implements Reader.
func (r *influxReader) Progress() (int64, int64) { return r.lines, r.s.lines }

// Close implements Reader.
func (r *influxReader) Close() error { return nil }
