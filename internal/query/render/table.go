package render

import (
	"bufio"
	"fmt"
	"io"

	"github.com/weir-telemetry/weir/internal/query"
)

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
		t.widths[i] = displayWidth(safe([]byte(c.Name)))
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
				if k := b.Kind(i, r); c.Type == query.TypeAny && t.rows == 0 && (k == query.Int || k == query.Float) {
					t.right[i] = true
				}
				row[i] = safe(field)
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
	if rows.Err() == nil {
		plural := "s"
		if t.rows == 1 {
			plural = ""
		}
		fmt.Fprintf(t.w, "(%d row%s)\n", t.rows, plural) // bufio keeps the error for Flush
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
			t.widths[i] = max(t.widths[i], displayWidth(t.shorten(i, row[i])))
		}
	}
	header := make([]string, len(t.cols))
	rule := make([]string, len(t.cols))
	for i, c := range t.cols {
		header[i] = safe([]byte(c.Name))
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
		pad := t.widths[i] - displayWidth(s)
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
