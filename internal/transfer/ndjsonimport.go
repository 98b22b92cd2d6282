package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// lines reads the lines of a text file and says where each stands.
type lines struct {
	r      *bufio.Reader
	offset int64
	line   int64 // of the one that next gave
	buf    []byte
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 256<<10)} }

// next returns a line without its end; it is valid until the next call. A line
// that is too long is a badRecord.
func (l *lines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	l.line++
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		l.offset += int64(len(part))
		if long = long || len(l.buf)+len(part) > maxRecord; !long {
			l.buf = append(l.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !(errors.Is(err, io.EOF) && len(l.buf) > 0) {
			return nil, err
		}
		if long {
			return nil, &badRecord{fmt.Errorf("the line has more than %d bytes", maxRecord)}
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(l.buf, []byte{'\n'}), []byte{'\r'}), nil
	}
}

func (l *lines) skip(to int64, name string) error {
	n, err := io.CopyN(io.Discard, l.r, to-l.offset)
	l.offset += n
	if err != nil {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s ends before byte %d, where the import goes on", name, to).
			WithHint("the file was changed; --again imports it from its beginning")
	}
	return nil
}

// ndjsonImport reads one JSON object from each line.
type ndjsonImport struct {
	places
	name     string
	in       *input
	lines    *lines
	tables   *Tables
	table    string
	versions map[int]*ndjsonVersion
	newest   int
}

type ndjsonVersion struct {
	m       *mapping
	tags    map[string]int
	columns map[string]int
}

// OpenNDJSON reads a file of JSON objects, one in a line, into a table.
func OpenNDJSON(path, table string, tables *Tables) (Reader, error) {
	versions, err := tables.require(table)
	if err != nil {
		return nil, err
	}
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	n := &ndjsonImport{places: places{path}, name: path, in: in, lines: newLines(in), tables: tables, table: table, versions: map[int]*ndjsonVersion{}}
	for _, v := range versions {
		nv := &ndjsonVersion{m: mapVersion(v, nil), tags: map[string]int{}, columns: map[string]int{}}
		for i, t := range v.Tags {
			nv.tags[t] = i
		}
		for i := range v.Columns {
			nv.columns[v.Columns[i].Name] = i
		}
		n.versions[v.Version], n.newest = nv, v.Version
	}
	return n, nil
}

func (n *ndjsonImport) Skip(mark uint64) error { return n.lines.skip(int64(mark), n.name) }

func (n *ndjsonImport) Next() (*Group, error) {
	var g grouper
	for !g.full() {
		line, err := n.lines.next()
		var bad *badRecord
		switch {
		case errors.Is(err, io.EOF):
			if out := g.take(uint64(n.lines.offset)); out != nil {
				return out, nil
			}
			return nil, io.EOF
		case errors.As(err, &bad):
			g.fault(Fault{n.name, n.lines.line, err.Error()})
			continue
		case err != nil:
			return nil, n.in.failed(n.name, err)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		m, row, err := n.reading(line)
		if err != nil {
			g.fault(Fault{n.name, n.lines.line, err.Error()})
			continue
		}
		row.Line = n.lines.line
		g.add(&m.shape, m.shape.Version, row)
	}
	return g.take(uint64(n.lines.offset)), nil
}

func (n *ndjsonImport) reading(line []byte) (*mapping, Row, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return nil, Row{}, fmt.Errorf("not a JSON object: %w", err)
	}
	version := n.newest
	if raw, ok := object[versionColumn]; ok {
		v, err := strconv.Atoi(string(raw))
		if err != nil {
			return nil, Row{}, fmt.Errorf("%q: %s is not a version", versionColumn, short(string(raw)))
		}
		version = v
	}
	v := n.versions[version]
	if v == nil {
		return nil, Row{}, fmt.Errorf("version %d of %s is not recorded", version, n.table)
	}
	r := Row{Values: make([]telemetry.Value, len(v.columns)), Tags: make([]store.Tag, len(v.tags))}
	for i := range r.Values {
		r.Values[i].Null = true
	}
	for i := range r.Tags {
		r.Tags[i].Null = true
	}
	timed := false
	for name, raw := range object {
		var err error
		switch name {
		case timeColumn:
			timed = true
			r.Time, err = jsonTime(raw)
		case receivedColumn:
			r.Received, err = jsonTime(raw)
		case topicColumn:
			err = json.Unmarshal(raw, &r.Topic)
		case versionColumn:
		default:
			err = v.set(&r, name, raw)
		}
		if err != nil {
			return nil, r, fmt.Errorf("%q: %w", name, err)
		}
	}
	if !timed {
		return nil, r, errors.New("the time is missing")
	}
	return v.m, r, v.m.finish(n.tables, &r)
}

func jsonTime(raw json.RawMessage) (int64, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return 0, fmt.Errorf("%s is not a time as text", short(string(raw)))
	}
	return parseTime(text)
}

func (v *ndjsonVersion) set(r *Row, name string, raw json.RawMessage) (err error) {
	if i, ok := v.tags[name]; ok {
		if string(raw) == "null" {
			return nil
		}
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return fmt.Errorf("%s is not a text, as tags are", short(string(raw)))
		}
		r.Tags[i] = store.Tag{Value: text}
		return nil
	}
	i, ok := v.columns[name]
	if !ok {
		if string(raw) == "null" {
			return nil
		}
		return errors.New("the table has no such column in this version")
	}
	t := v.m.shape.Columns[i].Type
	switch {
	case t == telemetry.JSON:
		r.Values[i] = telemetry.Value{Text: bytes.Clone(raw)}
		return nil
	case string(raw) == "null":
		return nil
	case t == telemetry.String, t == telemetry.Float && raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return fmt.Errorf("%s is not a text", short(string(raw)))
		}
		r.Values[i], err = parseColumn(t, text)
		return err
	}
	r.Values[i], err = parseColumn(t, string(raw))
	return err
}

func (n *ndjsonImport) Progress() (int64, int64) { return n.in.progress() }
func (n *ndjsonImport) Close() error             { return n.in.Close() }
