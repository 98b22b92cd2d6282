package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// scan is a pinned view of one table: the frames and segments that stood in the
// catalog when it began.
type scan struct {
	s       *Store
	tn      *tenant
	req     store.ScanRequest
	name    *tableName
	columns []telemetry.Column
	tags    []string
	tagAt   map[uint32][]int // by series group: where each tag of a key stands in tags
	max     telemetry.SeriesRef
	wanted  []bool // by ref; nil: all
	lo, hi  telemetry.SeriesRef
	units   []store.Unit
	skipped int
	counts  store.SegmentCount

	// replaced holds, for keys that were overwritten, the newest frame that did:
	// the rows of older frames, and of segments of older arrival, are gone.
	replaced map[rowKey]int64

	frames  []*frame
	segs    []*segment
	rollups []*segment             // that answer in place of segments
	deleted map[*segment]*deletion // of segs, as it stood when the scan began
	lost    []lostSegment          // of the tenant
	close   sync.Once

	rollupUnits []store.RollupUnit
}

// Scan implements store.Store.
func (s *Store) Scan(ctx context.Context, r store.ScanRequest) (store.Scan, error) {
	tn := s.tenant(r.Tenant)
	var name *tableName
	if tn != nil {
		name = tn.tableName(r.Table)
	}
	if name == nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "scan", "there is no table %q", r.Table)
	}
	sc, err := s.scan(ctx, tn, name, r)
	for errors.Is(err, errRollupBad) {
		// The readings that it stands for are there: read them instead.
		sc, err = s.scan(ctx, tn, name, r)
	}
	if err != nil {
		return nil, err
	}
	return sc, nil
}

func (s *Store) scan(ctx context.Context, tn *tenant, name *tableName, r store.ScanRequest) (*scan, error) {
	sc := &scan{s: s, tn: tn, req: r, name: name}
	sc.shape()
	if r.From >= r.To {
		// Only the columns are asked for: that costs nothing for each series.
		sc.wanted = []bool{}
		sc.max = telemetry.SeriesRef(tn.series.count.Load())
		return sc, nil
	}
	if err := sc.pin(); err != nil {
		return nil, err
	}
	if err := sc.build(ctx); err != nil {
		sc.Close()
		return nil, err
	}
	return sc, nil
}

// joinColumns returns the columns of all versions, each in its widest type.
func joinColumns(versions []*tableVersion) (all []telemetry.Column) {
	for _, v := range versions {
		for _, c := range v.table.Columns {
			i := slices.IndexFunc(all, func(o telemetry.Column) bool { return o.Name == c.Name })
			switch {
			case i < 0:
				all = append(all, c)
			case all[i].Type == telemetry.Int && c.Type == telemetry.Float:
				all[i] = c
			}
		}
	}
	return all
}

// shape joins the columns and tags of all versions.
func (sc *scan) shape() {
	sc.columns = joinColumns(sc.name.versions)
	sc.tagAt = map[uint32][]int{}
	for i := len(sc.name.versions) - 1; i >= 0; i-- { // the newest version's tags first
		g := sc.name.versions[i].group
		if sc.tagAt[g.id] != nil {
			continue
		}
		at := make([]int, 0, len(g.tags))
		for _, t := range g.tags {
			j := slices.Index(sc.tags, t)
			if j < 0 {
				j = len(sc.tags)
				sc.tags = append(sc.tags, t)
			}
			at = append(at, j)
		}
		sc.tagAt[g.id] = at
	}
}

// pin takes the frames and segments that overlap the time range.
func (sc *scan) pin() error {
	s := sc.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed("scan")
	}
	for _, f := range sc.tn.frames {
		if f.maxTime >= sc.req.From && f.minTime < sc.req.To || len(f.replaced) > 0 {
			f.pins.Add(1)
			sc.frames = append(sc.frames, f)
		}
	}
	covered := sc.pinRollups()
	for _, g := range sc.tn.segs {
		// A segment keeps the overwritten keys of its whole step, whatever table
		// and version their rows are of.
		for _, k := range g.replaced {
			sc.replace(k.key, k.frame)
		}
		if g.v.name.name != sc.name.name {
			continue
		}
		sc.counts.All++
		if covered[g] {
			sc.counts.RolledUp++
			continue
		}
		if g.maxTime >= sc.req.From && g.minTime < sc.req.To {
			g.pins.Add(1)
			sc.segs = append(sc.segs, g)
			if g.deletion != nil {
				if sc.deleted == nil {
					sc.deleted = map[*segment]*deletion{}
				}
				sc.deleted[g] = g.deletion
			}
		} else {
			sc.skipped++
			sc.counts.Skipped++
		}
	}
	sc.lost = sc.tn.lost
	sc.max = telemetry.SeriesRef(sc.tn.series.count.Load())
	return nil
}

func (sc *scan) replace(k rowKey, frame int64) {
	if sc.replaced == nil {
		sc.replaced = map[rowKey]int64{}
	}
	sc.replaced[k] = max(sc.replaced[k], frame)
}

