package rollup

import "github.com/weir-telemetry/weir/internal/telemetry"

// Part is one aggregate of a rollup row.
type Part uint8

// The parts. Rows, Earliest and Latest are of the bucket; the others are of one
// field.
const (
	Rows     Part = iota // readings
	Earliest             // time of the first reading, after the start of the bucket
	Latest               // time of the last
	Count                // values
	First
	FirstAt // after the bucket's first reading
	Last
	LastAt // before the bucket's last reading
	Min
	Max
	Sum
	SumHi // high 64 bits of a sum of integers
	Quantiles
	parts
)

var partNames = [parts]string{
	Rows: "rows", Earliest: "first", Latest: "last",
	Count: "n:", First: "first:", FirstAt: "first_at:", Last: "last:", LastAt: "last_at:",
	Min: "min:", Max: "max:", Sum: "sum:", SumHi: "sum_hi:", Quantiles: "sketch:",
}

// Ref names a column of a rollup: a part of a field, or of the bucket, where the
// field is "".
type Ref struct {
	Part  Part
	Field string
}

// Name is the column's name in the segment.
func (r Ref) Name() string { return partNames[r.Part] + r.Field }

// partsOf returns the parts that fields of a type have, in the order of their columns.
func partsOf(t telemetry.ColumnType) []Part {
	switch t {
	case telemetry.Float:
		return []Part{Count, First, FirstAt, Last, LastAt, Min, Max, Sum, Quantiles}
	case telemetry.Int, telemetry.Bool:
		return []Part{Count, First, FirstAt, Last, LastAt, Min, Max, Sum, SumHi, Quantiles}
	case telemetry.String:
		return []Part{Count, First, FirstAt, Last, LastAt}
	}
	return []Part{Count}
}

// Has reports whether rollups hold a part of fields of the type.
func Has(t telemetry.ColumnType, p Part) bool {
	for _, q := range partsOf(t) {
		if p == q {
			return true
		}
	}
	return p <= Latest
}

// partType is the type of the column of a part.
func partType(p Part, field telemetry.ColumnType) telemetry.ColumnType {
	switch p {
	case First, Last, Min, Max:
		return field
	case Sum:
		if field == telemetry.Float {
			return telemetry.Float
		}
	case Quantiles:
		return telemetry.String
	}
	return telemetry.Int
}

// maxColumns is how many columns a rollup has at most: those of a segment.
const maxColumns = 1 << 12

// Fields returns the columns of a table that its rollups aggregate: as many as
// fit, from the first.
func Fields(columns []telemetry.Column) []telemetry.Column {
	n := int(Latest) + 1
	for i, c := range columns {
		if n += len(partsOf(c.Type)); n > maxColumns {
			return columns[:i]
		}
	}
	return columns
}

// TableOf returns the table that rollups of the columns are stored as.
func TableOf(name string, fields []telemetry.Column) *telemetry.Table {
	t := &telemetry.Table{Name: name, Version: 1, Identity: telemetry.IdentityNone}
	add := func(r Ref, ct telemetry.ColumnType) {
		t.Columns = append(t.Columns, telemetry.Column{Name: r.Name(), Type: ct})
	}
	for _, p := range []Part{Rows, Earliest, Latest} {
		add(Ref{Part: p}, telemetry.Int)
	}
	for _, c := range fields {
		for _, p := range partsOf(c.Type) {
			add(Ref{p, c.Name}, partType(p, c.Type))
		}
	}
	return t
}
