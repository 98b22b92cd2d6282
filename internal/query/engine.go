package query

import (
	"context"
	"errors"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Options configure an Engine. The zero value has the defaults.
type Options struct {
	// MemoryLimit bounds, in bytes, what one statement may hold in group tables,
	// sorts and temporary tables. 0: 64 MB.
	MemoryLimit int64
	// Now is the clock of now() and ago(). nil: the system's.
	Now func() time.Time
	// SQLiteOnly sends every statement to SQLite: tests compare the paths.
	SQLiteOnly bool
	// RawOnly answers from readings alone, not from rollups: tests compare.
	RawOnly bool
}

// Engine runs statements over a store. It is safe for concurrent use.
type Engine struct {
	store store.Store
	opts  Options
}

// New returns an engine over the store, which stays the caller's.
func New(st store.Store, opts Options) *Engine {
	if opts.MemoryLimit <= 0 {
		opts.MemoryLimit = 64 << 20
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Engine{store: st, opts: opts}
}

// Query runs one SELECT, WITH, VALUES or EXPLAIN statement. The rows must be
// closed; ending ctx ends the statement.
func (e *Engine) Query(ctx context.Context, tenant telemetry.Tenant, sql string) (*Rows, error) {
	toks, err := lex(sql)
	if err != nil {
		return nil, err
	}
	st, err := classify(sql, toks)
	if err == nil {
		err = checkTimes(sql, st.toks)
	}
	if err != nil {
		return nil, err
	}
	cat, err := loadCatalog(ctx, e.store, tenant)
	if err != nil {
		return nil, err
	}
	q := &queryRun{engine: e, ctx: ctx, cat: cat, now: e.opts.Now().UnixNano(), sql: st.sql, toks: st.toks}
	if st.explain {
		return q.explain()
	}
	return q.run()
}

// queryRun is one statement on its way.
type queryRun struct {
	engine *Engine
	ctx    context.Context
	cat    *catalog
	now    int64
	sql    string
	toks   []token
}

func (q *queryRun) run() (*Rows, error) {
	p, err := q.plan()
	var why *unsupported
	switch {
	case errors.As(err, &why):
		return q.runSQLite(why.why)
	case err != nil:
		return nil, err
	}
	return q.runPlan(p)
}

// plan makes a plan for the executor, or returns unsupported.
func (q *queryRun) plan() (*plan, error) {
	if q.engine.opts.SQLiteOnly {
		return nil, &unsupported{"the engine was told so"}
	}
	sel, why := parseSelect(q.sql, q.toks)
	if why != nil {
		return nil, why
	}
	rel, err := q.cat.relation(q.ctx, sel.table)
	if err != nil {
		return nil, err
	}
	if rel.kind == relUnion || rel.kind == relSystem {
		return nil, &unsupported{"the view " + rel.name}
	}
	return newPlan(sel, q.sql, rel, q.now)
}

func (q *queryRun) runPlan(p *plan) (*Rows, error) {
	x := newExecution(p, q.engine.opts.MemoryLimit)
	x.rawOnly = q.engine.opts.RawOnly
	scan, err := x.openScan(q.ctx, q.cat.store, q.cat.tenant)
	if err != nil {
		return nil, err
	}
	if !p.grouped && len(p.order) == 0 {
		return x.stream(q.ctx, scan), nil
	}
	defer scan.Close()
	var rows [][]Value
	if p.grouped {
		rows, err = x.grouped(q.ctx, scan)
		if errors.Is(err, errOverlap) {
			p.rawRates = true
			y := newExecution(p, q.engine.opts.MemoryLimit)
			y.started = x.started
			x = y
			rows, err = x.grouped(q.ctx, scan)
		}
	} else if p.timeOrder() != nil {
		return x.timed(q.ctx, scan)
	} else {
		rows, err = x.ordered(q.ctx, scan)
	}
	if err != nil {
		return nil, err
	}
	return resultRows(p.resultColumns(), rows, x.snapshot), nil
}