// Close implements store.Scan.
func (sc *scan) Close() {
	sc.close.Do(func() {
		for _, f := range sc.frames {
			f.pins.Add(-1)
		}
		for _, g := range append(sc.segs, sc.rollups...) {
			sc.s.unpinSegment(g)
		}
	})
}

func (sc *scan) Columns() []telemetry.Column    { return sc.columns }
func (sc *scan) TagNames() []string             { return sc.tags }
func (sc *scan) MaxSeries() telemetry.SeriesRef { return sc.max }
func (sc *scan) Units() []store.Unit            { return sc.units }
func (sc *scan) Skipped() int                   { return sc.skipped }
func (sc *scan) Segments() store.SegmentCount   { return sc.counts }

// Series implements store.Scan.
func (sc *scan) Series(ref telemetry.SeriesRef) store.SeriesInfo {
	if ref >= sc.max {
		return store.SeriesInfo{Tags: make([]store.Tag, len(sc.tags))}
	}
	return sc.describe(sc.tn.series.key(ref))
}

func (sc *scan) describe(key []byte) store.SeriesInfo {
	group, info, _ := decodeSeriesKey(key)
	at := sc.tagAt[group]
	if len(at) == len(sc.tags) && len(info.Tags) == len(at) && inOrder(at) {
		return info
	}
	tags := make([]store.Tag, len(sc.tags))
	for i := range tags {
		tags[i].Null = true
	}
	for i, t := range info.Tags {
		if i < len(at) {
			tags[at[i]] = t
		}
	}
	return store.SeriesInfo{Topic: info.Topic, Tags: tags}
}

// inOrder reports whether the tags of a group are the scan's, in their order.
func inOrder(at []int) bool {
	for i, j := range at {
		if i != j {
			return false
		}
	}
	return true
}

// matchSeries asks Match once for each series of the table.
func (sc *scan) matchSeries() {
	sc.lo, sc.hi = 0, ^telemetry.SeriesRef(0)
	if sc.req.Match == nil {
		return
	}
	sc.wanted = make([]bool, sc.max)
	sc.lo, sc.hi = ^telemetry.SeriesRef(0), 0
	filter := sc.tagFilter()
	for ref := range sc.max {
		key := sc.tn.series.key(ref)
		group, n := binary.Uvarint(key)
		if group == unknownGroup {
			// Whether it matches cannot be known: reading its rows says so.
			sc.wanted[ref] = true
			sc.lo, sc.hi = min(sc.lo, ref), max(sc.hi, ref)
			continue
		}
		if _, ours := sc.tagAt[uint32(group)]; n <= 0 || !ours {
			continue
		}
		if !filter.passes(uint32(group), key[n:]) {
			continue
		}
		info := sc.describe(key)
		if sc.req.Match(info.Topic, info.Tags) {
			sc.wanted[ref] = true
			sc.lo, sc.hi = min(sc.lo, ref), max(sc.hi, ref)
		}
	}
}

func (sc *scan) isWanted(ref telemetry.SeriesRef) bool {
	return sc.wanted == nil || int(ref) < len(sc.wanted) && sc.wanted[ref]
}

// anyWanted reports whether a series from lo to hi, inclusive, is wanted.
func (sc *scan) anyWanted(lo, hi telemetry.SeriesRef) bool {
	if sc.wanted == nil {
		return true
	}
	lo, hi = max(lo, sc.lo), min(hi, sc.hi)
	if lo > hi {
		return false
	}
	return bytes.IndexByte(boolBytes(sc.wanted[lo:hi+1]), 1) >= 0
}

func (sc *scan) inTime(lo, hi int64) bool { return hi >= sc.req.From && lo < sc.req.To }

// build makes the units.
func (sc *scan) build(ctx context.Context) error {
	sc.matchSeries()
	if err := sc.addRollups(ctx); err != nil { // before the request is offered segments
		return err
	}
	for _, f := range sc.frames {
		for _, k := range f.replaced {
			sc.replace(k, f.id)
		}
	}
	for _, g := range sc.segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		sc.addSegment(g)
	}
	sc.addFrames()
	sc.addLost()
	return nil
}

// level0UnitRows is how many rows of small frames make one unit.
const level0UnitRows = 8192

