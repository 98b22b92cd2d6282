package transfer

import (
	"slices"
	"sort"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Tables are the recorded table versions that an import may fill.
type Tables struct {
	versions map[string][]*telemetry.Table // ascending
	// Topic returns the topic of a series that its file does not name, "" where it
	// cannot be told. nil: none can be.
	Topic func(t *telemetry.Table, tag func(name string) (string, bool)) string
}

// NewTables returns a set of versions.
func NewTables(all []*telemetry.Table) *Tables {
	t := &Tables{versions: map[string][]*telemetry.Table{}}
	for _, v := range all {
		t.versions[v.Name] = append(t.versions[v.Name], v)
	}
	for _, vs := range t.versions {
		sort.Slice(vs, func(i, j int) bool { return vs[i].Version < vs[j].Version })
	}
	return t
}

// Names returns the tables, sorted.
func (t *Tables) Names() []string {
	names := make([]string, 0, len(t.versions))
	for n := range t.versions {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Versions returns the versions of a table, ascending.
func (t *Tables) Versions(name string) []*telemetry.Table { return t.versions[name] }

// Find returns a version, the newest for 0, or nil.
func (t *Tables) Find(name string, version int) *telemetry.Table {
	vs := t.versions[name]
	if version == 0 && len(vs) > 0 {
		return vs[len(vs)-1]
	}
	for _, v := range vs {
		if v.Version == version {
			return v
		}
	}
	return nil
}

// require returns the versions of a table, or an error that says what there is.
func (t *Tables) require(name string) ([]*telemetry.Table, error) {
	if vs := t.versions[name]; len(vs) > 0 {
		return vs, nil
	}
	hint := "no schema is recorded yet: give its document with --schema, or put it into the directory of schemas"
	if names := t.Names(); len(names) > 0 {
		hint = "the tables are " + strings.Join(names, ", ") + "; --schema FILE records another"
	}
	return nil, telemetry.Errorf(telemetry.CodeNotFound, "import", "there is no table %q", name).WithHint(hint)
}

// mapping says what the named fields of a file are in one table version.
type mapping struct {
	shape    Shape
	time     int // fields, -1 for none
	received int
	topic    int
	tags     []int // by tag of the version
	columns  []int // by column of the version
	extra    []int // fields of other versions: null in this one
}

// mapNames maps the names of a file's fields. Names that no version has are an
// error.
func mapNames(versions []*telemetry.Table, names []string) (map[int]*mapping, error) {
	known := map[string]bool{timeColumn: true, receivedColumn: true, topicColumn: true, versionColumn: true}
	for _, v := range versions {
		for _, t := range v.Tags {
			known[t] = true
		}
		for i := range v.Columns {
			known[v.Columns[i].Name] = true
		}
	}
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "the column %q stands twice in the header", n)
		}
		seen[n] = true
		if !known[n] {
			all := make([]string, 0, len(known))
			for k := range known {
				all = append(all, k)
			}
			sort.Strings(all)
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "the file has a column %q, which no version of %s has", n, versions[0].Name).
				WithHint("the columns are " + strings.Join(all, ", "))
		}
	}
	out := map[int]*mapping{}
	for _, v := range versions {
		out[v.Version] = mapVersion(v, names)
	}
	return out, nil
}

func mapVersion(v *telemetry.Table, names []string) *mapping {
	m := &mapping{
		shape: Shape{Table: v.Name, Version: v.Version, Tags: v.Tags, Columns: v.Columns},
		time:  slices.Index(names, timeColumn), received: slices.Index(names, receivedColumn), topic: slices.Index(names, topicColumn),
	}
	used := map[int]bool{m.time: true, m.received: true, m.topic: true, slices.Index(names, versionColumn): true}
	for _, t := range v.Tags {
		i := slices.Index(names, t)
		m.tags, used[i] = append(m.tags, i), true
	}
	for i := range v.Columns {
		j := slices.Index(names, v.Columns[i].Name)
		m.columns, used[j] = append(m.columns, j), true
	}
	for i := range names {
		if !used[i] {
			m.extra = append(m.extra, i)
		}
	}
	return m
}
