package query

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"
)

// Column describes one column of a result.
type Column struct {
	Name string
	Type string // one of the Type constants
}

// Batch is some rows of a result, in columns. It is valid until the next call
// of Rows.Next.
type Batch struct {
	n    int
	cols []outColumn
}

// outColumn owns its memory, unlike a vec.
type outColumn struct {
	vec
	day dayText
}

// Len returns the number of rows.
func (b *Batch) Len() int { return b.n }

// Value returns one value. Its text is valid as long as the batch.
func (b *Batch) Value(col, row int) Value { return b.cols[col].value(row) }

// Kind returns the storage class of one value.
func (b *Batch) Kind(col, row int) Kind {
	v := &b.cols[col].vec
	switch {
	case v.null(row):
		return Null
	case v.kind == vecInt:
		return Int
	case v.kind == vecFloat:
		return Float
	case v.kind == vecAny:
		return v.vals[v.row(row)].Kind
	}
	return Text
}

// AppendText appends a value as text without boxing it; NULL appends nothing
// and is reported.
func (b *Batch) AppendText(dst []byte, col, row int) (_ []byte, null bool) {
	v := &b.cols[col].vec
	if v.kind == vecNull || v.kind == vecAny {
		x := v.value(row)
		return x.AppendText(dst), x.IsNull()
	}
	i := v.row(row)
	if v.nulls.Get(i) {
		return dst, true
	}
	switch v.kind {
	case vecFloat:
		f := math.Float64frombits(v.bits[i])
		if f != f {
			return dst, true
		}
		return appendFloat(dst, f), false
	case vecInt:
		return strconv.AppendInt(dst, int64(v.bits[i]), 10), false
	case vecTime, vecBucket:
		return b.cols[col].day.appendTime(dst, int64(v.bits[i]), v.kind == vecBucket), false
	}
	return append(dst, v.textAt(i)...), false
}

// MayBeBlob reports whether values of a column may be blobs, which are not text.
func (b *Batch) MayBeBlob(col int) bool { return b.cols[col].kind == vecAny }

// gather copies the selected rows of v.
func (o *outColumn) gather(v *vec, sel []int32) {
	switch v.kind {
	case vecNull:
		o.vec.kind, o.vec.con = vecNull, true
	case vecAny:
		o.reserveAny(len(sel))
		for i, r := range sel {
			x := v.value(int(r))
			x.text = strings.Clone(x.text)
			o.vals[i] = x
		}
	case vecText:
		o.gatherText(v, sel)
	default:
		o.reserve(v.kind, len(sel))
		for i, r := range sel {
			o.bits[i] = v.bits[v.row(int(r))]
			if v.null(int(r)) {
				o.nulls = o.nulls.Set(i)
			}
		}
	}
}

func (o *outColumn) gatherText(v *vec, sel []int32) {
	o.reserve(vecText, 0)
	o.ends, o.data, o.first = o.ends[:0], o.data[:0], 0
	for i, r := range sel {
		if v.null(int(r)) {
			o.nulls = o.nulls.Set(i)
		} else {
			o.data = append(o.data, v.textAt(int(r))...)
		}
		o.ends = append(o.ends, uint32(len(o.data)))
	}
}

// setValues fills a column with boxed values, which it keeps.
func (b *Batch) setValues(rows [][]Value, width int) {
	b.n = len(rows)
	if cap(b.cols) < width {
		b.cols = make([]outColumn, width)
	}
	b.cols = b.cols[:width]
	for c := range b.cols {
		o := &b.cols[c]
		o.reserveAny(len(rows))
		for i, r := range rows {
			o.vals[i] = r[c]
		}
	}
}

// Rows is the result of a statement. It must be closed.
//
//	for rows.Next() {
//		b := rows.Batch()
//		…
//	}
//	err := rows.Err()
type Rows struct {
	columns []Column
	next    func() (*Batch, error) // nil batch: the end
	stop    func()                 // ends the work and waits for it
	stats   func() Stats
	batch   *Batch
	err     error
	done    bool
	once    sync.Once
}

// Columns describes the columns, in order.
func (r *Rows) Columns() []Column { return r.columns }

// Next waits for the next batch; it returns false at the end and on errors.
func (r *Rows) Next() bool {
	if r.done {
		return false
	}
	b, err := r.next()
	if err != nil || b == nil {
		r.err, r.done, r.batch = err, true, nil
		_ = r.Close()
		return false
	}
	r.batch = b
	return true
}

// Batch returns the rows that Next waited for.
func (r *Rows) Batch() *Batch { return r.batch }

// Err returns what ended the rows early.
func (r *Rows) Err() error { return r.err }

// Close ends the statement and waits until nothing of it runs any more.
func (r *Rows) Close() error {
	r.done = true
	r.once.Do(r.stop)
	return nil
}

// Stats says what the statement has cost so far.
func (r *Rows) Stats() Stats { return r.stats() }

// All reads the remaining rows into memory, for tests and small results.
func (r *Rows) All() ([][]Value, error) {
	defer r.Close()
	var all [][]Value
	for r.Next() {
		b := r.Batch()
		for i := range b.n {
			row := make([]Value, len(r.columns))
			for c := range row {
				row[c] = b.Value(c, i)
				row[c].text = strings.Clone(row[c].text)
			}
			all = append(all, row)
		}
	}
	return all, r.Err()
}

// resultRows serves boxed rows that are complete already.
func resultRows(columns []Column, rows [][]Value, stats func() Stats) *Rows {
	b := &Batch{}
	return &Rows{
		columns: columns,
		next: func() (*Batch, error) {
			if len(rows) == 0 {
				return nil, nil
			}
			n := min(len(rows), batchRows)
			b.setValues(rows[:n], len(columns))
			rows = rows[n:]
			return b, nil
		},
		stop:  func() {},
		stats: stats,
	}
}

// batchRows is how many rows the batches of computed results have.
const batchRows = 1024

// cut applies LIMIT and OFFSET to batches that stream.
type cut struct{ limit, offset int64 }

// apply drops what the limits exclude; done reports that no more can follow.
func (c *cut) apply(b *Batch) (done bool) {
	lo := min(c.offset, int64(b.n))
	c.offset -= lo
	hi := int64(b.n)
	if c.limit >= 0 {
		hi = min(hi, lo+c.limit)
		c.limit -= hi - lo
		done = c.limit == 0
	}
	if lo > 0 || hi < int64(b.n) {
		sel := make([]int32, 0, hi-lo)
		for i := lo; i < hi; i++ {
			sel = append(sel, int32(i))
		}
		for i := range b.cols {
			var o outColumn
			o.gather(&b.cols[i].vec, sel)
			b.cols[i] = o
		}
		b.n = len(sel)
	}
	return done
}

// contextError names why a context ended.
func contextError(ctx context.Context) error { return context.Cause(ctx) }