func (sc *scan) addFrames() {
	open := map[uint32]*frameUnit{} // by table id
	for _, f := range sc.frames {
		parts, err := sc.s.frameParts(f)
		if err != nil {
			sc.units = append(sc.units, &brokenUnit{sc: sc, rows: f.rows, lo: f.minTime, hi: f.maxTime, err: err})
			continue
		}
		for i, p := range parts {
			v := sc.versionOf(p.TableID)
			if v == nil {
				if err := sc.lostPart(p.TableID); err != nil && sc.inTime(p.MinTime, p.MaxTime) {
					sc.units = append(sc.units, &brokenUnit{sc: sc, rows: p.Rows, lo: p.MinTime, hi: p.MaxTime, err: err})
				}
				continue
			}
			if !sc.inTime(p.MinTime, p.MaxTime) || !sc.anyWanted(p.MinSeries, p.MaxSeries) {
				sc.skipped++
				continue
			}
			u := open[p.TableID]
			if u == nil || u.rows+p.Rows > level0UnitRows {
				u = &frameUnit{unit: unit{sc: sc, v: v, lo: maxTime, hi: minTime}}
				open[p.TableID] = u
				sc.units = append(sc.units, u)
			}
			u.parts = append(u.parts, framePart{f, i})
			u.rows += p.Rows
			u.lo, u.hi = min(u.lo, p.MinTime), max(u.hi, p.MaxTime)
			u.mayHide(f.id, p.MinSeries, p.MaxSeries, p.MinTime, p.MaxTime)
		}
	}
}

func (sc *scan) versionOf(id uint32) *tableVersion {
	for _, v := range sc.name.versions {
		if v.id == id {
			return v
		}
	}
	return nil
}

func (sc *scan) addSegment(g *segment) {
	seg, err := sc.s.openSegment(g)
	if err = lostReadings(err, g, g.rows, g.minTime, g.maxTime); err != nil {
		sc.units = append(sc.units, &brokenUnit{sc: sc, v: g.v, rows: int(g.rows), lo: g.minTime, hi: g.maxTime, err: err})
		return
	}
	if d := sc.deleted[g]; d != nil && d.err != nil {
		sc.units = append(sc.units, &brokenUnit{sc: sc, v: g.v, rows: int(g.rows), lo: g.minTime, hi: g.maxTime, err: d.err})
		return
	}
	blocks := seg.Blocks()
	if sc.answered(g, seg) {
		sc.counts.Answered++
		return
	}
	units := len(sc.units)
	defer func() {
		if len(sc.units) == units {
			sc.counts.Skipped++
		}
	}()
	first := 0
	if sc.wanted != nil {
		first = sort.Search(len(blocks), func(i int) bool { return blocks[i].MaxSeries >= sc.lo })
	}
	sc.skipped += first
	deleted, row := sc.deleted[g], uint32(0)
	for i := range first {
		row += uint32(blocks[i].Rows)
	}
	for i := first; i < len(blocks); i++ {
		b := &blocks[i]
		if sc.wanted != nil && b.MinSeries > sc.hi {
			sc.skipped += len(blocks) - i // blocks ascend by series
			break
		}
		from := row
		row += uint32(b.Rows)
		if !sc.inTime(b.MinTime, b.MaxTime) || !sc.anyWanted(b.MinSeries, b.MaxSeries) || !sc.inRanges(g, seg, i) {
			sc.skipped++
			continue
		}
		u := &segmentUnit{unit: unit{sc: sc, v: g.v, rows: b.Rows, lo: b.MinTime, hi: b.MaxTime}, g: g, seg: seg, block: i, first: from}
		if deleted != nil {
			if u.gone = within(deleted.runs, from, row); countRuns(u.gone) == int64(b.Rows) {
				sc.skipped++
				continue
			}
			u.hides = len(u.gone) > 0
		}
		u.mayHide(g.arrival, b.MinSeries, b.MaxSeries, b.MinTime, b.MaxTime)
		sc.units = append(sc.units, u)
	}
}

// answered offers a segment to the request, where it wants all of its rows.
func (sc *scan) answered(g *segment, seg *chunk.Segment) bool {
	if sc.req.Answer == nil || sc.deleted[g] != nil || sc.wanted != nil || len(sc.req.Ranges) > 0 || len(sc.tn.unknown) > 0 ||
		g.minTime < sc.req.From || g.maxTime >= sc.req.To {
		return false
	}
	m := seg.Meta()
	whole := unit{sc: sc}
	if whole.mayHide(g.arrival, m.MinSeries, m.MaxSeries, g.minTime, g.maxTime); whole.hides {
		return false
	}
	return sc.req.Answer(store.Segment{
		Rows: m.Rows, Units: m.Blocks, MinTime: m.MinTime, MaxTime: m.MaxTime,
		Stats: func(column string) (store.ColumnStats, bool) {
			c := g.v.table.ColumnIndex(column)
			if c < 0 {
				return store.ColumnStats{}, true // null throughout
			}
			t, ok := seg.Total(c)
			return store.ColumnStats(t), ok
		},
	})
}

// inRanges reports whether a block may hold rows that meet all value ranges.
func (sc *scan) inRanges(g *segment, seg *chunk.Segment, block int) bool {
	if len(sc.req.Ranges) == 0 {
		return true
	}
	head, err := sc.s.segmentHead(g, seg, block)
	if err != nil {
		return true // Read reports it
	}
	for _, r := range sc.req.Ranges {
		c := g.v.table.ColumnIndex(r.Column)
		if c < 0 {
			return false // null throughout
		}
		if st, ok := head.Stats(c); ok && (st.Count == 0 || st.Max < r.Min || st.Min > r.Max) {
			return false
		}
	}
	return true
}
