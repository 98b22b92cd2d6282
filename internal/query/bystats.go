package query

import (
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// spans picks the runs that must be decoded; done reports that none must. What
// statistics can answer is added to the groups at once.
func (w *worker) spans(u store.Unit, runs []store.Run) (spans []span, done bool) {
	p := w.plan
	byStats := w.run.statable && w.loadStats(u)
	if len(p.ranges) > 0 {
		w.loadRanges(u)
	}
	some := false
	for i := range runs {
		r := &runs[i]
		if r.Rows == 0 || r.MaxTime < p.from || r.MinTime >= p.to || !w.isWanted(u, r.Series) {
			continue
		}
		met := allRows
		if len(p.rowIf) > 0 {
			if met = w.decide(r, i); met == noRows {
				continue
			}
		}
		some = true
		if byStats && met == allRows && r.MinTime >= p.from && r.MaxTime < p.to && w.addStats(r, i) {
			w.run.stats.byStats.Add(int64(r.Rows))
			continue
		}
		spans = append(spans, span{r.Start, r.Start + r.Rows})
	}
	switch {
	case len(spans) > 0:
		return spans, false
	case some:
		w.run.stats.answered.Add(1)
	default:
		w.run.stats.skipped.Add(1)
	}
	return nil, true
}

// loadStats fetches the statistics that the aggregates need.
func (w *worker) loadStats(u store.Unit) bool {
	for i, a := range w.plan.aggs {
		w.stats[i] = nil
		if a.arg == nil {
			continue
		}
		c := &w.plan.rel.columns[a.arg.index]
		if c.source != fromField {
			continue
		}
		if w.stats[i] = u.RunStats(c.field.Name); w.stats[i] == nil {
			return false
		}
	}
	return true
}

// addStats adds a whole run to its group by its statistics, or reports that
// they do not suffice.
func (w *worker) addStats(r *store.Run, i int) bool {
	return w.addWhole(r.Series, int64(r.Rows), r.MinTime, r.MaxTime, func(agg int) *store.ColumnStats {
		return &w.stats[agg][i]
	})
}

// addSegment is addStats of a whole segment, for plans whose groups do not depend
// on the series.
func (w *worker) addSegment(s store.Segment) bool {
	all := make([]store.ColumnStats, len(w.plan.aggs))
	for i, a := range w.plan.aggs {
		if a.arg == nil {
			continue
		}
		if c := &w.plan.rel.columns[a.arg.index]; c.source == fromField {
			var ok bool
			if all[i], ok = s.Stats(c.field.Name); !ok {
				return false
			}
		}
	}
	if !w.addWhole(0, s.Rows, s.MinTime, s.MaxTime, func(agg int) *store.ColumnStats { return &all[agg] }) {
		return false
	}
	w.run.units += s.Units
	w.run.stats.answered.Add(int64(s.Units))
	w.run.stats.byStats.Add(s.Rows)
	return true
}

// addWhole adds rows that lie from..to to their group by their statistics, or
// reports that these do not suffice.
func (w *worker) addWhole(ref telemetry.SeriesRef, rows, from, to int64, stats func(agg int) *store.ColumnStats) bool {
	if lo, hi := w.table.bounds(from); to >= hi || from < lo {
		return false
	}
	for j, a := range w.plan.aggs {
		if a.arg == nil {
			continue
		}
		c := &w.plan.rel.columns[a.arg.index]
		if c.source == fromField && c.field.Type == telemetry.Int && !exactStats(stats(j)) {
			return false
		}
	}
	g, _ := w.table.resolve(w, ref, from, -1)
	for j, a := range w.plan.aggs {
		var c *relationColumn
		var st *store.ColumnStats
		if a.arg != nil {
			c = &w.plan.rel.columns[a.arg.index]
			if c.source == fromField {
				st = stats(j)
			}
		}
		switch acc := w.accs[j].(type) {
		case *countAcc:
			if st == nil {
				acc.n[g] += rows
			} else {
				acc.n[g] += int64(st.Count)
			}
		case *sumAcc:
			acc.stats(g, st, c.field.Type)
		case *extremeAcc:
			statExtreme(acc, g, from, to, st, c)
		}
	}
	return true
}

func statExtreme(acc *extremeAcc, g int32, from, to int64, st *store.ColumnStats, c *relationColumn) {
	if st == nil {
		t := from
		if acc.max {
			t = to
		}
		acc.offer(g, vecTime, uint64(t))
		return
	}
	if st.Count == 0 {
		return
	}
	f := st.Min
	if acc.max {
		f = st.Max
	}
	if c.field.Type == telemetry.Int {
		acc.offer(g, vecInt, uint64(int64(f)))
		return
	}
	acc.offer(g, vecFloat, FloatValue(f).bits)
}

// exactStats reports that float64 lost nothing of integers.
func exactStats(s *store.ColumnStats) bool {
	const exact = 1 << 53
	m := max(s.Max, -s.Min, 1)
	return m*float64(s.Count) < exact
}
