package query

import (
	"context"
	"slices"
	"sort"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// worker decodes units and computes on them. Each runs in one goroutine and
// shares nothing but the scan and the execution's counters.
type worker struct {
	plan    *plan
	scan    store.Scan
	run     *execution
	columns []string // fields to read
	texts   map[columnKey]*seriesText
	section telemetry.Section
	wanted  bySeries[uint8] // 0 unknown, 1 no, 2 yes
	filter  []node
	units   int
	charged int
	// rangeStats are those that conditions on values are decided by.
	rangeStats [][]store.ColumnStats
	reading    store.Unit                     // by a cursor
	match      func(telemetry.SeriesRef) bool // of a cursor

	// Grouped selects.
	table    *groupTable
	accs     []accumulator
	args     []node // parallel to accs; nil for count(*)
	rest     []node
	argVecs  []*vec
	restVecs []*vec
	stats    [][]store.ColumnStats
	pickers  bool // all accumulators are

	// Other selects.
	outs   []node
	order  []node
	sorter *sorter
	timed  *timeSorter // instead of sorter, where one time orders the rows

	sel    []int32
	groups []int32
	err    error
}

type columnKey struct {
	source columnSource
	index  int
}

// span is consecutive rows of a unit that are of one series, ascending in time.
type span struct{ lo, hi int }

func newWorker(p *plan, scan store.Scan, run *execution) *worker {
	w := &worker{plan: p, scan: scan, run: run, texts: map[columnKey]*seriesText{}}
	w.columns = run.columns
	for _, e := range p.rowIf {
		w.filter = append(w.filter, w.compile(e))
	}
	if p.grouped {
		w.table = newGroupTable(p)
		for i, k := range p.keys {
			if w.table.parts[i] == partRest {
				w.rest = append(w.rest, w.compile(k))
			}
		}
		for _, a := range p.aggs {
			w.accs = append(w.accs, newAccumulator(a, p.rawRates))
			var arg node
			if a.arg != nil {
				arg = w.compile(a.arg)
			}
			w.args = append(w.args, arg)
		}
		w.pickers = len(w.rest) == 0 && !slices.ContainsFunc(w.accs, func(a accumulator) bool { _, ok := a.(picker); return !ok })
		w.argVecs, w.restVecs = make([]*vec, len(w.args)), make([]*vec, len(w.rest))
		w.stats = make([][]store.ColumnStats, len(w.args))
		return w
	}
	for _, o := range p.outs {
		w.outs = append(w.outs, w.compile(o.expr))
	}
	if e := p.timeOrder(); e != nil {
		w.timed = newTimeSorter(p, w.compile(e))
		return w
	}
	for _, k := range p.order {
		var n node
		if k.out < 0 {
			n = w.compile(k.expr)
		}
		w.order = append(w.order, n)
	}
	if len(p.order) > 0 {
		w.sorter = newSorter(p)
	}
	return w
}

// fail records an error that ends the worker at the next check.
func (w *worker) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *worker) seriesText(c *relationColumn) *seriesText {
	k := columnKey{c.source, c.index}
	s := w.texts[k]
	if s == nil {
		s = &seriesText{seen: map[string]uint32{}, get: func(i store.SeriesInfo) store.Tag { return tagOf(c, i) }}
		w.texts[k] = s
	}
	return s
}

// tagOf returns the value of a tag or topic column.
func tagOf(c *relationColumn, info store.SeriesInfo) store.Tag {
	if c.source == fromTopic {
		return store.Tag{Value: info.Topic}
	}
	if c.index >= len(info.Tags) {
		return store.Tag{Null: true}
	}
	return info.Tags[c.index]
}

func (w *worker) seriesValue(e *expr, ref telemetry.SeriesRef) Value {
	t := tagOf(&w.plan.rel.columns[e.index], w.scan.Series(ref))
	if t.Null {
		return Value{}
	}
	return TextValue(t.Value)
}

// wanter knows which series the scan is for.
type wanter interface {
	Wanted(ref telemetry.SeriesRef) bool
}

func (w *worker) isWanted(u wanter, ref telemetry.SeriesRef) bool {
	known := w.wanted.at(ref)
	if *known == 0 {
		*known = 1
		if u.Wanted(ref) && (w.match == nil || w.match(ref)) {
			*known = 2
		}
	}
	return *known == 2
}

