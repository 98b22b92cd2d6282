package query

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// deleter is a store that can delete rows.
type deleter interface {
	Delete(ctx context.Context, r store.DeleteRequest) (store.Deleted, error)
}

// Delete deletes the rows of a table for which the condition, as SQL has it after
// WHERE, is true. All go, or none.
func (e *Engine) Delete(ctx context.Context, tenant telemetry.Tenant, table, where string) (store.Deleted, error) {
	st, ok := e.store.(deleter)
	if !ok {
		return store.Deleted{}, telemetry.Errorf(telemetry.CodeInvalid, "delete", "this store does not delete single readings")
	}
	p, err := e.conditionPlan(ctx, tenant, table, where, "delete")
	if err != nil {
		return store.Deleted{}, err
	}
	x := newExecution(p, e.opts.MemoryLimit)
	var w *worker
	return st.Delete(ctx, store.DeleteRequest{
		ScanRequest: x.request(tenant),
		Select: func(ctx context.Context, scan store.Scan, u store.Unit, yield func([]int32) error) error {
			if w == nil {
				w = newWorker(p, scan, x)
			}
			return w.unit(ctx, u, func(c *chunk, sel []int32) error {
				rows := slices.Clone(sel)
				for i := range rows {
					rows[i] += int32(c.lo)
				}
				return yield(rows)
			})
		},
	})
}

// finalRollups is a store that keeps rollups of readings that are gone.
type finalRollups interface {
	FinalRollups(tenant telemetry.Tenant, table string, from, to int64) (store.TimeSpan, bool)
}

// BeyondDelete returns the span of time, within that of the condition, of which a
// table has rollups alone: Delete cannot take readings out of those.
func (e *Engine) BeyondDelete(ctx context.Context, tenant telemetry.Tenant, table, where string) (store.TimeSpan, bool, error) {
	st, ok := e.store.(finalRollups)
	if !ok {
		return store.TimeSpan{}, false, nil
	}
	p, err := e.conditionPlan(ctx, tenant, table, where, "delete")
	if err != nil {
		return store.TimeSpan{}, false, err
	}
	r := newExecution(p, e.opts.MemoryLimit).request(tenant)
	span, found := st.FinalRollups(tenant, r.Table, r.From, r.To)
	return span, found, nil
}

// CountWhere counts the rows that Delete would delete.
func (e *Engine) CountWhere(ctx context.Context, tenant telemetry.Tenant, table, where string) (int64, error) {
	if _, err := e.conditionPlan(ctx, tenant, table, where, "delete"); err != nil {
		return 0, err
	}
	rows, err := e.Query(ctx, tenant, "SELECT count(*) FROM "+quoteName(table)+" WHERE ("+where+"\n)")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var n int64
	all, err := rows.All()
	if err == nil {
		n = all[0][0].Int()
	}
	return n, err
}

// conditionPlan makes the plan of a condition. Only what the executor runs by itself
// is taken: what a statement in SQLite would select cannot be traced to rows.
func (e *Engine) conditionPlan(ctx context.Context, tenant telemetry.Tenant, table, where, op string) (*plan, error) {
	const hint = "give a condition on the table's columns, as: time < '2026-01-01' AND device = 'd7'"
	if strings.TrimSpace(where) == "" {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "there is no condition").WithHint(hint)
	}
	sql := "SELECT time FROM " + quoteName(table) + " WHERE (" + where + "\n)"
	toks, err := lex(sql)
	if err != nil {
		return nil, err
	}
	if _, err := classify(sql, toks); err != nil {
		return nil, err
	}
	if err := checkTimes(sql, toks); err != nil {
		return nil, err
	}
	cat, err := loadCatalog(ctx, e.store, tenant)
	if err != nil {
		return nil, err
	}
	if cat.base(table) == "" {
		if slices.ContainsFunc(cat.names(), func(name string) bool { return equalFold(name, table) }) {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "%s is a view", table).WithHint("name a table: " + strings.Join(cat.tables, ", "))
		}
		return nil, cat.unknownTable(table)
	}
	q := &queryRun{engine: e, ctx: ctx, cat: cat, now: e.opts.Now().UnixNano(), sql: sql, toks: toks}
	p, err := q.plan()
	var why *unsupported
	switch {
	case errors.As(err, &why):
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "the condition cannot be used to %s: %s", op, why.why).WithHint(hint)
	case err != nil:
		return nil, err
	case p.grouped || p.distinct || len(p.order) > 0 || p.limit >= 0 || p.offset != 0 || p.rel.kind != relTable:
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "that is more than a condition").WithHint(hint)
	}
	return p, nil
}
