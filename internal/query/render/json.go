package render

import (
	"encoding/json"
	"io"
	"math"

	"github.com/weir-telemetry/weir/internal/jsontext"
	"github.com/weir-telemetry/weir/internal/query"
)

func writeJSON(w io.Writer, rows *query.Rows, open, between, end string) error {
	cols := rows.Columns()
	names := make([][]byte, len(cols))
	for i, c := range cols {
		names[i] = append(jsontext.AppendString(nil, []byte(c.Name)), ':')
	}
	buf := []byte(open)
	var field []byte
	first := true
	for rows.Next() {
		b := rows.Batch()
		for r := range b.Len() {
			if !first {
				buf = append(buf, between...)
			}
			first = false
			buf = append(buf, '{')
			for i := range cols {
				if i > 0 {
					buf = append(buf, ',')
				}
				buf = append(buf, names[i]...)
				buf, field = appendJSON(buf, field, b, cols[i].Type, i, r)
			}
			buf = append(buf, '}')
			if len(buf) >= flushBytes {
				if _, err := w.Write(buf); err != nil {
					return err
				}
				buf = buf[:0]
			}
		}
	}
	if rows.Err() != nil && first {
		return rows.Err()
	}
	if rows.Err() == nil && (open != "" || !first) {
		buf = append(buf, end...)
	}
	if _, err := w.Write(buf); err != nil {
		return err
	}
	return rows.Err()
}

// appendJSON appends a value. Reals that JSON cannot write, the infinities,
// are null. JSON columns are embedded as they are.
func appendJSON(dst, field []byte, b *query.Batch, typ string, col, row int) (_, _ []byte) {
	kind := b.Kind(col, row)
	switch kind {
	case query.Null:
		return append(dst, "null"...), field
	case query.Float:
		if f := b.Value(col, row).Float(); math.IsInf(f, 0) {
			return append(dst, "null"...), field
		}
	}
	field, _ = cell(field[:0], b, typ, col, row)
	switch {
	case kind == query.Int || kind == query.Float:
		return append(dst, field...), field
	case typ == query.TypeJSON && json.Valid(field):
		return jsontext.AppendLine(dst, field), field
	}
	return jsontext.AppendString(dst, field), field
}
