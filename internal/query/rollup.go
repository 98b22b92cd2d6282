package query

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// rollupPlan says how rollups answer a select.
type rollupPlan struct {
	width int64 // what widths must divide; 0: any
	parts []rollup.Ref
	aggs  [][rollup.Quantiles + 1]int // for each aggregate the place of each part, or -1
}

// rollable returns how rollups can answer the select, or nil: it groups by tags
// and at most one bucket of time in UTC, filters by tags and time alone, and has
// aggregates that rollups hold.
func (p *plan) rollable() *rollupPlan {
	if !p.grouped || len(p.rowIf) > 0 || p.rel.kind != relTable {
		return nil
	}
	t := newGroupTable(p)
	if t.hasRest() {
		return nil
	}
	r := &rollupPlan{}
	if b := t.bucket; b != nil {
		switch {
		case b.zone != nil:
			return nil
		case b.w.months > 0:
			r.width = int64(24 * time.Hour) // months begin at midnight
		default:
			r.width = b.w.ns
		}
	}
	for _, a := range p.aggs {
		if !r.add(p, a) {
			return nil
		}
	}
	return r
}

// add notes the parts that an aggregate needs.
func (r *rollupPlan) add(p *plan, a aggSpec) bool {
	var at [rollup.Quantiles + 1]int
	for i := range at {
		at[i] = -1
	}
	need := func(field string, parts ...rollup.Part) {
		for _, part := range parts {
			ref := rollup.Ref{Part: part, Field: field}
			i := slices.Index(r.parts, ref)
			if i < 0 {
				i = len(r.parts)
				r.parts = append(r.parts, ref)
			}
			at[part] = i
		}
	}
	defer func() { r.aggs = append(r.aggs, at) }()
	if a.distinct {
		return false
	}
	if a.arg == nil {
		need("", rollup.Rows)
		return true
	}
	if a.arg.op != opColumn {
		return false
	}
	c := &p.rel.columns[a.arg.index]
	if c.source == fromTime {
		switch a.fn {
		case "count":
			need("", rollup.Rows)
		case "min":
			need("", rollup.Earliest)
		case "max":
			need("", rollup.Latest)
		default:
			return false
		}
		return true
	}
	parts := aggregateParts[a.fn]
	if c.source != fromField || parts == nil {
		return false
	}
	for _, part := range parts {
		if part != rollup.SumHi && !rollup.Has(c.field.Type, part) {
			return false
		}
		name := c.field.Name
		if part <= rollup.Latest {
			name = ""
		}
		need(name, part)
	}
	return true
}

// aggregateParts lists what aggregates of fields need; a field that has but one
// value in a bucket stands in First alone.
var aggregateParts = map[string][]rollup.Part{
	"count":    {rollup.Count},
	"sum":      {rollup.Count, rollup.First, rollup.Sum, rollup.SumHi},
	"avg":      {rollup.Count, rollup.First, rollup.Sum, rollup.SumHi},
	"total":    {rollup.Count, rollup.First, rollup.Sum, rollup.SumHi},
	"min":      {rollup.Count, rollup.First, rollup.Min},
	"max":      {rollup.Count, rollup.First, rollup.Max},
	"first":    {rollup.Earliest, rollup.Count, rollup.First, rollup.FirstAt},
	"last":     {rollup.Earliest, rollup.Latest, rollup.Count, rollup.First, rollup.FirstAt, rollup.Last, rollup.LastAt},
	"quantile": {rollup.Count, rollup.First, rollup.Min, rollup.Max, rollup.Quantiles},
}

// rollupStats counts what rollups of one width answered.
type rollupStats struct {
	units int
	rows  int64
}

// describeRollups tells what came from which rollup, the narrowest first.
func (x *execution) describeRollups() string {
	x.rollupMu.Lock()
	defer x.rollupMu.Unlock()
	m := x.rolledUp
	var widths []int64
	for w := range m {
		widths = append(widths, w)
	}
	slices.Sort(widths)
	var out []string
	for _, w := range widths {
		out = append(out, fmt.Sprintf("%s: %d rows of %d units", widthName(w), m[w].rows, m[w].units))
	}
	return strings.Join(out, ", ")
}

// widthName writes a width as schema documents do.
func widthName(ns int64) string {
	for _, u := range []struct {
		ns   int64
		name string
	}{{24 * int64(time.Hour), "d"}, {int64(time.Hour), "h"}, {int64(time.Minute), "m"}} {
		if ns%u.ns == 0 {
			return fmt.Sprint(ns/u.ns) + u.name
		}
	}
	return fmt.Sprint(ns/int64(time.Second)) + "s"
}

// rollupUnits returns the parts of a scan that rollups answer.
func rollupUnits(s store.Scan) []store.RollupUnit {
	if r, ok := s.(store.RollupScan); ok {
		return r.RollupUnits()
	}
	return nil
}

