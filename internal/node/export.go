package node

import (
	"context"
	"io"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

var (
	_ control.Exporter = (*Node)(nil)
	_ control.Exporter = (*Reader)(nil)
)

// Tables implements control.Exporter.
func (r *Reader) Tables(ctx context.Context) ([]transfer.Definition, error) {
	return definitions(ctx, r.store)
}

// ExportPlan implements control.Exporter.
func (n *Node) ExportPlan(ctx context.Context, s control.ExportScope) (*control.ExportPlan, error) {
	x := exporter{n.store, n.queries.engine}
	return x.plan(ctx, s)
}

// ExportPlan implements control.Exporter.
func (r *Reader) ExportPlan(ctx context.Context, s control.ExportScope) (*control.ExportPlan, error) {
	x := exporter{r.store, r.queries.engine}
	return x.plan(ctx, s)
}

// Export implements control.Exporter.
func (n *Node) Export(ctx context.Context, p control.ExportPart, w io.Writer) (int64, error) {
	x := exporter{n.store, n.queries.engine}
	return x.part(ctx, p, w)
}

// Export implements control.Exporter.
func (r *Reader) Export(ctx context.Context, p control.ExportPart, w io.Writer) (int64, error) {
	x := exporter{r.store, r.queries.engine}
	return x.part(ctx, p, w)
}

// exporter gives the rows of a table in parts.
type exporter struct {
	store  store.Store
	engine *query.Engine
}

// exportPart is the stretch of time that a part has.
const exportPart = int64(24 * time.Hour)

// scope returns what the scan of a scope reads, and what picks its rows.
func (x *exporter) scope(ctx context.Context, s control.ExportScope) (store.ScanRequest, *query.Condition, error) {
	r := store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: s.Table, From: s.From, To: s.To}
	if s.Where == "" {
		return r, nil, nil
	}
	c, err := x.engine.Condition(ctx, telemetry.DefaultTenant, s.Table, s.Where, "export")
	if err != nil {
		return r, nil, err
	}
	r = c.Request(telemetry.DefaultTenant)
	r.From, r.To = max(r.From, s.From), min(r.To, s.To)
	return r, c, nil
}

// plan finds the days on which there are rows.
func (x *exporter) plan(ctx context.Context, s control.ExportScope) (*control.ExportPlan, error) {
	r, _, err := x.scope(ctx, s)
	if err != nil {
		return nil, err
	}
	scan, err := x.store.Scan(ctx, r)
	if err != nil {
		return nil, err
	}
	defer scan.Close()
	days := map[int64]int64{} // rows by day
	var sec telemetry.Section
	for _, u := range scan.Units() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		first, last := dayOf(max(u.MinTime(), r.From)), dayOf(min(u.MaxTime(), r.To-1))
		if last-first <= 1 {
			for d := first; d <= last; d++ {
				days[d] += int64(u.Rows()) / (last - first + 1)
			}
			continue
		}
		// Few rows of many days stand together.
		if _, err := u.Read(&sec, nil, false); err != nil {
			return nil, err
		}
		for _, t := range sec.Time {
			if t >= r.From && t < r.To {
				days[dayOf(t)]++
			}
		}
	}
	plan := &control.ExportPlan{Tags: append([]string{}, scan.TagNames()...), Columns: transfer.FromColumns(scan.Columns()), Parts: []control.ExportRange{}}
	for d, rows := range days {
		plan.Parts = append(plan.Parts, control.ExportRange{From: max(dayStart(d), r.From), To: min(dayStart(d+1), r.To), Rows: rows})
	}
	sort.Slice(plan.Parts, func(i, j int) bool { return plan.Parts[i].From < plan.Parts[j].From })
	return plan, nil
}

// dayOf numbers the days from 1970 on.
func dayOf(t int64) int64 {
	d := t / exportPart
	if t%exportPart < 0 {
		d--
	}
	return d
}

// dayStart is when a day begins, as far as times go.
func dayStart(d int64) int64 {
	switch {
	case d > math.MaxInt64/exportPart:
		return math.MaxInt64
	case d < math.MinInt64/exportPart:
		return math.MinInt64
	}
	return d * exportPart
}

// part writes the rows of one part.
func (x *exporter) part(ctx context.Context, p control.ExportPart, w io.Writer) (int64, error) {
	if err := control.CheckExportFormat(p.Format); err != nil {
		return 0, err
	}
	columns, err := transfer.ToColumns(p.Columns)
	if err != nil {
		return 0, telemetry.Errorf(telemetry.CodeInvalid, "export", "%v", err)
	}
	r, condition, err := x.scope(ctx, p.ExportScope)
	if err != nil {
		return 0, err
	}
	enc, err := transfer.NewEncoder(p.Format, w, transfer.Header{Table: p.Table, Tags: p.Tags, Columns: columns, First: p.First})
	if err != nil {
		return 0, err
	}
	rows := int64(0)
	s := transfer.Stretch{Request: r, Columns: columns, Tags: slices.Clone(p.Tags)}
	if condition != nil {
		s.Picker = condition.Picker
	}
	if r.From < r.To {
		err = transfer.Ordered(ctx, x.store, s, func(b *transfer.Rows) error {
			rows += int64(len(b.Order))
			return enc.Write(b)
		})
	}
	if err == nil {
		err = enc.Close()
	}
	return rows, err
}
