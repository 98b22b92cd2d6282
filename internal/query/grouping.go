package query

import (
	"slices"
	"sort"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

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
