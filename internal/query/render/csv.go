package render

import (
	"io"

	"github.com/weir-telemetry/weir/internal/query"
)

func writeCSV(w io.Writer, rows *query.Rows) error {
	cols := rows.Columns()
	var buf, field []byte
	for i, c := range cols {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendCSV(buf, []byte(c.Name))
	}
	buf = append(buf, '\r', '\n')
	wrote := false
	for rows.Next() {
		b := rows.Batch()
		for r := range b.Len() {
			for i := range cols {
				if i > 0 {
					buf = append(buf, ',')
				}
				var null bool
				switch cols[i].Type {
				case query.TypeFloat, query.TypeInt, query.TypeTime:
					// These need no quotes.
					buf, _ = cell(buf, b, cols[i].Type, i, r)
					continue
				}
				if field, null = cell(field[:0], b, cols[i].Type, i, r); !null {
					buf = appendCSV(buf, field)
				}
			}
			buf = append(buf, '\r', '\n')
			if len(buf) >= flushBytes {
				if _, err := w.Write(buf); err != nil {
					return err
				}
				buf, wrote = buf[:0], true
			}
		}
	}
	if rows.Err() != nil && !wrote {
		return rows.Err() // so that the caller can still say so in other ways
	}
	if _, err := w.Write(buf); err != nil {
		return err
	}
	return rows.Err()
}

// appendCSV quotes a field where it must be: an empty text is quoted, so that
// it differs from NULL, which is nothing.
func appendCSV(dst, field []byte) []byte {
	plain := len(field) > 0
	for _, c := range field {
		if c == '"' || c == ',' || c == '\n' || c == '\r' {
			plain = false
			break
		}
	}
	if plain {
		return append(dst, field...)
	}
	dst = append(dst, '"')
	for _, c := range field {
		if c == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}
