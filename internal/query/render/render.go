// Package render writes the rows of a query as a table for people, as JSON or
// as CSV. It writes while the rows come and holds no more than a screen of
// them.
package render

import (
	"bufio"
	"encoding/hex"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

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

// ContentType returns the media type of a format.
func (f Format) ContentType() string {
	switch f {
	case JSON:
		return "application/json"
	case NDJSON:
		return "application/x-ndjson"
	case CSV:
		return "text/csv; charset=utf-8; header=present"
	}
	return "text/plain; charset=utf-8"
}

// flushBytes is how much is written at a time.
const flushBytes = 32 << 10

// Write writes all rows and closes them. What was written before an error
// stays written.
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
		v := b.Kind(col, row)
		if v == query.Blob {
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

func writeJSON(w io.Writer, rows *query.Rows, open, between, end string) error {
	cols := rows.Columns()
	names := make([][]byte, len(cols))
	for i, c := range cols {
		names[i] = append(appendJSONText(nil, []byte(c.Name)), ':')
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
	if kind == query.Int || kind == query.Float || typ == query.TypeJSON {
		return append(dst, field...), field
	}
	return appendJSONText(dst, field), field
}

func appendJSONText(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r) // U+FFFD for what is no UTF-8
			i += n
			continue
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// screenRows is how many rows the widths of a table are measured on.
const screenRows = 500

// tableWriter aligns columns by the widths of the first rows. Later rows that
// need more room push their line aside.
type tableWriter struct {
	w      *bufio.Writer
	cols   []query.Column
	right  []bool
	widths []int
	trim   []int // zeros cut off the end of the seconds of time columns
	cells  [][]string
	line   []byte
	rows   int
	ready  bool
}

func writeTable(w io.Writer, rows *query.Rows) error {
	t := &tableWriter{w: bufio.NewWriterSize(w, flushBytes), cols: rows.Columns()}
	t.widths, t.right, t.trim = make([]int, len(t.cols)), make([]bool, len(t.cols)), make([]int, len(t.cols))
	for i, c := range t.cols {
		t.widths[i] = utf8.RuneCountInString(c.Name)
		t.right[i] = c.Type == query.TypeInt || c.Type == query.TypeFloat
		t.trim[i] = 9
	}
	var field []byte
	for rows.Next() {
		b := rows.Batch()
		for r := range b.Len() {
			row := make([]string, len(t.cols))
			for i, c := range t.cols {
				var null bool
				if field, null = cell(field[:0], b, c.Type, i, r); null {
					row[i] = "NULL"
					continue
				}
				if k := b.Kind(i, r); k != query.Int && k != query.Float {
					field = printable(field)
				} else if c.Type == query.TypeAny && t.rows == 0 {
					t.right[i] = true
				}
				row[i] = string(field)
			}
			t.rows++
			if t.ready {
				t.print(row)
				continue
			}
			if t.cells = append(t.cells, row); len(t.cells) >= screenRows {
				t.begin()
			}
		}
		if t.ready {
			if err := t.w.Flush(); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil && t.rows == 0 {
		return err
	}
	if !t.ready {
		t.begin()
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	return rows.Err()
}

// begin measures the rows that were held back and prints them.
func (t *tableWriter) begin() {
	t.ready = true
	for i, c := range t.cols {
		for _, row := range t.cells {
			if c.Type == query.TypeTime && row[i] != "NULL" {
				t.trim[i] = min(t.trim[i], trailingZeros(row[i]))
			}
		}
		t.trim[i] -= t.trim[i] % 3
		for _, row := range t.cells {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(t.shorten(i, row[i])))
		}
	}
	header := make([]string, len(t.cols))
	rule := make([]string, len(t.cols))
	for i, c := range t.cols {
		header[i] = string(printable([]byte(c.Name)))
		for range t.widths[i] {
			rule[i] += "-"
		}
	}
	t.print(header)
	t.print(rule)
	for _, row := range t.cells {
		t.print(row)
	}
	t.cells = nil
}

// trailingZeros counts the zeros at the end of a time's fraction.
func trailingZeros(s string) int {
	if len(s) != len("2006-01-02T15:04:05.000000000Z") {
		return 9
	}
	n := 0
	for n < 9 && s[len(s)-2-n] == '0' {
		n++
	}
	return n
}

// shorten cuts the zeros off a time that all times of the column have.
func (t *tableWriter) shorten(i int, s string) string {
	n := t.trim[i]
	if t.cols[i].Type != query.TypeTime || n <= 0 || len(s) != 30 || trailingZeros(s) < n {
		return s
	}
	s = s[:len(s)-1-n]
	if n == 9 {
		s = s[:len(s)-1]
	}
	return s + "Z"
}

func (t *tableWriter) print(row []string) {
	t.line = t.line[:0]
	for i, s := range row {
		s = t.shorten(i, s)
		pad := t.widths[i] - utf8.RuneCountInString(s)
		if i > 0 {
			t.line = append(t.line, ' ', ' ')
		}
		if t.right[i] {
			t.line = spaces(t.line, pad)
		}
		t.line = append(t.line, s...)
		if !t.right[i] && i < len(row)-1 {
			t.line = spaces(t.line, pad)
		}
	}
	t.line = append(t.line, '\n')
	_, _ = t.w.Write(t.line) // bufio keeps the error for Flush
}

func spaces(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, ' ')
	}
	return dst
}

// printable replaces what would move the cursor of a terminal.
func printable(s []byte) []byte {
	for i, c := range s {
		if c < 0x20 || c == 0x7f {
			s[i] = ' '
		}
	}
	return s
}