// rollupUnit adds the rows of a rollup to their groups.
func (w *worker) rollupUnit(u store.RollupUnit) error {
	r := w.run.rollups
	n, err := u.Read(&w.section, r.parts)
	if err != nil {
		return err
	}
	w.run.stats.bytes.Add(n)
	sec, from, to := &w.section, w.plan.from, w.plan.to
	rows := int64(0)
	cell := rollupCell{sec: sec}
	for i, start := range sec.Time {
		if start < from || start > math.MaxInt64-u.Width() || start+u.Width() > to || !w.isWanted(u, sec.Series[i]) {
			continue
		}
		rows++
		cell.row = i
		g, _ := w.table.resolve(w, sec.Series[i], start, -1)
		for j := range w.accs {
			cell.at = &r.aggs[j]
			if a := w.plan.aggs[j].arg; a != nil {
				cell.column = &w.plan.rel.columns[a.index]
			}
			if err := w.accs[j].(cellTaker).cell(g, &cell); err != nil {
				return err
			}
		}
		if w.err != nil {
			return w.err
		}
	}
	w.run.countRollup(u, rows)
	return w.charge()
}

// countRollup counts what a unit answered.
func (x *execution) countRollup(u store.RollupUnit, rows int64) {
	x.rollupMu.Lock()
	defer x.rollupMu.Unlock()
	if x.rolledUp == nil {
		x.rolledUp = map[int64]rollupStats{}
	}
	st := x.rolledUp[u.Width()]
	st.units++
	st.rows += rows
	x.rolledUp[u.Width()] = st
}

// cellTaker is an accumulator that takes rows of rollups.
type cellTaker interface {
	cell(group int32, c *rollupCell) error
}

// rollupCell is what a rollup row holds for one aggregate.
type rollupCell struct {
	sec    *telemetry.Section
	at     *[rollup.Quantiles + 1]int
	column *relationColumn
	row    int
}

func (c *rollupCell) part(p rollup.Part) *telemetry.Vector { return &c.sec.Columns[c.at[p]] }

// number returns a part that is an integer; null is 0.
func (c *rollupCell) number(p rollup.Part) int64 {
	v := c.part(p)
	if v.Nulls.Get(c.row) {
		return 0
	}
	return int64(v.Bits[c.row])
}

// value returns a part that is a value of the field, in the field's type as it
// is now.
func (c *rollupCell) value(p rollup.Part) vec {
	v := c.part(p)
	switch {
	case v.Type.Textual():
		return vec{kind: vecText, dict: []string{string(v.Text(c.row))}, bits: []uint64{0}}
	case v.Type == telemetry.Float:
		return vec{kind: vecFloat, bits: []uint64{v.Bits[c.row]}}
	case c.column.field.Type == telemetry.Float:
		return vec{kind: vecFloat, bits: []uint64{math.Float64bits(float64(int64(v.Bits[c.row])))}}
	}
	return vec{kind: vecInt, bits: []uint64{v.Bits[c.row]}}
}

func (a *countAcc) cell(g int32, c *rollupCell) error {
	if c.at[rollup.Rows] >= 0 {
		a.n[g] += c.number(rollup.Rows)
	} else {
		a.n[g] += c.number(rollup.Count)
	}
	return nil
}

func (a *sumAcc) cell(g int32, c *rollupCell) error {
	n := c.number(rollup.Count)
	s := &a.s[g]
	if n == 0 {
		return nil
	}
	if n == 1 {
		v := c.value(rollup.First)
		a.row(s, &v, 0)
		return nil
	}
	var o sumState
	if v := c.part(rollup.Sum); v.Type == telemetry.Float {
		o.addFloat(v.Float(c.row))
	} else {
		o.lo, o.hi = v.Bits[c.row], c.number(rollup.SumHi)
		if c.column.field.Type == telemetry.Float {
			f := o.float()
			o = sumState{}
			o.addFloat(f)
		}
	}
	if o.n = n; o.reals > 0 {
		o.reals = n
	}
	s.add(&o)
	return nil
}

func (a *extremeAcc) cell(g int32, c *rollupCell) error {
	if c.column.source == fromTime {
		p := rollup.Earliest
		if a.max {
			p = rollup.Latest
		}
		a.offer(g, vecTime, uint64(c.sec.Time[c.row]+c.number(p)))
		return nil
	}
	p := rollup.Min
	if a.max {
		p = rollup.Max
	}
	switch c.number(rollup.Count) {
	case 0:
		return nil
	case 1:
		p = rollup.First
	}
	v := c.value(p)
	a.row(&a.h[g], &v, 0)
	return nil
}

func (a *edgeAcc) cell(g int32, c *rollupCell) error {
	n := c.number(rollup.Count)
	if n == 0 {
		return nil
	}
	t, p := c.sec.Time[c.row]+c.number(rollup.Earliest)+c.number(rollup.FirstAt), rollup.First
	if a.last && n > 1 {
		t, p = c.sec.Time[c.row]+c.number(rollup.Latest)-c.number(rollup.LastAt), rollup.Last
	}
	v := c.value(p)
	a.row(g, t, &v, 0)
	return nil
}

func (a *quantileAcc) cell(g int32, c *rollupCell) error {
	n := c.number(rollup.Count)
	if n == 0 {
		return nil
	}
	s := a.sketch(g)
	before := s.SizeBytes()
	var err error
	if n == 1 {
		v := c.value(rollup.First)
		addQuantile(s, &v, 0)
	} else {
		lo, hi := c.value(rollup.Min), c.value(rollup.Max)
		err = s.MergeEncoded(c.part(rollup.Quantiles).Text(c.row), lo.number(0), hi.number(0))
	}
	a.bytes += s.SizeBytes() - before
	return err
}
