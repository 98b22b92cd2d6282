package rollup

import (
	"math"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// flushRows is how many rollup rows are handed over together.
const flushRows = 1024

// Builder aggregates readings that come sorted by (series, time) into buckets of
// several widths at once. It holds one bucket of each width, so its memory does
// not depend on how many readings or series there are.
type Builder struct {
	fields []telemetry.Column
	levels []*level // ascending by width
	emit   func(width int64, rows *telemetry.Section) error
	err    error
}

// level is one width. It is fed by a narrower one that divides it, or by readings.
type level struct {
	width  int64
	feeds  []*level
	byRows bool
	table  *telemetry.Table
	out    telemetry.Section
	values []telemetry.Value
	buf    []byte // sketches of values

	open        bool
	series      telemetry.SeriesRef
	start       int64
	rows        int64
	first, last int64 // times of readings
	cells       []cell
}

// NewBuilder returns a builder over sections of these columns. emit gets the rows
// of each width sorted by (series, time); they are valid until it returns.
func NewBuilder(name string, fields []telemetry.Column, widths []int64, emit func(width int64, rows *telemetry.Section) error) *Builder {
	b := &Builder{fields: fields, emit: emit}
	table := TableOf(name, fields)
	for _, w := range widths {
		l := &level{width: w, table: table, byRows: true, cells: make([]cell, len(fields)), values: make([]telemetry.Value, len(table.Columns))}
		l.out.Reset(table)
		for i := len(b.levels) - 1; i >= 0; i-- {
			if w%b.levels[i].width == 0 {
				b.levels[i].feeds = append(b.levels[i].feeds, l)
				l.byRows = false
				break
			}
		}
		b.levels = append(b.levels, l)
	}
	return b
}

// StartOf returns the start of the bucket that a time falls into.
func StartOf(t, width int64) int64 {
	q := t / width
	if t%width < 0 {
		q--
	}
	return q * width
}

// Add takes readings that continue the order.
func (b *Builder) Add(sec *telemetry.Section) error {
	for _, l := range b.levels {
		if l.byRows {
			b.addRows(l, sec)
		}
	}
	return b.err
}

// addRows adds stretches of rows of one bucket to a level.
func (b *Builder) addRows(l *level, sec *telemetry.Section) {
	n := sec.Rows()
	for from := 0; from < n && b.err == nil; {
		ref, start := sec.Series[from], StartOf(sec.Time[from], l.width)
		to := from + 1
		for to < n && sec.Series[to] == ref && sec.Time[to]-start < l.width {
			to++
		}
		b.enter(l, ref, start)
		l.span(int64(to-from), sec.Time[from], sec.Time[to-1])
		for i := range b.fields {
			l.cells[i].addRows(b.fields[i].Type, &sec.Columns[i], sec.Time, from, to)
		}
		from = to
	}
}

// enter makes the bucket of a key the open one of the level.
func (b *Builder) enter(l *level, ref telemetry.SeriesRef, start int64) {
	if l.open && l.series == ref && l.start == start {
		return
	}
	b.close(l)
	l.open, l.series, l.start = true, ref, start
}

// span notes readings between two times.
func (l *level) span(rows, first, last int64) {
	if l.rows == 0 {
		l.first, l.last = first, last
	}
	l.rows += rows
	l.first, l.last = min(l.first, first), max(l.last, last)
}

// close writes the open bucket and adds it to the wider ones.
func (b *Builder) close(l *level) {
	if !l.open {
		return
	}
	for _, w := range l.feeds {
		b.enter(w, l.series, StartOf(l.start, w.width))
		w.span(l.rows, l.first, l.last)
		for i := range l.cells {
			w.cells[i].merge(b.fields[i].Type, &l.cells[i])
		}
	}
	l.write(b.fields)
	l.open, l.rows = false, 0
	for i := range l.cells {
		l.cells[i].reset()
	}
	if l.out.Rows() >= flushRows {
		b.flush(l)
	}
}

func (b *Builder) flush(l *level) {
	if l.out.Rows() > 0 && b.err == nil {
		b.err = b.emit(l.width, &l.out)
	}
	l.out.Reset(l.table)
}

// Close writes what is open.
func (b *Builder) Close() error {
	for _, l := range b.levels { // narrow ones first: they feed the others
		b.close(l)
		b.flush(l)
	}
	return b.err
}

// write appends the open bucket to the rows that wait.
func (l *level) write(fields []telemetry.Column) {
	null := telemetry.Value{Null: true}
	number := func(n int64) telemetry.Value { return telemetry.Value{Bits: uint64(n)} }
	l.buf = l.buf[:0]
	vals := append(l.values[:0], number(l.rows), number(l.first-l.start), number(l.last-l.start))
	for i := range fields {
		t, c := fields[i].Type, &l.cells[i]
		typed := func(v value) telemetry.Value {
			if t.Textual() {
				return telemetry.Value{Text: v.text}
			}
			return telemetry.Value{Bits: v.bits}
		}
		for _, p := range partsOf(t) {
			v := null
			switch {
			case p == Count:
				v = number(c.n)
			case c.n == 0:
			case p == First:
				v = typed(c.first)
			case p == FirstAt:
				v = number(c.firstAt - l.first)
			case c.n == 1: // the first value tells the rest
			case p == Last:
				v = typed(c.last)
			case p == LastAt:
				v = number(l.last - c.lastAt)
			case p == Min:
				v = number(int64(c.min))
			case p == Max:
				v = number(int64(c.max))
			case p == Sum:
				v = sumValue(t, &c.sum)
			case p == SumHi:
				v = number(c.sum.hi)
			case p == Quantiles:
				from := len(l.buf)
				l.buf = c.sketch.Append(l.buf)
				v = telemetry.Value{Text: l.buf[from:len(l.buf):len(l.buf)]}
			}
			vals = append(vals, v)
		}
	}
	l.values = vals
	l.out.AppendRow(l.series, l.start, 0, vals)
}

func sumValue(t telemetry.ColumnType, s *sum) telemetry.Value {
	if t == telemetry.Float {
		return telemetry.Value{Bits: math.Float64bits(s.float())}
	}
	return telemetry.Value{Bits: s.lo}
}
