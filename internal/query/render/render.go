// Package render writes the rows of a query as a table for people, as JSON or
// as CSV. It writes while the rows come and holds no more than a screen of
// them.
package render

import (
	"encoding/hex"
	"io"
	"slices"
	"strconv"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Format names how rows are written.
type Format string

// The formats.
const (
	Table  Format = "table"  // aligned columns for a terminal
	JSON   Format = "json"   // one array of objects
	NDJSON Format = "ndjson" // one object per line
	CSV    Format = "csv"    // RFC 4180, with a header line
)

// Formats are all formats, the default first.
var Formats = []Format{Table, JSON, NDJSON, CSV}

// Parse returns the format of that name; "" is Table.
func Parse(name string) (Format, error) {
	if name == "" {
		return Table, nil
	}
	if f := Format(name); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", telemetry.Errorf(telemetry.CodeInvalid, "render rows", "there is no format %q", name).
		WithHint("formats: table, json, ndjson, csv")
}

// flushBytes is how much is written at a time.
const flushBytes = 32 << 10

// Write writes all rows and closes them. What was written before an error
// stays written; where the rows fail before the first of them is written,
// nothing is.
func Write(w io.Writer, f Format, rows *query.Rows) error {
	defer rows.Close() //nolint:errcheck // it returns nil
	switch f {
	case JSON:
		return writeJSON(w, rows, "[", ",\n ", "]\n")
	case NDJSON:
		return writeJSON(w, rows, "", "\n", "\n")
	case CSV:
		return writeCSV(w, rows)
	}
	return writeTable(w, rows)
}

// cell appends one value without quoting. Booleans become words and blobs
// hexadecimal digits, in every format.
func cell(dst []byte, b *query.Batch, typ string, col, row int) (_ []byte, null bool) {
	switch typ {
	case query.TypeFloat, query.TypeInt, query.TypeTime, query.TypeText, query.TypeJSON:
		if b.MayBeBlob(col) && b.Kind(col, row) == query.Blob {
			break
		}
		return b.AppendText(dst, col, row)
	}
	v := b.Value(col, row)
	switch {
	case v.IsNull():
		return dst, true
	case v.Kind == query.Blob:
		return hex.AppendEncode(dst, []byte(v.Text())), false
	case typ == query.TypeBool && v.Kind == query.Int:
		return strconv.AppendBool(dst, v.Int() != 0), false
	}
	return v.AppendText(dst), false
}