// unit computes on one unit. emit takes the chunks of selects that are neither
// grouped nor ordered.
func (w *worker) unit(ctx context.Context, u store.Unit, emit func(*chunk, []int32) error) error {
	p := w.plan
	if u.Rows() == 0 || u.MaxTime() < p.from || u.MinTime() >= p.to {
		w.run.stats.skipped.Add(1)
		return nil
	}
	runs := u.Runs()
	var spans []span
	if runs != nil {
		var done bool
		if spans, done = w.spans(u, runs); done {
			return w.charge()
		}
	}
	n, err := u.Read(&w.section, w.columns, w.run.received)
	if err != nil {
		return err
	}
	w.units++
	if _, lent := u.(*latestUnit); !lent {
		w.run.stats.decoded.Add(1)
	}
	w.run.stats.bytes.Add(n)
	sorted := runs != nil
	if sorted {
		w.narrow(spans)
	}
	c := &chunk{section: &w.section, version: int64(u.Table().Version), unit: w.units, worker: w}
	rows := w.section.Rows()
	for c.lo = 0; c.lo < rows; c.lo += chunkRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.n = min(chunkRows, rows-c.lo)
		if err := w.chunk(u, c, spans, sorted, emit); err != nil {
			return err
		}
		if w.err != nil {
			return w.err
		}
	}
	return w.charge()
}

// charge tells the execution how much memory the worker's state holds.
func (w *worker) charge() error {
	n := 0
	if w.table != nil {
		n += w.table.bytes
	}
	for _, a := range w.accs {
		n += a.size()
	}
	if w.sorter != nil {
		n += w.sorter.bytes
	}
	if w.timed != nil {
		n += w.timed.bytes
	}
	d := n - w.charged
	w.charged = n
	if w.err != nil {
		return w.err
	}
	return w.run.grow(d)
}

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

// narrow cuts spans to the time range of the plan.
func (w *worker) narrow(spans []span) {
	times := w.section.Time
	for i := range spans {
		s := &spans[i]
		if times[s.lo] < w.plan.from {
			s.lo += sort.Search(s.hi-s.lo, func(k int) bool { return times[s.lo+k] >= w.plan.from })
		}
		if s.hi > s.lo && times[s.hi-1] >= w.plan.to {
			s.hi = s.lo + sort.Search(s.hi-s.lo, func(k int) bool { return times[s.lo+k] >= w.plan.to })
		}
	}
}

// chunk computes on one chunk: by spans where whole stretches go to one group,
// by selected rows elsewhere.
func (w *worker) chunk(u store.Unit, c *chunk, spans []span, sorted bool, emit func(*chunk, []int32) error) error {
	if sorted {
		// spans ascend: find those that touch the chunk.
		at := sort.Search(len(spans), func(i int) bool { return spans[i].hi > c.lo })
		spans = spans[at:]
		end := sort.Search(len(spans), func(i int) bool { return spans[i].lo >= c.lo+c.n })
		if spans = spans[:end]; len(spans) == 0 {
			return nil
		}
		// Nothing is computed for the rows before and behind; null bits stay aligned.
		part := *c
		part.lo = max(c.lo, spans[0].lo&^63)
		part.n = min(c.lo+c.n, spans[len(spans)-1].hi) - part.lo
		c = &part
	}
	if w.plan.grouped && sorted && len(w.filter) == 0 && len(w.rest) == 0 {
		return w.groupSpans(c, spans)
	}
	w.sel = w.sel[:0]
	filter, picked := w.filter, false
	if sorted && len(filter) > 0 {
		var err error
		if picked, err = w.pick(c, spans); err != nil {
			return err
		}
	}
	if picked {
		filter = filter[1:]
	} else if sorted {
		for _, s := range spans {
			for i := max(s.lo, c.lo) - c.lo; i < min(s.hi, c.lo+c.n)-c.lo; i++ {
				w.sel = append(w.sel, int32(i))
			}
		}
	} else {
		series := c.series()
		for i, t := range c.times() {
			if t >= w.plan.from && t < w.plan.to && w.isWanted(u, series[i]) {
				w.sel = append(w.sel, int32(i))
			}
		}
	}
	for _, f := range filter {
		if len(w.sel) == 0 {
			return nil
		}
		v, err := f.eval(c)
		if err != nil {
			return err
		}
		w.sel = keepTrue(w.sel, v)
	}
	w.run.stats.rows.Add(int64(len(w.sel)))
	switch {
	case len(w.sel) == 0:
		return nil
	case w.plan.grouped && sorted && w.pickers:
		return w.groupPicked(c, spans)
	case w.plan.grouped:
		return w.groupRows(c)
	case w.timed != nil:
		return w.timedRows(c)
	case w.sorter != nil:
		return w.sortRows(c)
	}
	return emit(c, w.sel)
}

