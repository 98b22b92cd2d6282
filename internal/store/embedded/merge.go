package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Segments of one table version and partition are merged when MergeFanIn of
// about one size stand next to each other in the order of arrival. Sizes are
// classed by factors of eight, so a row is rewritten once for each factor that
// its segment grows.
const (
	smallestClass = 32 << 10  // rows
	coldFanIn     = 3         // for partitions that get no rows any more
	coldAfter     = time.Hour // without a new segment
	maxFanIn      = 32
	busySegments  = 512 // of one table and partition; so many are merged however busy the store is
)

func sizeClass(rows int64) int { return (bits.Len64(uint64(rows/smallestClass)) + 2) / 3 }

type mergeGroup struct {
	version   uint32
	partition int64
}

// mergeOne merges one group of segments, if the policy finds one.
func (s *Store) mergeOne(ctx context.Context, tn *tenant, all bool) (bool, error) {
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	if done, err := s.applyReplaced(ctx, tn, all); done || err != nil {
		return done, err
	}
	if done, err := s.applyDeletions(ctx, tn, all); done || err != nil {
		return done, err
	}
	segs := s.pickMerge(tn, all)
	if segs == nil {
		return s.mergePacks(ctx, tn, all)
	}
	// The merged segment has the newest arrival of its sources, so what older
	// ones hold of overwritten rows must go now.
	keys, _ := s.pendingReplaced(tn)
	return true, s.rewrite(ctx, tn, segs, keys)
}

// pendingReplaced returns the keys that wait for a rewrite, with the frame that
// overwrote each, and the segments that keep them.
func (s *Store) pendingReplaced(tn *tenant) (keys map[rowKey]int64, holders []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range tn.segs {
		if len(g.replaced) == 0 {
			continue
		}
		if keys == nil {
			keys = map[rowKey]int64{}
		}
		for _, k := range g.replaced {
			keys[k.key] = max(keys[k.key], k.frame)
		}
		holders = append(holders, g)
	}
	return keys, holders
}

// pickMerge returns segments to merge, in the order of arrival, or nil. now does not
// wait for a quiet moment.
func (s *Store) pickMerge(tn *tenant, now bool) []*segment {
	s.mu.Lock()
	all := tn.segs
	s.mu.Unlock()
	most := 0
	if !now && s.isBusy(tn) {
		most = busySegments
	}
	var best []*segment
	for _, segs := range s.mergeGroups(all) {
		if len(segs) < most {
			continue
		}
		if run := s.pickRun(segs, s.fanIn(segs)); len(run) > len(best) {
			best = run
		}
	}
	return best
}

// mergeGroups parts the segments that may be merged by what may be merged with what.
func (s *Store) mergeGroups(segs []*segment) map[mergeGroup][]*segment {
	groups := map[mergeGroup][]*segment{}
	for _, g := range segs {
		if !g.isUnmergeable(s) && !s.isRecent(g) {
			k := mergeGroup{g.v.id, g.partition}
			groups[k] = append(groups[k], g)
		}
	}
	return groups
}

// fanIn is how many segments of a group make a merge due.
func (s *Store) fanIn(group []*segment) int {
	newest := int64(0)
	for _, g := range group {
		newest = max(newest, g.created)
	}
	if s.opt.Now().UnixNano()-newest > int64(coldAfter) {
		return min(s.opt.MergeFanIn, coldFanIn)
	}
	return s.opt.MergeFanIn
}

// pickRun returns a run of neighbours of the lowest class that is due. Segments in
// packs part runs: they are merged with their packs.
func (s *Store) pickRun(segs []*segment, fanIn int) []*segment {
	for class := 0; class <= sizeClass(int64(s.opt.SegmentRows)); class++ {
		for from := 0; from < len(segs); from++ {
			rows, to := int64(0), from
			for to < len(segs) && to-from < maxFanIn && segs[to].pack == nil && sizeClass(segs[to].rows) <= class && rows+segs[to].rows <= int64(s.opt.SegmentRows) {
				rows += segs[to].rows
				to++
			}
			if to-from >= fanIn {
				return segs[from:to]
			}
		}
	}
	return nil
}

func (g *segment) isBroken() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.broken != nil
}

// rewrite merges segments of one table version into one for each partition that
// has its own, without the rows for which drop is true.
func (s *Store) rewrite(ctx context.Context, tn *tenant, segs []*segment, drop map[rowKey]int64) error {
	c := &compaction{s: s, tn: tn}
	if err := c.mergeRows(ctx, segs, drop); err != nil {
		c.discard()
		return s.mergeFailed(segs, err)
	}
	return c.enterMerged(segs)
}

// enterMerged enters what was merged in place of its sources.
func (c *compaction) enterMerged(segs []*segment) error {
	if err := c.enter(nil, segs); err != nil {
		c.discard()
		return err
	}
	for _, g := range c.out {
		c.s.stats.mergedBytes.Add(g.size)
		c.s.stats.mergedRows.Add(g.rows)
	}
	return nil
}

