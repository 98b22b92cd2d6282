package transfer

import (
	"encoding/json"
	"fmt"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Definition is a table version as files and the control socket carry it.
type Definition struct {
	Table         string   `json:"table"`
	Version       int      `json:"version"`
	Tags          []string `json:"tags"`
	Columns       []Column `json:"columns"`
	Identity      string   `json:"identity"`
	TimeInPayload bool     `json:"time_in_payload"`
	// Document is the schema document that the version was compiled from.
	Document string `json:"document,omitempty"`
}

// Column is one field column.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // float, int, bool, string or json
	Unit string `json:"unit,omitempty"`
}

var identities = map[telemetry.Identity]string{
	telemetry.IdentityTimeValues: "time+values",
	telemetry.IdentityTime:       "time",
	telemetry.IdentityNone:       "none",
}

// Define describes a table version.
func Define(t *telemetry.Table, document []byte) Definition {
	d := Definition{
		Table: t.Name, Version: t.Version, Tags: t.Tags, Identity: identities[t.Identity],
		TimeInPayload: t.TimeInPayload, Document: string(document), Columns: FromColumns(t.Columns),
	}
	if d.Tags == nil {
		d.Tags = []string{}
	}
	return d
}

// FromColumns describes columns.
func FromColumns(columns []telemetry.Column) []Column {
	out := make([]Column, 0, len(columns))
	for _, c := range columns {
		out = append(out, Column{c.Name, c.Type.String(), c.Unit})
	}
	return out
}

// ToColumns reads described columns.
func ToColumns(columns []Column) ([]telemetry.Column, error) {
	out := make([]telemetry.Column, 0, len(columns))
	for _, c := range columns {
		t, err := columnType(c.Type)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
		out = append(out, telemetry.Column{Name: c.Name, Type: t, Unit: c.Unit})
	}
	return out, nil
}

func columnType(name string) (telemetry.ColumnType, error) {
	for t := telemetry.Float; t <= telemetry.JSON; t++ {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown type %q", name)
}

// TableVersion returns the table version that the definition describes.
func (d *Definition) TableVersion() (*telemetry.Table, error) {
	columns, err := ToColumns(d.Columns)
	if err != nil {
		return nil, fmt.Errorf("table %s version %d: %w", d.Table, d.Version, err)
	}
	t := &telemetry.Table{Name: d.Table, Version: d.Version, Tags: d.Tags, Columns: columns, TimeInPayload: d.TimeInPayload}
	for id, name := range identities {
		if name == d.Identity {
			t.Identity = id
		}
	}
	if t.Identity == 0 || t.Name == "" {
		return nil, fmt.Errorf("table %q version %d: unknown identity %q", d.Table, d.Version, d.Identity)
	}
	return t, nil
}

// Definitions is the file that stands beside exported readings, so that an empty
// store can take them: every version that the rows were checked by.
type Definitions struct {
	Format int          `json:"format"` // 1
	Tables []Definition `json:"tables"`
}

// DefinitionsFormat is the version of the file.
const DefinitionsFormat = 1

// ReadDefinitions reads the file.
func ReadDefinitions(data []byte) (*Definitions, error) {
	var d Definitions
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "read table definitions", "%v", err)
	}
	if d.Format != DefinitionsFormat {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "read table definitions", "format %d is not known", d.Format).
			WithHint("a newer weir wrote it: use that one, or a later one")
	}
	return &d, nil
}
