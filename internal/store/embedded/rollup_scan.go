package embedded

import (
	"context"
	"errors"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// RollupUnits implements store.RollupScan.
func (sc *scan) RollupUnits() []store.RollupUnit { return sc.rollupUnits }

// pinRollups picks the rollups that answer in place of segments, and leaves those
// segments out of the scan. Store.mu is held, and segments are not pinned yet.
func (sc *scan) pinRollups() (covered map[*segment]bool) {
	if sc.req.Rollups == nil || len(sc.tn.rollups) == 0 {
		return nil
	}
	groups := sc.tn.rolledUp[sc.name.name]
	if len(groups) == 0 {
		return nil
	}
	overwritten := sc.s.overwritten(sc.tn)
	covered = map[*segment]bool{}
	for _, o := range groups {
		if !o.final && (!o.isLive() || overwritten[o.partition] > o.seen || sc.prefersTotals(o)) {
			continue
		}
		g := sc.pickWidth(o)
		if g == nil || !o.final && g.rollup.bad.Load() {
			continue
		}
		if !o.final {
			for _, src := range o.from {
				covered[src] = true
			}
		}
		if !sc.inTime(g.minTime, g.maxTime+g.rollup.width-1) {
			continue
		}
		g.pins.Add(1)
		sc.rollups = append(sc.rollups, g)
	}
	return covered
}

// overwritten returns, for each partition with keys that were overwritten, the
// newest frame that did; Store.mu is held.
func (s *Store) overwritten(tn *tenant) map[int64]int64 {
	newest := map[int64]int64{}
	note := func(k rowKey, frame int64) {
		p := s.partitionOf(k.time)
		newest[p] = max(newest[p], frame)
	}
	for _, f := range tn.frames {
		for _, k := range f.replaced {
			note(k, f.id)
		}
	}
	for _, g := range tn.segs {
		for _, k := range g.replaced {
			note(k.key, k.frame)
		}
	}
	return newest
}

// prefersTotals reports whether the totals of the segments themselves answer: one
// number for a segment beats a row for each series.
func (sc *scan) prefersTotals(o *rollupGroup) bool {
	if sc.req.Answer == nil || sc.req.Match != nil {
		return false
	}
	from, to, ok := sc.s.partitionBounds(o.partition)
	w := sc.req.Rollups.Width
	return ok && sc.req.From <= from && sc.req.To >= to && (w == 0 || w%int64(sc.s.opt.Partition) == 0)
}

// pickWidth returns the widest rollup of a group that gives exactly what the
// request asks for, or nil. Where the readings are gone it is the narrowest that
// fits into the buckets, whose own buckets the time range may cut.
func (sc *scan) pickWidth(o *rollupGroup) *segment {
	var narrowest *segment
	for i := len(o.widths) - 1; i >= 0; i-- {
		g := o.widths[i]
		w := g.rollup.width
		if sc.req.Rollups.Width%w != 0 {
			continue
		}
		from, to, ok := sc.s.partitionBounds(o.partition)
		if !ok {
			from, to = g.minTime, g.maxTime+w
		}
		aligned := func(t int64) bool {
			return t <= from || t >= to || rollup.StartOf(t, w) == t
		}
		if aligned(sc.req.From) && aligned(sc.req.To) {
			return g
		}
		narrowest = g
	}
	if o.final {
		return narrowest
	}
	return nil
}

// addRollups makes the units of the rollups that were picked: a unit a block.
func (sc *scan) addRollups(ctx context.Context) error {
	for _, g := range sc.rollups {
		if err := ctx.Err(); err != nil {
			return err
		}
		seg, err := sc.s.openSegment(g)
		if err != nil {
			if !g.isFinal(sc.s) {
				g.rollup.bad.Store(true)
				return errors.Join(errRollupBad, err)
			}
			return lostReadings(err, g, g.rows, g.minTime, g.maxTime+g.rollup.width-1)
		}
		for i, b := range seg.Blocks() {
			if sc.inTime(b.MinTime, b.MaxTime+g.rollup.width-1) && sc.anyWanted(b.MinSeries, b.MaxSeries) {
				sc.rollupUnits = append(sc.rollupUnits, &rollupUnit{sc: sc, g: g, seg: seg, block: i, rows: b.Rows})
			}
		}
	}
	return nil
}

// errRollupBad says that a rollup cannot be read whose readings can.
var errRollupBad = errors.New("a rollup cannot be read")

func (g *segment) isFinal(s *Store) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return g.rollup.final
}

// rollupUnit is one block of a rollup.
type rollupUnit struct {
	sc    *scan
	g     *segment
	seg   *chunk.Segment
	block int
	rows  int
}

func (u *rollupUnit) Width() int64                        { return u.g.rollup.width }
func (u *rollupUnit) Rows() int                           { return u.rows }
func (u *rollupUnit) Wanted(ref telemetry.SeriesRef) bool { return u.sc.isWanted(ref) }

// Read implements store.RollupUnit.
func (u *rollupUnit) Read(dst *telemetry.Section, parts []rollup.Ref) (int64, error) {
	t := u.seg.Table()
	var cols, at []int
	for _, p := range parts {
		c := t.ColumnIndex(p.Name())
		if c < 0 {
			at = append(at, -1)
			continue
		}
		at = append(at, len(cols))
		cols = append(cols, c)
	}
	n, err := u.seg.ReadBlock(u.block, dst, cols, false)
	if err != nil {
		u.g.rollup.bad.Store(true)
		return n, u.sc.s.readError("rollup", u.g.id, err)
	}
	if err := u.sc.unknown(dst); err != nil {
		return n, err
	}
	decoded := dst.Columns
	dst.Columns = make([]telemetry.Vector, len(parts))
	for i := range parts {
		if at[i] >= 0 {
			dst.Columns[i] = decoded[at[i]]
		} else {
			nullVector(&dst.Columns[i], telemetry.Int, dst.Rows())
		}
	}
	return n, nil
}
