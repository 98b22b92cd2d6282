package query

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Stats says what a statement has cost.
type Stats struct {
	Path        string // "vectorised" or "sqlite"
	Why         string // why the statement was left to SQLite
	Segments    store.SegmentCount
	Units       int           // units of the scan, skipped ones included
	Skipped     int           // left out by time, series or values
	Answered    int           // answered by statistics alone
	Decoded     int           // decoded, once for each read
	RowsByStats int64         // rows that statistics answered
	Bytes       int64         // decoded
	Rows        int64         // rows that passed the conditions
	Rollups     string        // what came from which rollup; "" for nothing
	Elapsed     time.Duration // since the statement began
}

// execution is one run of a plan.
type execution struct {
	plan     *plan
	columns  []string
	received bool
	statable bool
	rawOnly  bool // rollups are left out: tests compare
	limit    int64
	mem      atomic.Int64
	started  time.Time
	units    int
	segments store.SegmentCount
	base     *worker     // has taken what whole segments answered; nil: none was asked
	rollups  *rollupPlan // nil: rollups cannot answer
	rollupMu sync.Mutex
	rolledUp map[int64]rollupStats // by width; guarded by rollupMu
	stats    struct {
		skipped, answered, decoded, byStats, bytes, rows atomic.Int64
	}
}

// grow accounts for memory of group tables, sorts and sets.
func (x *execution) grow(n int) error {
	if m := x.mem.Add(int64(n)); m > x.limit {
		return memoryError(x.limit)
	}
	return nil
}

func memoryError(limit int64) error {
	return telemetry.Errorf(telemetry.CodeLimit, "run query", "the statement needs more than the %d MB of memory that a query may use", limit>>20).
		WithHint("narrow the time range, group by fewer or coarser keys, or add a LIMIT")
}

func (x *execution) snapshot() Stats {
	return Stats{
		Path: "vectorised", Segments: x.segments, Units: x.units, Skipped: int(x.stats.skipped.Load()), Answered: int(x.stats.answered.Load()),
		Decoded: int(x.stats.decoded.Load()), RowsByStats: x.stats.byStats.Load(), Bytes: x.stats.bytes.Load(),
		Rows: x.stats.rows.Load() + x.stats.byStats.Load(), Rollups: x.describeRollups(), Elapsed: time.Since(x.started),
	}
}

// newExecution finds out what a plan needs from the store.
func newExecution(p *plan, limit int64) *execution {
	x := &execution{plan: p, limit: limit, started: time.Now(), statable: p.statable(), rollups: p.rollable()}
	visit := func(e *expr) bool {
		if e.op == opColumn {
			switch c := &p.rel.columns[e.index]; c.source {
			case fromReceived:
				x.received = true
			case fromField:
				if !slices.Contains(x.columns, c.field.Name) {
					x.columns = append(x.columns, c.field.Name)
				}
			}
		}
		return true
	}
	for _, e := range p.rowIf {
		e.walk(visit)
	}
	for _, e := range p.keys {
		e.walk(visit)
	}
	for _, a := range p.aggs {
		a.arg.walk(visit)
	}
	if !p.grouped {
		for i := range p.outs {
			p.outs[i].expr.walk(visit)
		}
		for i := range p.order {
			p.order[i].expr.walk(visit)
		}
	}
	return x
}

// statable reports whether statistics of runs can answer all aggregates.
func (p *plan) statable() bool {
	if !p.grouped || !p.decided() || newGroupTable(p).hasRest() {
		return false
	}
	for _, a := range p.aggs {
		switch {
		case a.distinct:
			return false
		case a.arg == nil:
			continue
		case a.arg.op != opColumn:
			return false
		}
		c := &p.rel.columns[a.arg.index]
		switch a.fn {
		case "count", "min", "max":
			if c.source == fromTime {
				continue
			}
		case "sum", "avg", "total":
		default:
			return false
		}
		if c.source != fromField || c.field.Type != telemetry.Float && c.field.Type != telemetry.Int {
			return false
		}
	}
	return true
}

