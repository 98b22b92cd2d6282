// Package render writes the result of a query as a table for a person, as JSON or
// as CSV, row by row and in bounded memory.
package render

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Formats are the names that Write knows.
var Formats = []string{"table", "json", "csv"}

// Write writes all rows and closes them.
//
//   - table: columns padded to a common width, NULL as an empty cell;
//   - json: an array with an object for each row, each on a line of its own;
//   - csv: RFC 4180 with a header, NULL as an empty field.
func Write(w io.Writer, rows *query.Rows, format string) error {
	defer rows.Close()
	b := bufio.NewWriterSize(w, 32<<10)
	var err error
	switch format {
	case "table":
		err = writeTable(b, rows)
	case "json":
		err = writeJSON(b, rows)
	case "csv":
		err = writeCSV(b, rows)
	default:
		return telemetry.Errorf(telemetry.CodeInvalid, "write rows", "unknown format %q", format).WithHint("table, json or csv")
	}
	if err == nil {
		err = rows.Err()
	}
	if flushed := b.Flush(); err == nil {
		err = flushed
	}
	return err
}

// measured is how many rows decide about the widths of a table. Later cells that
// are wider push their line out of step, which is better than waiting for all.
const measured = 1000

// maxWidth is how far a column is padded.
const maxWidth = 60

func writeTable(w *bufio.Writer, rows *query.Rows) error {
	columns := rows.Columns()
	widths := make([]int, len(columns))
	right := make([]bool, len(columns))
	header := make([]string, len(columns))
	for i, c := range columns {
		header[i] = safe([]byte(c.Name))
		widths[i] = utf8.RuneCountInString(header[i])
		right[i] = c.Type == query.TypeInt || c.Type == query.TypeFloat
	}
	var held [][]string
	total := 0
	print := func(cells []string) {
		for i, cell := range cells {
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			switch {
			case right[i]:
				w.WriteString(pad + cell)
			case i == len(cells)-1:
				w.WriteString(cell)
			default:
				w.WriteString(cell + pad)
			}
			if i < len(cells)-1 {
				w.WriteString("  ")
			}
		}
		w.WriteByte('\n')
	}
	release := func() {
		print(header)
		for i := range widths {
			w.WriteString(strings.Repeat("-", widths[i]))
			if i < len(widths)-1 {
				w.WriteString("  ")
			}
		}
		w.WriteByte('\n')
		for _, cells := range held {
			print(cells)
		}
		held = nil
	}
	var text []byte
	for rows.Next() {
		b := rows.Batch()
		for r := range b.Len() {
			cells := make([]string, len(columns))
			for c := range columns {
				text, _ = b.AppendText(text[:0], c, r)
				cells[c] = safe(text)
			}
			if total++; total > measured {
				print(cells)
				continue
			}
			for i, cell := range cells {
				widths[i] = max(widths[i], min(maxWidth, utf8.RuneCountInString(cell)))
			}
			if held = append(held, cells); total == measured {
				release()
			}
		}
	}
	if rows.Err() != nil {
		return rows.Err()
	}
	if total < measured {
		release()
	}
	plural := "s"
	if total == 1 {
		plural = ""
	}
	_, err := fmt.Fprintf(w, "(%d row%s)\n", total, plural)
	return err
}

// safe shows text without letting it act on a terminal or break the table.
func safe(b []byte) string {
	plain := true
	for _, c := range b {
		plain = plain && c >= ' ' && c < 0x7f
	}
	if plain {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, b[0])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		b = b[size:]
	}
	return out.String()
}

func writeJSON(w *bufio.Writer, rows *query.Rows) error {
	columns := rows.Columns()
	names := make([][]byte, len(columns))
	for i, c := range columns {
		name, err := json.Marshal(c.Name)
		if err != nil {
			return err
		}
		names[i] = append(name, ':')
	}
	w.WriteByte('[')
	separator := "\n"
	var text []byte
	for rows.Next() {
		b := rows.Batch()
		for r := range b.Len() {
			w.WriteString(separator)
			separator = ",\n"
			w.WriteByte('{')
			for c := range columns {
				if c > 0 {
					w.WriteByte(',')
				}
				w.Write(names[c])
				text = appendJSON(text[:0], b, c, r, columns[c].Type)
				w.Write(text)
			}
			if _, err := w.WriteString("}"); err != nil {
				return err
			}
		}
	}
	if rows.Err() != nil {
		return rows.Err()
	}
	_, err := w.WriteString("\n]\n")
	return err
}

func appendJSON(dst []byte, b *query.Batch, col, row int, typ string) []byte {
	v := b.Value(col, row)
	switch v.Kind {
	case query.Null:
		return append(dst, "null"...)
	case query.Int:
		if typ == query.TypeBool {
			if v.Int() != 0 {
				return append(dst, "true"...)
			}
			return append(dst, "false"...)
		}
		return v.AppendText(dst)
	case query.Float:
		if math.IsInf(v.Float(), 0) { // JSON has no word for it
			return append(v.AppendText(append(dst, '"')), '"')
		}
		return v.AppendText(dst)
	}
	text := v.Text()
	if typ == query.TypeJSON && json.Valid([]byte(text)) {
		return append(dst, text...)
	}
	quoted, err := json.Marshal(text) // bytes that are not UTF-8 become U+FFFD
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, quoted...)
}

func writeCSV(w *bufio.Writer, rows *query.Rows) error {
	columns := rows.Columns()
	for i, c := range columns {
		if i > 0 {
			w.WriteByte(',')
		}
		writeField(w, []byte(c.Name))
	}
	w.WriteString("\r\n")
	var text []byte
	for rows.Next() {
		b := rows.Batch()
		for r := range b.Len() {
			for c := range columns {
				if c > 0 {
					w.WriteByte(',')
				}
				var null bool
				if text, null = b.AppendText(text[:0], c, r); !null {
					writeField(w, text)
				}
			}
			if _, err := w.WriteString("\r\n"); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}

// writeField quotes what RFC 4180 wants quoted, and empty text, so that it differs
// from NULL.
func writeField(w *bufio.Writer, text []byte) {
	if len(text) > 0 && !strings.ContainsAny(string(text), ",\"\r\n") {
		w.Write(text)
		return
	}
	w.WriteByte('"')
	w.WriteString(strings.ReplaceAll(string(text), `"`, `""`))
	w.WriteByte('"')
}