// mergeRows writes the rows of segments of one table version to new ones.
func (c *compaction) mergeRows(ctx context.Context, segs []*segment, drop map[rowKey]int64) error {
	s, v := c.s, segs[0].v
	var sources []chunk.Source
	var opened []*chunk.Segment
	counts, total := map[int64]int64{}, int64(0)
	c.arrival = 0
	for _, g := range segs {
		seg, err := s.openSegment(g)
		if err != nil {
			return &sourceError{g.id, err}
		}
		opened = append(opened, seg)
		src := seg.Source()
		if g.deletion != nil {
			src = &deletedSource{seg: seg, runs: g.deletion.runs, read: rowsOf(seg)}
		}
		if drop != nil {
			src = &droppingSource{src: src, drop: drop, arrival: g.arrival}
		}
		if c.border != nil {
			src = &youngSource{src, *c.border}
		}
		sources = append(sources, &checkedSource{ctx: ctx, src: src, g: g})
		c.arrival = max(c.arrival, g.arrival)
		c.rowsIn += g.rows
		if s.isOwn(g) {
			counts[g.partition] += g.rows
		} else if err := s.countSegment(seg, counts); err != nil {
			return &sourceError{g.id, err}
		}
		total += g.rows
	}
	arrivals, err := chunk.MergeArrivals(opened)
	if err != nil {
		return err
	}
	w := &segmentsWriter{c: c, v: v, arrivals: arrivals, parts: ownPartitions(counts, total)}
	err = chunk.MergeSources(v.table, sources, w.append)
	return errors.Join(err, w.close(err == nil))
}

// isOwn reports whether all rows of a segment are of its partition. Older programs
// put strays into segments of one.
func (s *Store) isOwn(g *segment) bool {
	from, to, ok := s.partitionBounds(g.partition)
	return ok && g.minTime >= from && g.maxTime < to
}

// countSegment counts a mixed segment's rows by partition.
func (s *Store) countSegment(seg *chunk.Segment, counts map[int64]int64) error {
	var sec telemetry.Section
	for b := range seg.Blocks() {
		if _, err := seg.ReadBlock(b, &sec, nil, false); err != nil {
			return err
		}
		s.countPartitions(&sec, counts)
	}
	return nil
}

// mergeFailed keeps damaged segments out of later merges: they stay as they are,
// readable but for the damage.
func (s *Store) mergeFailed(segs []*segment, err error) error {
	var ce *sourceError
	if telemetry.CodeOf(err) != telemetry.CodeDamaged || !errors.As(err, &ce) {
		return fmt.Errorf("merge segments: %w", err)
	}
	s.damaged(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range segs {
		if g.id == ce.segment {
			g.unmergeable = true
		}
	}
	return nil
}

// sourceError names the segment that a merge could not read.
type sourceError struct {
	segment int64
	err     error
}

func (e *sourceError) Error() string { return fmt.Sprintf("segment %d: %v", e.segment, e.err) }
func (e *sourceError) Unwrap() error { return e.err }

// checkedSource names its segment in errors and stops when the store closes.
type checkedSource struct {
	ctx context.Context
	src chunk.Source
	g   *segment
}

func (c *checkedSource) Next(dst *telemetry.Section) (bool, error) {
	if err := c.ctx.Err(); err != nil {
		return false, err
	}
	ok, err := c.src.Next(dst)
	if err != nil {
		err = &sourceError{c.g.id, err}
	}
	return ok, err
}

// droppingSource leaves out rows that newer arrivals overwrite.
type droppingSource struct {
	src     chunk.Source
	drop    map[rowKey]int64
	arrival int64
}

func (d *droppingSource) Next(dst *telemetry.Section) (bool, error) {
	for {
		ok, err := d.src.Next(dst)
		if !ok || err != nil {
			return ok, err
		}
		gone := func(row int) bool { return d.drop[rowKey{dst.Series[row], dst.Time[row]}] > d.arrival }
		for row := range dst.Series {
			if gone(row) {
				keepRows(dst, gone)
				break
			}
		}
		if dst.Rows() > 0 {
			return true, nil
		}
	}
}

// replacedKey is a key that a frame, by its id, overwrote.
type replacedKey struct {
	key   rowKey
	frame int64
}

// replacedLimit is how many overwritten keys of a tenant wait before the
// segments that hold them are rewritten.
const replacedLimit = 50_000

// assignReplaced gives the keys that were overwritten by the step's sources to
// one of its segments, until applyReplaced has rewritten what they hide.
func (c *compaction) assignReplaced(segs []*segment) {
	var keys []replacedKey
	for k, f := range c.replaced {
		keys = append(keys, replacedKey{k, f})
	}
	for _, g := range segs {
		keys = append(keys, g.replaced...)
	}
	keys = newestOf(keys)
	if len(keys) > 0 && len(c.out) > 0 {
		c.out[0].replaced = keys
	} else if len(keys) > 0 {
		c.bequeath(segs, keys)
	}
}

// bequeath gives the keys of a step that left no rows to a segment that stays.
// Without one they hide nothing.
func (c *compaction) bequeath(segs []*segment, keys []replacedKey) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, g := range c.tn.segs {
		if !slices.Contains(segs, g) && !slices.Contains(c.tn.merging, g) {
			c.heir, c.inherited = g, newestOf(append(slices.Clone(g.replaced), keys...))
			return
		}
	}
}

