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
