package pipeline

import (
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// schemas is a schema set with what the pipeline derives from it. It is immutable.
type schemas struct {
	set    *schema.Set
	plans  []*plan
	byPlan map[*schema.Plan]*plan
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
	return s
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
