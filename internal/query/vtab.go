package query

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"modernc.org/sqlite/vtab"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// scanModule is the module of the read-only tables that statements see.
const scanModule = "weir_scan"

type module struct{}

// VolatileArgs lets Filter see SQLite's own memory: it copies what it keeps.
func (*module) VolatileArgs() bool { return true }

// Create implements vtab.Module. args[3] is the id of the query.
func (m *module) Create(ctx vtab.Context, args []string) (vtab.Table, error) {
	q := lookupQuery(args[3])
	if q == nil {
		return nil, errors.New("no such query")
	}
	rel := q.relations[args[2]]
	if rel == nil {
		return nil, fmt.Errorf("no relation %q", args[2])
	}
	return &virtualTable{q: q, rel: rel}, ctx.Declare(declaration(rel))
}

// Connect implements vtab.Module.
func (m *module) Connect(ctx vtab.Context, args []string) (vtab.Table, error) {
	return m.Create(ctx, args)
}

// declaration is the CREATE TABLE of a relation. The types carry affinity and
// tell the renderers what is boolean and what is JSON.
func declaration(rel *relation) string {
	var b strings.Builder
	b.WriteString("CREATE TABLE x(")
	for i := range rel.columns {
		c := &rel.columns[i]
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quoteName(c.name))
		b.WriteByte(' ')
		b.WriteString(declTypes[c.typeName()])
		if c.source == fromSeries {
			b.WriteString(" HIDDEN")
		}
	}
	b.WriteByte(')')
	return b.String()
}

var declTypes = map[string]string{
	TypeTime: "TIMETEXT", TypeText: "TEXT", TypeInt: "INTEGER", TypeFloat: "REAL", TypeBool: "BOOLEAN", TypeJSON: "JSONTEXT",
}

