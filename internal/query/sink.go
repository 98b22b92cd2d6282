package query

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"modernc.org/sqlite/vtab"
)

// The binding interrupts a statement when its context ends only until the
// first row has come. So a statement runs as INSERT INTO a virtual table whose
// rows go to a channel: the whole statement is then that first step.

const sinkModule = "weir_sink"

// sinkTable is the module of the sink and the sink itself.
type sinkTable struct{ q *sqliteQuery }

// Create implements vtab.Module. args[3] is the id of the query.
func (s *sinkTable) Create(ctx vtab.Context, args []string) (vtab.Table, error) {
	q := lookupQuery(args[3])
	if q == nil {
		return nil, errors.New("no such query")
	}
	var b strings.Builder
	b.WriteString("CREATE TABLE sink(")
	for i := range q.columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("c" + strconv.Itoa(i))
	}
	b.WriteByte(')')
	return &sinkTable{q: q}, ctx.Declare(b.String())
}

// Connect implements vtab.Module.
func (s *sinkTable) Connect(ctx vtab.Context, args []string) (vtab.Table, error) {
	return s.Create(ctx, args)
}

// VolatileArgs lets Insert see SQLite's own memory: it copies what it keeps.
func (s *sinkTable) VolatileArgs() bool { return true }

// BestIndex implements vtab.Table.
func (s *sinkTable) BestIndex(*vtab.IndexInfo) error { return nil }

// Open implements vtab.Table: nothing can be read.
func (s *sinkTable) Open() (vtab.Cursor, error) { return nil, errors.New("the sink cannot be read") }

// Disconnect implements vtab.Table.
func (s *sinkTable) Disconnect() error { return nil }

// Destroy implements vtab.Table.
func (s *sinkTable) Destroy() error { return nil }

// Insert takes one row of the result.
func (s *sinkTable) Insert(cols []vtab.Value, _ *int64) error {
	q := s.q
	if q.out == nil {
		q.out = q.pool.Get().(*Batch)
		q.out.start(len(q.columns))
	}
	for i, c := range cols {
		v := fromDriver(c)
		if v.Kind == Text {
			v.text = strings.Clone(v.text)
		}
		q.bytes += len(v.text)
		q.out.cols[i].vals = append(q.out.cols[i].vals, v)
	}
	q.out.n++
	// Large texts make small batches.
	if q.out.n >= batchRows || q.bytes >= 1<<20 {
		return q.flush()
	}
	return nil
}

// Update implements vtab.Updater.
func (s *sinkTable) Update(int64, []vtab.Value, *int64) error {
	return errors.New("the sink only takes rows")
}

// Delete implements vtab.Updater.
func (s *sinkTable) Delete(int64) error { return errors.New("the sink only takes rows") }

// start empties the batch for rows of boxed values.
func (b *Batch) start(width int) {
	b.n = 0
	if len(b.cols) != width {
		b.cols = make([]outColumn, width)
	}
	for i := range b.cols {
		b.cols[i].reserveAny(0)
	}
}

// flush hands the rows over, waiting until they are wanted.
func (q *sqliteQuery) flush() error {
	b := q.out
	q.out, q.bytes = nil, 0
	if b == nil || b.n == 0 {
		return nil
	}
	select {
	case q.batches <- b:
		return nil
	case <-q.ctx.Done():
		return context.Cause(q.ctx)
	}
}
