package embedded

import (
	"cmp"
	"context"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// dedup finds the duplicates of one staged batch. Rows above their series'
// watermark are new; the others, the candidates, are looked up in what is
// staged, in level 0 and in segments, and compared with earlier rows of the
// batch itself. What cannot be read cannot prove a duplicate: in doubt, a row is
// stored.
type dedup struct {
	s    *Store
	tn   *tenant
	st   *staged
	secs []dedupSection

	cands []candidate // in the order of the rows
	// latest holds the latest row of each series that has a row of
	// OnlyIfChanged; unsettled are those that are still searched for.
	latest, unsettled map[telemetry.SeriesRef]*latestRow

	replaced []rowKey // keys whose stored rows this batch overwrites
}

// dedupSection is a section of the batch.
type dedupSection struct {
	sec *telemetry.Section
	v   *tableVersion
	// overwritten lists rows that a later row of the batch overwrites.
	overwritten []int32
}

// candidate is a row that may be a duplicate.
type candidate struct {
	key       rowKey
	sec, row  int32
	ifChanged bool // it is stored only if it differs from the latest of its series
	found     bool // the store has a row of this key
	same      bool // the row that the store has, or one of them, is equal
}

// latestRow is the newest reading of a series, by time and then arrival.
type latestRow struct {
	bound int64 // at or above its time
	found bool
	time  int64
	at    place // where it stands in the store, until it is read
	sec   *telemetry.Section
	v     *tableVersion
	row   int
}

func (d *dedup) run(ctx context.Context) error {
	for i := range d.secs {
		d.passWatermarks(int32(i))
	}
	if len(d.cands) == 0 {
		return nil
	}
	d.s.stats.lookups.Add(int64(len(d.cands)))
	if err := d.lookUp(ctx); err != nil {
		return err
	}
	d.settle()
	return nil
}

// passWatermarks lifts the watermarks by the rows of a section and collects the
// rows that are not above them. This loop sees every row of the store.
func (d *dedup) passWatermarks(i int32) {
	ds := &d.secs[i]
	sec, pages := ds.sec, d.tn.marks.pages
	times := sec.Time[:len(sec.Series)]
	exact := ds.v.identity == telemetry.IdentityNone
	next := int32(-1) // the next row of OnlyIfChanged
	rest := sec.OnlyIfChanged
	if len(rest) > 0 {
		next = rest[0]
	}
	for row, ref := range sec.Series {
		mark, t := &pages[ref>>markPageBits][ref&(1<<markPageBits-1)], times[row]
		before := *mark
		above := t > before
		if above {
			*mark = t
		}
		ifChanged := int32(row) == next
		if ifChanged {
			rest = rest[1:]
			next = -1
			if len(rest) > 0 {
				next = rest[0]
			}
			d.wantLatest(ref, before)
		}
		if ifChanged || !above && !exact {
			d.cands = append(d.cands, candidate{key: rowKey{ref, t}, sec: i, row: int32(row), ifChanged: ifChanged})
		}
	}
}

// wantLatest asks for the latest row of a series, whose watermark was bound.
func (d *dedup) wantLatest(ref telemetry.SeriesRef, bound int64) {
	if d.latest == nil {
		d.latest, d.unsettled = map[telemetry.SeriesRef]*latestRow{}, map[telemetry.SeriesRef]*latestRow{}
	}
	if d.latest[ref] != nil {
		return
	}
	l := &latestRow{bound: bound}
	d.latest[ref] = l
	if bound != minTime { // else the store has no row of it
		d.unsettled[ref] = l
	}
}

// noteRow takes a row of the store as the latest that is known. Nothing is above
// the watermark, so a row there ends the search.
func (d *dedup) noteRow(ref telemetry.SeriesRef, l *latestRow, time int64, at place) {
	l.found, l.time, l.at = true, time, at
	if time >= l.bound {
		delete(d.unsettled, ref)
	}
}

// group is the rows of the batch that are stored under one key.
type group struct {
	rows []candidate
}

// settle decides row by row, in the order of arrival, because whether a row is
// stored depends on which earlier rows of the batch were.
func (d *dedup) settle() {
	groups := make(map[rowKey]*group, len(d.cands))
	var near [1 << 6]uint64 // a filter by series in front of the maps
	for i := range d.cands {
		c := &d.cands[i]
		groups[c.key] = &group{}
		near[c.key.series>>6&63] |= 1 << (c.key.series & 63)
	}
	cands := d.cands
	for i := range d.secs {
		ds := &d.secs[i]
		for row, ref := range ds.sec.Series {
			if near[ref>>6&63]&(1<<(ref&63)) == 0 {
				continue
			}
			this := candidate{key: rowKey{ref, ds.sec.Time[row]}, sec: int32(i), row: int32(row)}
			if len(cands) > 0 && cands[0].sec == this.sec && cands[0].row == this.row {
				this = cands[0]
				cands = cands[1:]
			}
			d.settleRow(ds, &this, groups[this.key], d.latest[ref])
		}
	}
}

func (d *dedup) settleRow(ds *dedupSection, c *candidate, g *group, l *latestRow) {
	if g == nil && l == nil {
		return
	}
	if d.isDuplicate(ds, c, g, l) {
		ds.sec.Duplicates = append(ds.sec.Duplicates, c.row)
		return
	}
	if g != nil {
		if ds.v.identity == telemetry.IdentityTime {
			switch {
			case len(g.rows) > 0:
				old := g.rows[len(g.rows)-1]
				d.secs[old.sec].overwritten = append(d.secs[old.sec].overwritten, old.row)
			case c.found:
				d.replaced = append(d.replaced, c.key)
			}
		}
		g.rows = append(g.rows, *c)
	}
	if l != nil && (!l.found || c.key.time >= l.time) {
		*l = latestRow{found: true, time: c.key.time, sec: ds.sec, v: ds.v, row: int(c.row)}
	}
}

func (d *dedup) isDuplicate(ds *dedupSection, c *candidate, g *group, l *latestRow) bool {
	equals := func(o candidate) bool {
		other := &d.secs[o.sec]
		return sameRow(ds.sec, ds.v.table, int(c.row), other.sec, other.v.table, int(o.row))
	}
	if g != nil {
		switch ds.v.identity {
		case telemetry.IdentityTimeValues:
			if c.same || slices.ContainsFunc(g.rows, equals) {
				return true
			}
		case telemetry.IdentityTime:
			if n := len(g.rows); n > 0 {
				if equals(g.rows[n-1]) {
					return true
				}
			} else if c.same {
				return true
			}
		}
	}
	return c.ifChanged && l.found && sameRow(ds.sec, ds.v.table, int(c.row), l.sec, l.v.table, l.row)
}

// sortedCandidates returns the candidates that are looked up by key, by series
// and time, so that look-ups share what they read.
func (d *dedup) sortedCandidates() []*candidate {
	var out []*candidate
	for i := range d.cands {
		c := &d.cands[i]
		if d.secs[c.sec].v.identity != telemetry.IdentityNone {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b *candidate) int { return compareKeys(a.key, b.key) })
	return out
}

func compareKeys(a, b rowKey) int {
	if c := cmp.Compare(a.series, b.series); c != 0 {
		return c
	}
	return cmp.Compare(a.time, b.time)
}