// typeOfDecl is the way back from declTypes; expressions have no declared type.
func typeOfDecl(decl string) string {
	for t, d := range declTypes {
		if d == decl {
			return t
		}
	}
	return TypeAny
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

type virtualTable struct {
	q   *sqliteQuery
	rel *relation
}

// BestIndex implements vtab.Table: conditions on time, tags, topic and numeric
// fields narrow the scan. SQLite checks all of them again, so that pushing
// down can only leave out what cannot match. A statement that names a
// collation pushes nothing down, because the binding does not say which
// collation a condition uses.
func (t *virtualTable) BestIndex(info *vtab.IndexInfo) error {
	var b strings.Builder
	b.WriteString(strconv.FormatUint(info.ColUsed, 16))
	cost, rows := 1e7, int64(1_000_000)
	n := 0
	for i := range info.Constraints {
		c := &info.Constraints[i]
		if !c.Usable || c.Column < 0 || c.Column >= len(t.rel.columns) || t.q.collates {
			continue
		}
		col := &t.rel.columns[c.Column]
		switch c.Op {
		case vtab.OpEQ, vtab.OpGT, vtab.OpGE, vtab.OpLT, vtab.OpLE:
		default:
			continue
		}
		switch {
		case col.source == fromTime:
			cost, rows = cost/10, rows/10
		case col.seriesOnly() && c.Op == vtab.OpEQ:
			cost, rows = cost/100, rows/100
		case col.source == fromField && (col.field.Type == telemetry.Float || col.field.Type == telemetry.Int):
			cost, rows = cost/2, rows/2
		default:
			continue
		}
		c.ArgIndex = n
		n++
		fmt.Fprintf(&b, " %d:%d", c.Column, c.Op)
	}
	info.IdxStr = b.String()
	info.EstimatedCost = max(cost, 1)
	info.EstimatedRows = max(rows, 1)
	return nil
}

// Open implements vtab.Table.
func (t *virtualTable) Open() (vtab.Cursor, error) { return &cursor{table: t}, nil }

// Disconnect implements vtab.Table.
func (t *virtualTable) Disconnect() error { return nil }

// Destroy implements vtab.Table.
func (t *virtualTable) Destroy() error { return nil }

// cursor walks the rows of a scan, unit by unit and chunk by chunk.
type cursor struct {
	table  *virtualTable
	x      *execution
	scan   store.Scan
	worker *worker
	units  []store.Unit
	unit   int    // position in units
	nodes  []node // by column of the relation; nil: not used
	vecs   []*vec
	chunk  chunk
	sel    []int32
	at     int
	eof    bool
	system [][]Value // rows of weir_tables and weir_columns
}

// Filter implements vtab.Cursor.
func (c *cursor) Filter(_ int, idx string, vals []vtab.Value) error {
	c.release()
	c.eof, c.at, c.sel, c.system = false, 0, nil, nil
	rel := c.table.rel
	if rel.kind == relSystem {
		var err error
		if c.system, err = c.table.q.run.cat.systemRows(c.table.q.ctx, rel); err != nil {
			return c.table.q.failed(err)
		}
		c.eof = len(c.system) == 0
		return nil
	}
	used, conditions, _ := strings.Cut(idx, " ")
	mask, _ := strconv.ParseUint(used, 16, 64)
	p := &plan{rel: rel, from: math.MinInt64, to: math.MaxInt64, limit: -1}
	for i, s := range strings.Fields(conditions) {
		col, op, _ := strings.Cut(s, ":")
		ci, _ := strconv.Atoi(col)
		oi, _ := strconv.Atoi(op)
		v := fromDriver(vals[i])
		v.text = strings.Clone(v.text)
		p.pushDown(ci, vtab.ConstraintOp(oi), v)
	}
	for i := range rel.columns {
		if mask&(1<<min(i, 63)) != 0 {
			rc := &rel.columns[i]
			p.outs = append(p.outs, output{expr: &expr{op: opColumn, index: i, aff: rc.affinity()}})
		}
	}
	if err := c.open(p); err != nil {
		return c.table.q.failed(err)
	}
	return c.table.q.failed(c.advance())
}

var constraintOps = map[vtab.ConstraintOp]opcode{
	vtab.OpEQ: opEq, vtab.OpGT: opGt, vtab.OpGE: opGe, vtab.OpLT: opLt, vtab.OpLE: opLe,
}

// pushDown adds a condition to a plan where it is sure what it means.
func (p *plan) pushDown(column int, op vtab.ConstraintOp, v Value) {
	col := &p.rel.columns[column]
	left := &expr{op: opColumn, index: column, aff: col.affinity()}
	e := &expr{op: constraintOps[op], args: []*expr{left, {op: opConst, val: v}}}
	switch {
	case v.IsNull() || v.Kind == Blob:
	case col.source == fromTime && v.Kind == Text:
		p.timeCondition(e)
	case col.seriesOnly() && (v.Kind == Text || v.Kind == Int):
		p.seriesIf = append(p.seriesIf, e)
	case col.source == fromField:
		p.valueRange(e)
	}
}

func (c *cursor) open(p *plan) error {
	q := c.table.q
	scan, err := q.pin(p.rel)
	if err != nil {
		return err
	}
	x := newExecution(p, q.run.engine.opts.MemoryLimit)
	c.x, c.scan, c.units, c.unit = x, scan, scan.Units(), -1
	if p.never {
		c.units = nil
	}
	x.units = len(c.units)
	c.worker = newWorker(p, scan, x)
	if p.rel.kind == relLatest {
		// The pinned rows hold all fields.
		c.worker = newWorker(p, scan, allFields(x))
	}
	if len(p.seriesIf) > 0 {
		match := p.matcher()
		c.worker.match = func(ref telemetry.SeriesRef) bool {
			info := scan.Series(ref)
			return match(info.Topic, info.Tags)
		}
	}
	c.chunk = chunk{section: &c.worker.section, worker: c.worker}
	c.nodes, c.vecs = make([]node, len(p.rel.columns)), make([]*vec, len(p.rel.columns))
	for i := range p.outs {
		c.nodes[p.outs[i].expr.index] = c.worker.outs[i]
	}
	return nil
}

// allFields makes an execution read every field of its relation.
func allFields(x *execution) *execution {
	x.columns, x.received = nil, true
	for _, f := range x.plan.rel.fields {
		x.columns = append(x.columns, f.Name)
	}
	return x
}

// pin returns the scan of a relation that all cursors of the statement share:
// so they see the same rows, under the same row ids, which SQLite compares
// where it looks a table up by several conditions joined by OR.
func (q *sqliteQuery) pin(rel *relation) (store.Scan, error) {
	if s := q.pinned[rel.name]; s != nil {
		return s, nil
	}
	x := allFields(&execution{plan: &plan{rel: rel, from: math.MinInt64, to: math.MaxInt64}, limit: q.run.engine.opts.MemoryLimit, started: q.started})
	s, err := x.openScan(q.ctx, q.run.cat.store, q.run.cat.tenant)
	if err != nil {
		return nil, err
	}
	q.pinned[rel.name] = s
	return s, nil
}

// skips reports that a unit cannot hold a row that the conditions let through.
func (c *cursor) skips(u store.Unit) bool {
	p := c.worker.plan
	if u.Rows() == 0 || u.MaxTime() < p.from || u.MinTime() >= p.to {
		return true
	}
	runs := u.Runs()
	if runs == nil {
		return false
	}
	for i := range runs {
		if r := &runs[i]; r.MaxTime >= p.from && r.MinTime < p.to && c.worker.isWanted(u, r.Series) {
			return c.outOfRange(u)
		}
	}
	return true
}

// outOfRange reports that no run of the unit meets a condition on a value.
func (c *cursor) outOfRange(u store.Unit) bool {
	for _, r := range c.worker.plan.ranges {
		stats := u.RunStats(r.Column)
		if stats != nil && !slices.ContainsFunc(stats, func(s store.ColumnStats) bool { return s.Count > 0 && s.Max >= r.Min && s.Min <= r.Max }) {
			return true
		}
	}
	return false
}

// advance finds the next chunk that has rows.
func (c *cursor) advance() error {
	w, p := c.worker, c.worker.plan
	for {
		if err := c.table.q.ctx.Err(); err != nil {
			return contextError(c.table.q.ctx)
		}
		for c.chunk.lo+c.chunk.n >= w.section.Rows() {
			if c.unit++; c.unit >= len(c.units) {
				c.eof = true
				return nil
			}
			u := c.units[c.unit]
			if c.skips(u) {
				c.x.stats.skipped.Add(1)
				continue
			}
			n, err := u.Read(&w.section, w.columns, c.x.received)
			if err != nil {
				return err
			}
			c.x.stats.decoded.Add(1)
			c.x.stats.bytes.Add(n)
			w.units++
			c.chunk.lo, c.chunk.n, c.chunk.unit, c.chunk.version = 0, 0, w.units, int64(u.Table().Version)
			w.reading = u
		}
		c.chunk.lo += c.chunk.n
		c.chunk.n = min(chunkRows, w.section.Rows()-c.chunk.lo)
		c.sel, c.at = c.sel[:0], 0
		series := c.chunk.series()
		for i, t := range c.chunk.times() {
			if t >= p.from && t < p.to && w.isWanted(w.reading, series[i]) {
				c.sel = append(c.sel, int32(i))
			}
		}
		c.x.stats.rows.Add(int64(len(c.sel)))
		if len(c.sel) == 0 {
			continue
		}
		for i, n := range c.nodes {
			if n == nil {
				continue
			}
			v, err := n.eval(&c.chunk)
			if err != nil {
				return err
			}
			c.vecs[i] = v
		}
		return nil
	}
}

// Next implements vtab.Cursor.
func (c *cursor) Next() error {
	if c.system != nil {
		c.at++
		c.eof = c.at >= len(c.system)
		return nil
	}
	if c.at++; c.at < len(c.sel) {
		return nil
	}
	return c.table.q.failed(c.advance())
}

// Eof implements vtab.Cursor.
func (c *cursor) Eof() bool { return c.eof }

// Column implements vtab.Cursor.
func (c *cursor) Column(col int) (vtab.Value, error) {
	if c.eof {
		return nil, nil
	}
	if c.system != nil {
		return driverValue(c.system[c.at][col]), nil
	}
	row := int(c.sel[c.at])
	if c.table.rel.columns[col].source == fromSeries {
		return int64(c.chunk.series()[row]), nil
	}
	v := c.vecs[col]
	if v == nil {
		return nil, telemetry.Errorf(telemetry.CodeInternal, "run query", "column %d was not announced", col)
	}
	if v.null(row) {
		return nil, nil
	}
	return driverValue(v.value(row)), nil
}

// Rowid implements vtab.Cursor: the unit and the row in it.
func (c *cursor) Rowid() (int64, error) {
	if c.system != nil || c.eof {
		return int64(c.at), nil
	}
	return int64(c.unit)<<32 | int64(c.chunk.lo+int(c.sel[c.at])), nil
}

// Close implements vtab.Cursor.
func (c *cursor) Close() error {
	c.release()
	return nil
}

// release adds what the scan has cost to the query, which keeps it pinned.
func (c *cursor) release() {
	if c.scan == nil {
		return
	}
	c.table.q.addStats(c.x)
	c.scan = nil
}
