package schema

import (
	"fmt"
	"slices"
	"time"
)

// Rollup is one width of the aggregates that a document asks for.
type Rollup struct {
	Every time.Duration // the width of the buckets; it divides a day
	Keep  time.Duration // the age at which they are deleted, 0 for never
}

const day = 24 * time.Hour

// readRollups reads a list whose entries are a width, or a width and an age:
// [1m, {every: 1h, keep: 730d}].
func (r *documentReader) readRollups(n *docNode) {
	if n.kind != docList {
		r.problem(n, "rollups", "must be a list of bucket widths", "as [1m, 1h], or {every: 1h, keep: 730d}")
		return
	}
	for i, item := range n.items {
		path := fmt.Sprintf("rollups.%d", i)
		every, keep := item, (*docNode)(nil)
		if item.kind == docMap {
			if !r.mapping(item, path, "every", "keep") {
				continue
			}
			every, keep = item.get("every"), item.get("keep")
			if every == nil {
				r.problem(item, path, "every is missing", "the width of the buckets, as 1h")
				continue
			}
			path += ".every"
		}
		w := r.duration(every, path, time.Second)
		old := r.duration(keep, fmt.Sprintf("rollups.%d.keep", i), time.Minute)
		switch {
		case w == 0:
		case w%time.Second != 0 || day%w != 0:
			r.problem(every, path, "a bucket is whole seconds wide and divides a day", "as 10s, 1m, 5m, 1h, 1d; wider buckets are answered from these")
		case slices.ContainsFunc(r.doc.rollups, func(o Rollup) bool { return o.Every == w }):
			r.problem(every, path, "stands twice", "")
		default:
			r.doc.rollups = append(r.doc.rollups, Rollup{w, old})
		}
	}
	slices.SortFunc(r.doc.rollups, func(a, b Rollup) int { return int(a.Every/time.Second) - int(b.Every/time.Second) })
}