// openScan pins what the plan reads. The store's columns must still be those
// that the plan was made for.
func (x *execution) openScan(ctx context.Context, st store.Store, tenant telemetry.Tenant) (store.Scan, error) {
	p, req := x.plan, x.request(tenant)
	if p.rel.kind == relLatest {
		return openLatest(ctx, st, tenant, req, x)
	}
	if x.statable && len(p.rowIf) == 0 && !slices.Contains(newGroupTable(p).parts, partSeries) {
		x.base = newWorker(p, nil, x)
		req.Answer = x.base.addSegment
	}
	if x.rollups != nil && !x.rawOnly {
		req.Rollups = &store.RollupRequest{Width: x.rollups.width}
	}
	s, err := st.Scan(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("scan table %q: %w", p.rel.table, err)
	}
	if x.base != nil {
		x.base.scan = s
	}
	return s, nil
}

// request is what the plan asks of the store.
func (x *execution) request(tenant telemetry.Tenant) store.ScanRequest {
	p := x.plan
	req := store.ScanRequest{Tenant: tenant, Table: p.rel.table, From: p.from, To: p.to, Ranges: p.ranges}
	if len(p.seriesIf) > 0 {
		req.Match, req.TagIs = p.matcher(), p.tagIs()
	}
	if p.never || p.from >= p.to {
		req.From, req.To = 0, 0
		req.Match = func(string, []store.Tag) bool { return false }
	}
	return req
}

// tagIs returns the conditions that a tag has one value, which a store can decide
// by itself.
func (p *plan) tagIs() (is []store.TagIs) {
	for _, e := range p.seriesIf {
		if e.op != opEq {
			continue
		}
		col, val := e.args[0], e.args[1]
		if col.op == opConst {
			col, val = val, col
		}
		if col.op == opColumn && val.op == opConst && val.val.Kind == Text && p.rel.columns[col.index].source == fromTag {
			is = append(is, store.TagIs{Tag: p.rel.tags[p.rel.columns[col.index].index], Value: val.val.text})
		}
	}
	return is
}

// matcher evaluates the conditions on tags and topic once for each series.
func (p *plan) matcher() func(string, []store.Tag) bool {
	var mu sync.Mutex // a store may call it from several goroutines
	var info store.SeriesInfo
	slot := func(e *expr) Value {
		t := tagOf(&p.rel.columns[e.index], info)
		if t.Null {
			return Value{}
		}
		return TextValue(t.Value)
	}
	return func(topic string, tags []store.Tag) bool {
		mu.Lock()
		defer mu.Unlock()
		info = store.SeriesInfo{Topic: topic, Tags: tags}
		for _, e := range p.seriesIf {
			v, err := evalExpr(e, slot)
			if t, _ := v.truth(); err != nil || !t {
				return false
			}
		}
		return true
	}
}

// count notes what the scan left out.
func (x *execution) count(scan store.Scan) {
	// The latest rows were looked for before, and units left out then.
	skipped := x.stats.skipped.Add(int64(scan.Skipped()))
	x.units += len(scan.Units()) + int(skipped)
	x.segments = scan.Segments()
}