// newestOf keeps of each key the newest frame that overwrote it: a key that is
// written for ever would be kept as often as it was written.
func newestOf(keys []replacedKey) []replacedKey {
	if len(keys) < 2 {
		return keys
	}
	slices.SortFunc(keys, func(a, b replacedKey) int {
		return cmp.Or(compareKeys(a.key, b.key), cmp.Compare(b.frame, a.frame))
	})
	return slices.CompactFunc(keys, func(a, b replacedKey) bool { return a.key == b.key })
}

func encodeReplacedBy(keys []replacedKey) []byte {
	if len(keys) == 0 {
		return nil
	}
	var plain []rowKey
	for _, k := range keys {
		plain = append(plain, k.key, rowKey{time: k.frame})
	}
	return appendReplaced(nil, plain)
}

func decodeReplacedBy(data []byte) []replacedKey {
	plain := decodeReplaced(data)
	var keys []replacedKey
	for ; len(plain) >= 2; plain = plain[2:] {
		keys = append(keys, replacedKey{plain[0], plain[1].time})
	}
	return keys
}

// applyReplaced rewrites segments that hold overwritten rows, when many wait.
// It rewrites one segment at a time; the keys are forgotten with the last.
func (s *Store) applyReplaced(ctx context.Context, tn *tenant, all bool) (bool, error) {
	keys, holders := s.pendingReplaced(tn)
	if len(keys) == 0 || !all && len(keys) < replacedLimit {
		return false, nil
	}
	s.mu.Lock()
	segs := tn.segs
	s.mu.Unlock()
	for _, g := range segs {
		if g.isUnmergeable(s) {
			continue
		}
		if holds, err := s.holdsAny(g, keys); err != nil {
			return false, fmt.Errorf("look for overwritten rows: %w", err)
		} else if holds && s.isRecent(g) {
			return false, nil // the keys wait with the deleted rows
		} else if holds {
			return true, s.rewrite(ctx, tn, []*segment{g}, keys)
		}
	}
	return false, s.forgetReplaced(tn, holders)
}

func (g *segment) isUnmergeable(s *Store) bool {
	if g.isBroken() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return g.unmergeable || g.deletion != nil && g.deletion.err != nil
}

// holdsAny reports whether the segment has a row that one of the keys hides, as
// far as it is not damaged.
func (s *Store) holdsAny(g *segment, keys map[rowKey]int64) (bool, error) {
	var sorted []rowKey
	for k, f := range keys {
		if f > g.arrival && k.time >= g.minTime && k.time <= g.maxTime {
			sorted = append(sorted, k)
		}
	}
	if len(sorted) == 0 {
		return false, nil
	}
	slices.SortFunc(sorted, compareKeys)
	seg, err := s.openSegment(g)
	if err != nil {
		return false, mayPass(err)
	}
	d := &dedup{s: s}
	var sec telemetry.Section
	read := -1
	for _, k := range sorted {
		first, last := seg.Find(k.series)
		for b := first; b < last; b++ {
			run, ok, err := d.findRun(g, seg, b, k)
			if err != nil {
				return false, err
			}
			if !ok {
				continue
			}
			if b != read {
				if _, err := seg.ReadBlock(b, &sec, nil, false); err != nil {
					if err := mayPass(s.readError("segment", g.id, err)); err != nil {
						return false, err
					}
					read = -1
					continue
				}
				read = b
			}
			if _, found := slices.BinarySearch(sec.Time[run.Start:run.Start+run.Rows], k.time); found {
				return true, nil
			}
		}
	}
	return false, nil
}

// forgetReplaced clears keys that hide nothing any more.
func (s *Store) forgetReplaced(tn *tenant, holders []*segment) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return errClosed("compact")
	}
	m := tn.manifest
	err := s.w.transaction(func() error {
		for _, g := range holders {
			if err := s.updateSegment(&m, g, nil); err != nil {
				return err
			}
		}
		return s.saveManifest(tn, &m)
	})
	if err != nil {
		return err
	}
	tn.manifest = m
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range holders {
		g.replaced = nil
	}
	return nil
}
