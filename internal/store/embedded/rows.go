package embedded

import (
	"bytes"
	"math"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// appendVector appends rows from up to and without to of src to dst, which holds
// n rows. A dictionary that dst does not share is written out.
func appendVector(dst, src *telemetry.Vector, n, from, to int) {
	for i := from; i < to; i++ {
		if src.Nulls.Get(i) {
			dst.Nulls = dst.Nulls.Set(n + i - from)
		}
	}
	if !src.Type.Textual() {
		dst.Bits = append(dst.Bits, src.Bits[from:to]...)
		return
	}
	plain(dst, n)
	if src.Dict == nil {
		base := uint32(0)
		if from > 0 {
			base = src.Ends[from-1]
		}
		offset := uint32(len(dst.Bytes)) - base
		if to > from {
			dst.Bytes = append(dst.Bytes, src.Bytes[base:src.Ends[to-1]]...)
		}
		for _, e := range src.Ends[from:to] {
			dst.Ends = append(dst.Ends, e+offset)
		}
		return
	}
	for i := from; i < to; i++ {
		if !src.Nulls.Get(i) {
			dst.Bytes = append(dst.Bytes, src.Dict[src.Bits[i]]...)
		}
		dst.Ends = append(dst.Ends, uint32(len(dst.Bytes)))
	}
}

// plain turns a dictionary vector of n rows into a plain one.
func plain(v *telemetry.Vector, n int) {
	if v.Dict == nil {
		return
	}
	dict, codes := v.Dict, v.Bits
	v.Dict, v.Bits = nil, nil
	v.Ends, v.Bytes = v.Ends[:0], v.Bytes[:0]
	for i := range n {
		if !v.Nulls.Get(i) {
			v.Bytes = append(v.Bytes, dict[codes[i]]...)
		}
		v.Ends = append(v.Ends, uint32(len(v.Bytes)))
	}
}

// appendRows appends rows from up to and without to of src, which has the same
// columns, to dst.
func appendRows(dst, src *telemetry.Section, from, to int) {
	n := dst.Rows()
	for c := range dst.Columns {
		appendVector(&dst.Columns[c], &src.Columns[c], n, from, to)
	}
	dst.Series = append(dst.Series, src.Series[from:to]...)
	dst.Time = append(dst.Time, src.Time[from:to]...)
	if len(src.Received) >= to {
		dst.Received = append(dst.Received, src.Received[from:to]...)
	}
}

// keepRows removes the rows of a section for which drop is true.
func keepRows(sec *telemetry.Section, drop func(row int) bool) {
	out := &telemetry.Section{Table: sec.Table, Columns: make([]telemetry.Vector, len(sec.Columns))}
	for c := range out.Columns {
		out.Columns[c].Type = sec.Columns[c].Type
	}
	n, from := sec.Rows(), 0
	for i := 0; i <= n; i++ {
		if i == n || drop(i) {
			appendRows(out, sec, from, i)
			from = i + 1
		}
	}
	*sec = *out
}

// nullVector makes v a vector of n nulls.
func nullVector(v *telemetry.Vector, t telemetry.ColumnType, n int) {
	v.Reset(t)
	if t.Textual() {
		v.Ends = append(v.Ends, make([]uint32, n)...)
	} else {
		v.Bits = append(v.Bits, make([]uint64, n)...)
	}
	v.Nulls = append(v.Nulls, make([]uint64, (n+63)/64)...)
	for i := range v.Nulls {
		v.Nulls[i] = math.MaxUint64
	}
}

// widen turns an Int vector into a Float one.
func widen(v *telemetry.Vector) {
	v.Type = telemetry.Float
	for i, b := range v.Bits {
		v.Bits[i] = math.Float64bits(float64(int64(b)))
	}
}

// sameRow reports whether two rows have the same values: the columns that both
// tables have are equal bit for bit, and the others are null.
func sameRow(a *telemetry.Section, ta *telemetry.Table, i int, b *telemetry.Section, tb *telemetry.Table, j int) bool {
	for c := range ta.Columns {
		d := c
		if ta != tb {
			d = tb.ColumnIndex(ta.Columns[c].Name)
		}
		va := &a.Columns[c]
		if d < 0 {
			if !va.Nulls.Get(i) {
				return false
			}
			continue
		}
		if !sameValue(va, i, &b.Columns[d], j) {
			return false
		}
	}
	if ta != tb {
		for d := range tb.Columns {
			if ta.ColumnIndex(tb.Columns[d].Name) < 0 && !b.Columns[d].Nulls.Get(j) {
				return false
			}
		}
	}
	return true
}

func sameValue(a *telemetry.Vector, i int, b *telemetry.Vector, j int) bool {
	an, bn := a.Nulls.Get(i), b.Nulls.Get(j)
	switch {
	case an || bn:
		return an && bn
	case a.Type != b.Type:
		return false
	case !a.Type.Textual():
		return a.Bits[i] == b.Bits[j]
	case a.Dict != nil && b.Dict != nil:
		return a.Dict[a.Bits[i]] == b.Dict[b.Bits[j]]
	}
	return bytes.Equal(a.Text(i), b.Text(j))
}
