package pipeline

import (
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// schemas is a schema set with what the pipeline derives from it. It is immutable.
type schemas struct {
	set    *schema.Set
	plans  []*plan
	byPlan map[*schema.Plan]*plan
	ages   bool // some table has a retention
}

// plan is what the pipeline asks of a schema plan for every message.
type plan struct {
	*schema.Plan
	index    int // in schemas.plans
	table    *telemetry.Table
	numeric  []int // the columns of bits
	textual  []int // and of text
	rowBytes int   // memory of a row without its text
	tags     int   // payload tags

	// ledger: the store cannot tell a redelivery by content.
	ledger      bool
	drop        bool // on_invalid: drop
	retained    schema.RetainedPolicy
	expectEvery time.Duration
	retention   time.Duration // of the table, 0 for ever
}

func newSchemas(set *schema.Set) *schemas {
	s := &schemas{set: set, byPlan: map[*schema.Plan]*plan{}}
	for i, sp := range set.Plans() {
		t := sp.Table()
		p := &plan{
			Plan: sp, index: i, table: t,
			rowBytes:    20 + len(t.Columns)/8 + 1,
			tags:        sp.PayloadTags(),
			ledger:      !t.TimeInPayload || t.Identity == telemetry.IdentityNone,
			drop:        sp.OnInvalidDrop(),
			retained:    sp.Retained(),
			expectEvery: sp.ExpectEvery(),
		}
		for c := range t.Columns {
			if t.Columns[c].Type.Textual() {
				p.textual = append(p.textual, c)
				p.rowBytes += 4
			} else {
				p.numeric = append(p.numeric, c)
				p.rowBytes += 8
			}
		}
		s.plans = append(s.plans, p)
		s.byPlan[sp] = p
	}
	s.setRetention()
	return s
}

// setRetention gives the plans of a table the retention that its newest version
// asks for: it is the table's.
func (s *schemas) setRetention() {
	newest := map[string]*plan{}
	for _, p := range s.plans {
		if o := newest[p.table.Name]; o == nil || o.Version() < p.Version() {
			newest[p.table.Name] = p
		}
	}
	for _, p := range s.plans {
		p.retention = newest[p.table.Name].Retention()
		s.ages = s.ages || p.retention > 0
	}
}

// tooLate returns the time of a reading that is older than the retention, at a time
// from which ages count; 0 is no such time. A reading without a time of its own is
// as old as its message.
func (p *plan) tooLate(rows []schema.Row, now int64) (at int64, late bool) {
	if p.retention == 0 || now == 0 {
		return 0, false
	}
	cut := now - int64(p.retention)
	for i := range rows {
		if rows[i].HasTime && rows[i].Time < cut {
			return rows[i].Time, true
		}
	}
	return 0, false
}

// lateRejection says how late a reading is.
func (p *plan) lateRejection(at, now int64) rejection {
	return rejection{
		reason: telemetry.ReasonTooLate, offset: -1,
		detail: fmt.Sprintf("the reading of %s is older than the retention of %s, by %s",
			stamp(at), telemetry.Span(p.retention), telemetry.Span(time.Duration(now-int64(p.retention)-at).Round(time.Second))),
	}
}

// route is a schema route with what the pipeline asks of it.
type route struct {
	*schema.Route
	plans []*plan // parallel to Route.Plans
	// direct: a topic has one series, whichever plan takes the payload.
	direct bool
	// never: retained values are of no use to any plan.
	never bool
}

// newRoute describes a route of the set.
func (s *schemas) newRoute(r *schema.Route) *route {
	out := &route{Route: r, direct: true, never: true}
	for _, sp := range r.Plans {
		p := s.byPlan[sp]
		out.plans = append(out.plans, p)
		out.never = out.never && p.retained == schema.RetainedNever
		out.direct = out.direct && p.tags == 0 && shareSeries(p.table, out.plans[0].table)
	}
	return out
}

// shareSeries reports whether two versions number their series together.
func shareSeries(a, b *telemetry.Table) bool {
	if a.Name != b.Name || len(a.Tags) != len(b.Tags) {
		return false
	}
	for i := range a.Tags {
		if a.Tags[i] != b.Tags[i] {
			return false
		}
	}
	return true
}

// plan returns what the pipeline knows of a plan of the route.
func (r *route) plan(sp *schema.Plan) *plan {
	for _, p := range r.plans {
		if p.Plan == sp {
			return p
		}
	}
	return nil
}
