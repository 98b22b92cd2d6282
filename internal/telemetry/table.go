package telemetry

// Tenant owns schemas, series, readings and quarantine records. It is a typed
// parameter of every store and query call, never an afterthought filter.
type Tenant string

// DefaultTenant is the only tenant of a node without access control.
const DefaultTenant Tenant = "default"

// ColumnType says how the values of a column are held.
type ColumnType uint8

// The column types. Their numbers are part of the disk formats.
const (
	Float  ColumnType = 1 // float64, kept bit for bit
	Int    ColumnType = 2 // int64
	Bool   ColumnType = 3
	String ColumnType = 4 // UTF-8 text
	JSON   ColumnType = 5 // one JSON value as text: lists, objects, the rest column
)

func (t ColumnType) String() string {
	switch t {
	case Float:
		return "float"
	case Int:
		return "int"
	case Bool:
		return "bool"
	case String:
		return "string"
	case JSON:
		return "json"
	}
	return "unknown"
}

// Textual reports whether values of the type are byte strings.
func (t ColumnType) Textual() bool { return t == String || t == JSON }

// Column is one field column of a table.
type Column struct {
	Name string
	Type ColumnType
	Unit string // as in SenML (RFC 8428); may be empty
}

// RestColumn is the JSON column that keeps the properties a schema does not name.
const RestColumn = "_rest"

// Identity says when two readings of one series are the same reading.
type Identity uint8

// The identities. Their numbers are part of the disk formats.
const (
	IdentityTimeValues Identity = 1 // same time and same values: one reading
	IdentityTime       Identity = 2 // same time: the last one wins
	IdentityNone       Identity = 3 // never the same
)

// Table is what storage and queries know of one version of one schema. A Table
// is immutable once it is shared.
type Table struct {
	Name     string   // as in SQL: "env", or "env_v2" after a breaking version
	Version  int      // the schema version whose plan filled it
	Tags     []string // tag columns: topic captures first, then payload tags
	Columns  []Column // field columns in the order of Section.Columns
	Identity Identity
	// TimeInPayload is false where the time of a reading is the time of its
	// receipt: then content is never identity, and the session ledger decides.
	TimeInPayload bool
}

// ColumnIndex returns the position of the named field column, or -1.
func (t *Table) ColumnIndex(name string) int {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// SeriesRef names one series of one tenant: one table, one topic, one set of
// payload tags. Stores issue them densely from 0, so arrays may be indexed by
// them; a series keeps its ref for ever.
type SeriesRef uint32
