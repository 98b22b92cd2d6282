package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Foreign is a table of another database, as its dump shows it.
type Foreign struct {
	Source   string // what it is called there
	Name     string // a table name that a schema may have
	Topic    string // of all its rows
	Identity string
	Tags     []string // as they are called there, sorted
	Fields   []ForeignField

	bound *binding
}

// ForeignField is a column of values.
type ForeignField struct {
	Name string
	Type telemetry.ColumnType
}

// ForeignSource is a dump of another database.
type ForeignSource interface {
	// Tables are what it holds, known after it was read once.
	Tables() []*Foreign
	// Faults are what could not be read of it until now, for a dump that holds
	// nothing else; a Reader tells them again.
	Faults() []Fault
	// Open reads the rows of the tables, all of which were bound.
	Open(tables *Tables) (Reader, error)
	Close() error
}

// looked is called for each line of a dump that is read for what it holds: now and
// then it tells how far that is, and whether somebody wants it to end.
func looked(ctx context.Context, line int, in *input, progress func(done, total int64)) error {
	if line%10_000 != 0 {
		return nil
	}
	if progress != nil {
		progress(in.progress())
	}
	return ctx.Err()
}

var (
	badNameByte = regexp.MustCompile(`[^a-z0-9_]+`)
	viewSuffix  = regexp.MustCompile(`_latest$|_v[0-9]+$`)
)

// tableName makes a name that a schema may have.
func tableName(s string) string {
	s = strings.Trim(badNameByte.ReplaceAllString(strings.ToLower(s), "_"), "_")
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		s = "t_" + s
	}
	if len(s) > 60 {
		s = s[:60]
	}
	if viewSuffix.MatchString(s) {
		s += "_t"
	}
	return s
}

// topicLevel makes one level of a topic.
func topicLevel(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '/' || r == '+' || r == '#' || r == '$' || r == '{' || r == '}' || r < ' ' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "_"
	}
	return s
}

// columnNames gives tags and fields the names that they have in Weir: those that
// every table has, and those that differ in case alone, get a suffix.
func (f *Foreign) columnNames() (tags, fields []string) {
	taken := map[string]bool{timeColumn: true, receivedColumn: true, topicColumn: true, versionColumn: true, telemetry.RestColumn: true}
	name := func(s string) string {
		if s == "" {
			s = "_"
		}
		out := s
		for n := 2; taken[strings.ToLower(out)]; n++ {
			out = fmt.Sprintf("%s_%d", s, n)
		}
		taken[strings.ToLower(out)] = true
		return out
	}
	for _, t := range f.Tags {
		tags = append(tags, name(t))
	}
	for _, c := range f.Fields {
		fields = append(fields, name(c.Name))
	}
	return tags, fields
}

var jsonTypes = map[telemetry.ColumnType]any{
	telemetry.Float: "number", telemetry.Int: "integer", telemetry.Bool: "boolean", telemetry.String: "string", telemetry.JSON: []string{"object", "array"},
}

// Document proposes a schema for the table: what a device would publish to its
// topic afterwards is one flat object.
func (f *Foreign) Document() ([]byte, error) {
	tags, fields := f.columnNames()
	properties := map[string]any{"time": map[string]any{"type": "integer"}}
	at := map[string]string{}
	for _, t := range tags {
		properties[t] = map[string]any{"type": "string"}
		at[t] = pointer(t)
	}
	for i, c := range f.Fields {
		properties[fields[i]] = map[string]any{"type": jsonTypes[c.Type]}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# proposed by weir import from %q\n", f.Source)
	line := func(key string, value any) error {
		text, err := json.Marshal(value)
		fmt.Fprintf(&b, "%s: %s\n", key, text)
		return err
	}
	for _, kv := range []struct {
		key   string
		value any
	}{
		{"name", f.Name},
		{"version", 1},
		{"topic", f.Topic},
		{"format", "json"},
		{"time", map[string]string{"at": "/time", "as": "unix_ns"}},
		{"identity", f.Identity},
		{"unknown", "drop"},
		{"tags", at},
		{"payload", map[string]any{"type": "object", "required": []string{"time"}, "properties": properties}},
	} {
		if kv.key == "tags" && len(at) == 0 {
			continue
		}
		if err := line(kv.key, kv.value); err != nil {
			return nil, err
		}
	}
	return []byte(b.String()), nil
}

// pointer is a JSON pointer to a property (RFC 6901).
func pointer(name string) string {
	return "/" + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// binding says where the tags and fields of a foreign table go.
type binding struct {
	shape  Shape
	tags   map[string]int // by foreign name: place in shape.Tags
	fields map[string]int
}

// Bind lets the rows go to a table version. It says what does not fit.
func (f *Foreign) Bind(t *telemetry.Table) error {
	tags, fields := f.columnNames()
	b := &binding{shape: Shape{Table: t.Name, Version: t.Version, Tags: t.Tags, Columns: t.Columns}, tags: map[string]int{}, fields: map[string]int{}}
	var lacks []string
	for i, name := range tags {
		at := slices.Index(t.Tags, name)
		if at < 0 {
			lacks = append(lacks, "tag "+name)
			continue
		}
		b.tags[f.Tags[i]] = at
	}
	for i, name := range fields {
		at := t.ColumnIndex(name)
		if at < 0 {
			lacks = append(lacks, "column "+name)
			continue
		}
		b.fields[f.Fields[i].Name] = at
	}
	if len(lacks) > 0 {
		return telemetry.Errorf(telemetry.CodeConflict, "import", "the table %s version %d lacks what %s has: %s", t.Name, t.Version, f.Source, strings.Join(lacks, ", ")).
			WithHint("give a document that has them with --schema, as the next version of " + t.Name)
	}
	f.bound = b
	return nil
}

// sortedKeys returns the keys of a map, sorted.
func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// widen returns the type that holds values of both.
func widen(a, b telemetry.ColumnType) telemetry.ColumnType {
	switch {
	case a == 0 || a == b:
		return b
	case b == 0:
		return a
	case a == telemetry.Int && b == telemetry.Float || a == telemetry.Float && b == telemetry.Int:
		return telemetry.Float
	}
	return telemetry.String
}