// pick selects the rows of spans that meet the first condition, where it can.
func (w *worker) pick(c *chunk, spans []span) (bool, error) {
	f, ok := w.filter[0].(ranger)
	if !ok {
		return false, nil
	}
	pick, err := f.ranges(c)
	if pick == nil || err != nil {
		return false, err
	}
	for _, s := range spans {
		if lo, hi := max(s.lo, c.lo)-c.lo, min(s.hi, c.lo+c.n)-c.lo; lo < hi {
			w.sel = pick(w.sel, lo, hi)
		}
	}
	return true, nil
}

// groupPicked adds selected rows of spans to their groups, a stretch at a time.
func (w *worker) groupPicked(c *chunk, spans []span) error {
	if err := w.evalArgs(c); err != nil {
		return err
	}
	times, series, sel := c.times(), c.series(), w.sel
	for len(sel) > 0 {
		for spans[0].hi-c.lo <= int(sel[0]) {
			spans = spans[1:]
		}
		// The rows of the span come first, and of these those of one bucket.
		n := sort.Search(len(sel), func(i int) bool { return int(sel[i]) >= spans[0].hi-c.lo })
		first := sel[0]
		g, until := w.table.resolve(w, series[first], times[first], -1)
		if times[sel[n-1]] >= until {
			n = max(1, sort.Search(n, func(i int) bool { return times[sel[i]] >= until }))
		}
		for i, a := range w.accs {
			a.(picker).picked(c, w.argVecs[i], sel[:n], g)
		}
		sel = sel[n:]
	}
	return nil
}

// keepTrue keeps the rows whose condition is true.
func keepTrue(sel []int32, v *vec) []int32 {
	out := sel[:0]
	if v.kind == vecInt && !v.con && len(v.nulls) == 0 {
		for _, r := range sel {
			if v.bits[r] != 0 {
				out = append(out, r)
			}
		}
		return out
	}
	for _, r := range sel {
		if t, _ := rowTruth(v, int(r)); t {
			out = append(out, r)
		}
	}
	return out
}

func (w *worker) evalArgs(c *chunk) error {
	for i, a := range w.args {
		if a == nil {
			continue
		}
		v, err := a.eval(c)
		if err != nil {
			return err
		}
		w.argVecs[i] = v
	}
	return nil
}

// groupSpans adds stretches of rows to their groups.
func (w *worker) groupSpans(c *chunk, spans []span) error {
	if err := w.evalArgs(c); err != nil {
		return err
	}
	times, series := c.times(), c.series()
	rows := int64(0)
	for _, s := range spans {
		lo, hi := max(s.lo, c.lo)-c.lo, min(s.hi, c.lo+c.n)-c.lo
		rows += int64(max(hi-lo, 0))
		for lo < hi {
			g, until := w.table.resolve(w, series[lo], times[lo], -1)
			end := hi
			if times[hi-1] >= until {
				end, _ = slices.BinarySearch(times[lo:hi], until)
				end = max(end+lo, lo+1)
			}
			for i, a := range w.accs {
				a.span(c, w.argVecs[i], lo, end, g)
			}
			lo = end
		}
	}
	w.run.stats.rows.Add(rows)
	return nil
}

// groupRows adds selected rows to their groups.
func (w *worker) groupRows(c *chunk) error {
	if err := w.evalArgs(c); err != nil {
		return err
	}
	for i, n := range w.rest {
		v, err := n.eval(c)
		if err != nil {
			return err
		}
		w.restVecs[i] = v
	}
	var rests []int32
	if len(w.rest) > 0 {
		rests = w.table.restIDs(c, w.restVecs, w.sel)
	}
	times, series := c.times(), c.series()
	w.groups = w.groups[:0]
	// Neighbours mostly belong to one group.
	ref, rest, g, until := telemetry.SeriesRef(0), int32(-1), int32(-1), int64(0)
	from := int64(0)
	for i, r := range w.sel {
		if rests != nil && rests[i] != rest {
			rest, g = rests[i], -1
		}
		if t := times[r]; g < 0 || series[r] != ref || t < from || t >= until {
			ref = series[r]
			g, until = w.table.resolve(w, ref, t, rest)
			from = t
		}
		w.groups = append(w.groups, g)
	}
	for i, a := range w.accs {
		a.rows(c, w.argVecs[i], w.sel, w.groups)
	}
	return nil
}