// each runs work on every unit, in parallel, each worker in its own goroutine.
func (x *execution) each(ctx context.Context, scan store.Scan) ([]*worker, error) {
	units := scan.Units()
	x.count(scan)
	rolled := rollupUnits(scan)
	n := max(1, min(runtime.GOMAXPROCS(0), len(units)+len(rolled)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := make([]*worker, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range workers {
		w := x.base
		if w == nil || i > 0 {
			w = newWorker(x.plan, scan, x)
		}
		workers[i] = w
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(units)+len(rolled) || ctx.Err() != nil {
					return
				}
				var err error
				if i < len(rolled) {
					err = w.rollupUnit(rolled[i])
				} else {
					err = w.unit(ctx, units[i-len(rolled)], nil)
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	return workers, nil
}

// grouped runs a select with groups or aggregates to its end.
func (x *execution) grouped(ctx context.Context, scan store.Scan) ([][]Value, error) {
	workers, err := x.each(ctx, scan)
	if err != nil {
		return nil, err
	}
	w := workers[0]
	for _, o := range workers[1:] {
		to := w.table.merge(o.table, func(n int) {
			for _, a := range w.accs {
				a.grow(n)
			}
		})
		for i, a := range w.accs {
			a.merge(o.accs[i], to)
		}
	}
	if err := w.charge(); err != nil {
		return nil, err
	}
	if len(x.plan.keys) == 0 && len(w.table.groups) == 0 {
		// Without keys there is one group, also of no rows.
		w.table.addSeries("", nil)
		w.table.groups = append(w.table.groups, groupKey{rest: -1, bucket: math.MinInt64})
		for _, a := range w.accs {
			a.grow(1)
		}
	}
	return x.groupOutput(ctx, w)
}

// groupOutput applies HAVING, computes the outputs and orders them.
func (x *execution) groupOutput(ctx context.Context, w *worker) ([][]Value, error) {
	p := x.plan
	s := newSorter(p)
	byKeys := len(p.order) == 0 && len(p.keys) > 0
	if byKeys {
		// SQLite gives groups in the order of their keys, so people rely on it.
		s.plan = &plan{}
		for range p.keys {
			s.plan.order = append(s.plan.order, orderKey{nullsFirst: true})
		}
	}
	seen := map[string]struct{}{}
	var key []byte
	slots := make([]Value, len(p.keys)+len(p.aggs))
	slot := func(e *expr) Value { return slots[e.index] }
	charged := 0
	for g := range w.table.groups {
		if g%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, contextError(ctx)
			}
			if err := x.grow(s.bytes - charged); err != nil {
				return nil, err
			}
			charged = s.bytes
		}
		for i := range p.keys {
			slots[i] = w.table.value(int32(g), i)
		}
		for i, a := range w.accs {
			v, err := a.result(int32(g))
			if err != nil {
				return nil, err
			}
			slots[len(p.keys)+i] = v
		}
		if p.having != nil {
			v, err := evalExpr(p.having, slot)
			if err != nil {
				return nil, err
			}
			if t, _ := v.truth(); !t {
				continue
			}
		}
		outs := make([]Value, len(p.outs))
		for i := range p.outs {
			v, err := evalExpr(p.outs[i].expr, slot)
			if err != nil {
				return nil, err
			}
			outs[i] = v
		}
		if p.distinct {
			key = key[:0]
			for _, v := range outs {
				key = appendKey(key, v)
			}
			if _, dup := seen[string(key)]; dup {
				continue
			}
			seen[string(key)] = struct{}{}
		}
		keys := slots[:len(p.keys)]
		if !byKeys {
			keys = make([]Value, len(p.order))
			for i, k := range p.order {
				v, err := evalExpr(k.expr, slot)
				if err != nil {
					return nil, err
				}
				keys[i] = v
			}
		}
		s.add(keys, outs)
	}
	return x.cutRows(s.sorted()), nil
}

// cutRows applies LIMIT and OFFSET to ordered rows.
func (x *execution) cutRows(rows []sortedRow) [][]Value {
	lo := min(x.plan.offset, int64(len(rows)))
	rows = rows[lo:]
	if l := x.plan.limit; l >= 0 && l < int64(len(rows)) {
		rows = rows[:l]
	}
	out := make([][]Value, len(rows))
	for i := range rows {
		out[i] = rows[i].outs
	}
	return out
}

// ordered runs a select with ORDER BY to its end.
func (x *execution) ordered(ctx context.Context, scan store.Scan) ([][]Value, error) {
	workers, err := x.each(ctx, scan)
	if err != nil {
		return nil, err
	}
	s := workers[0].sorter
	for _, w := range workers[1:] {
		s.merge(w.sorter)
	}
	return x.cutRows(s.sorted()), nil
}

func (p *plan) resultColumns() []Column {
	cols := make([]Column, len(p.outs))
	for i, o := range p.outs {
		cols[i] = Column{Name: o.name, Type: o.typ}
	}
	return cols
}
