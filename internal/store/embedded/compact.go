package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// What makes a compaction of level 0 due besides Options.CompactRows and
// CompactAge: pauses with enough rows, so that level 0 and its working set stay
// small at middling rates, and a count of frames, so that look-ups and scans do
// not meet thousands of tiny ones.
const (
	shortPause     = 2 * time.Second
	shortPauseRows = 128 << 10
	longPause      = 2 * time.Second
	longPauseRows  = 8 << 10
	compactFrames  = 1024
	// rowOverhead is what a decoded row takes besides its columns: series, time,
	// received_at and the sort order.
	rowOverhead = 32
)

// mixedPartition is the partition of segments that hold the few rows of many
// partitions. Late data would otherwise make a tiny file for each.
const mixedPartition = math.MinInt64

// partitionOf numbers the time partitions.
func (s *Store) partitionOf(t int64) int64 {
	p := int64(s.opt.Partition)
	n := t / p
	if t < 0 && t%p != 0 {
		n--
	}
	return n
}

// level0 returns the committed frames of a tenant.
func (s *Store) level0(tn *tenant) []*frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tn.frames
}

func (s *Store) due(tn *tenant) bool {
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	return s.isDue(tn)
}

// isDue is due with compactMu held.
func (s *Store) isDue(tn *tenant) bool {
	s.mu.Lock()
	frames, rows, fresh := tn.frames, tn.level0Rows, tn.level0Rows-tn.carriedRows
	s.mu.Unlock()
	if len(frames) == 0 {
		return false
	}
	if rows >= s.compactRows(tn) {
		tn.busy = time.Now()
		return true
	}
	// Pauses are measured by the monotonic clock; ages are not, and a clock that
	// jumped back makes them negative.
	pause := time.Since(tn.compacted)
	age := s.opt.Now().Sub(time.Unix(0, frames[0].created)).Abs()
	return len(frames) >= compactFrames || age >= s.opt.CompactAge ||
		fresh >= shortPauseRows && pause >= shortPause || fresh >= longPauseRows && pause >= longPause
}

// isBusy reports whether readings come as fast as memory allows: then merges,
// which only help queries, wait.
func (s *Store) isBusy(tn *tenant) bool {
	return time.Since(tn.busy) < busyPause
}

const busyPause = 10 * time.Second

// compactRows is how many rows of this tenant fit the memory of a compaction.
func (s *Store) compactRows(tn *tenant) int {
	n := s.opt.CompactRows
	if n <= 0 {
		n = int(s.opt.CompactMemory / max(tn.rowBytes, rowOverhead+32))
	}
	tn.compactRows.Store(int64(n))
	return n
}

// Compact compacts all of level 0 and merges what the policy merges. Nodes need
// not call it; tests and tools do.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.writable("compact"); err != nil {
		return err
	}
	for _, tn := range *s.tenants.Load() {
		for len(s.level0(tn)) > 0 {
			n, err := s.compactLevel0(ctx, tn, true)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
		}
		for {
			merged, err := s.mergeOne(ctx, tn, true)
			if err != nil {
				return err
			}
			if !merged {
				break
			}
		}
		if err := s.keepAll(ctx, tn, true); err != nil {
			return err
		}
	}
	return s.clean()
}

// batchOfFrames takes frames from the oldest while they fit the memory.
func (s *Store) batchOfFrames(tn *tenant) []*frame {
	frames := s.level0(tn)
	limit, rows := s.compactRows(tn), 0
	for i, f := range frames {
		if rows += f.rows; rows > limit && i > 0 {
			return frames[:i]
		}
	}
	return frames
}

// compactLevel0 turns the oldest frames of a tenant into segments and returns
// how many frames that were. Unless all is asked for, tables with few rows are
// carried on in level 0 as one frame.
func (s *Store) compactLevel0(ctx context.Context, tn *tenant, all bool) (int, error) {
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	return s.compactFrames(ctx, tn, all)
}

// compactFrames is compactLevel0 with compactMu held.
func (s *Store) compactFrames(ctx context.Context, tn *tenant, all bool) (int, error) {
	frames := s.batchOfFrames(tn)
	if len(frames) == 0 {
		return 0, nil
	}
	job := &compaction{s: s, tn: tn, arrival: frames[len(frames)-1].id}
	defer s.pool.reset()
	if err := job.decode(ctx, frames); err != nil {
		return 0, err
	}
	if !all {
		if err := job.carry(frames); err != nil {
			return 0, err
		}
	}
	if err := job.write(ctx); err != nil {
		job.discard()
		return 0, err
	}
	if err := job.enter(frames, nil); err != nil {
		job.discard()
		return 0, err
	}
	s.stats.compactions.Add(1)
	s.stats.compactedRows.Add(job.rowsIn)
	s.stats.carriedBytes.Add(int64(len(job.carriedData)))
	for _, g := range job.out {
		s.stats.segmentBytes.Add(g.size)
	}
	tn.compacted = time.Now()
	return len(frames), nil
}

// compaction is one step from sources to segments.
type compaction struct {
	s       *Store
	tn      *tenant
	arrival int64
	rowsIn  int64

	order    []*tableVersion // of byTable, as first met
	byTable  map[uint32][]*telemetry.Section
	small    map[uint32]int                // rows by table that are still to be joined
	joined   map[uint32]*telemetry.Section // by table, what they are joined to
	replaced map[rowKey]int64              // keys that frames of this step overwrite, with the frame

	out      []*segment
	unsynced []*os.File // of out
	packing  packing    // of the small ones of out
	complete bool       // all segments are written

	// border is the time before which rows are left out; nil: none are.
	border *int64
	// Rollups that the step makes, deletes, and leaves without their sources.
	rolled, unrolled, finished []*segment

	carried     *frame // nil: none
	carriedData []byte

	// heir is a segment that takes over the overwritten keys of a step that left
	// no rows, and inherited all that it notes then. nil: none.
	heir      *segment
	inherited []replacedKey
}

// decode reads the frames' rows. A frame that cannot be read is set aside,
// because it would hold up all that follow.
func (c *compaction) decode(ctx context.Context, frames []*frame) error {
	c.byTable = map[uint32][]*telemetry.Section{}
	c.countSmall(frames)
	for _, f := range frames {
		for _, k := range f.replaced {
			if c.replaced == nil {
				c.replaced = map[rowKey]int64{}
			}
			c.replaced[k] = max(c.replaced[k], f.id)
		}
	}
	for _, f := range frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.decodeFrame(f); err != nil {
			if telemetry.CodeOf(err) != telemetry.CodeDamaged {
				return err
			}
			if err := c.s.setAside(f, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *compaction) decodeFrame(f *frame) error {
	fr, err := c.s.openFrame(f)
	if err != nil {
		return err
	}
	var secs []*telemetry.Section
	var lost error
	rows, bytes := 0, 0
	for i, p := range fr.Sections() {
		v := c.s.version(p.TableID)
		if v == nil {
			lost = telemetry.Errorf(telemetry.CodeDamaged, "compact", "frame %d has unknown table %d", f.id, p.TableID)
			secs = append(secs, nil)
			continue
		}
		sec := c.section(i, v.table, p.Rows)
		if _, err := fr.ReadSection(i, sec, v.table, v.cols, true); err != nil {
			return c.s.readError("frame", f.id, err)
		}
		sec.Table = v.table
		if c.replaced != nil {
			keepRows(sec, func(row int) bool { return c.replaced[rowKey{sec.Series[row], sec.Time[row]}] > f.id })
		}
		secs = append(secs, sec)
		rows, bytes = rows+sec.Rows(), bytes+sec.SizeBytes()
	}
	c.tn.rowBytes = max(c.tn.rowBytes*7/8, int64(rowOverhead+bytes/max(rows, 1)))
	for i, p := range fr.Sections() {
		if secs[i] != nil {
			c.add(c.s.version(p.TableID), secs[i], p.Rows)
		}
	}
	if lost != nil {
		return c.s.setAside(f, lost) // for the rows of that table; the others go on
	}
	return nil
}

// setAside copies what can be had of a damaged frame to a file, so that a person
// can look at it, and lets compaction go on.
func (s *Store) setAside(f *frame, cause error) error {
	data, err := s.frameBytes(f)
	if err != nil && telemetry.CodeOf(err) != telemetry.CodeDamaged {
		return err
	}
	path, err := s.keepDamaged(fmt.Sprintf("frame-%d", f.id), data)
	if err != nil {
		return fmt.Errorf("set damaged frame aside: %w", err)
	}
	s.opt.Logger.Error("a damaged frame of level 0 was set aside", "file", path, "rows", f.rows, "error", cause)
	return nil
}

// write sorts the rows of each table and writes their segments.
func (c *compaction) write(ctx context.Context) error {
	for _, v := range c.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		secs := c.byTable[v.id]
		merger := c.s.mergerOf(v)
		for _, sec := range secs {
			merger.Add(sec)
		}
		w := &segmentsWriter{c: c, v: v, arrivals: merger.Arrivals(), parts: c.s.partsOf(secs)}
		err := merger.Merge(w.append)
		merger.Reset()
		if err = errors.Join(err, w.close(err == nil)); err != nil {
			return fmt.Errorf("write segment of %s: %w", v.table.Name, err)
		}
		delete(c.byTable, v.id)
	}
	return nil
}

// discard removes the files of a step that failed.
func (c *compaction) discard() {
	for _, f := range c.unsynced {
		_ = f.Close() // it goes
	}
	c.unsynced = nil
	for _, g := range append(c.out, c.rolled...) {
		c.s.removeSegment(g)
	}
}

// enter makes the step's segments part of the catalog in the transaction that
// takes their sources out: frames, or other segments.
func (c *compaction) enter(frames []*frame, segs []*segment) error {
	s := c.s
	c.complete = true
	if err := errors.Join(c.finishPack(), c.syncAll()); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "sync segments", "%w", err)
	}
	for _, g := range slices.Concat(c.out, c.rolled) {
		if _, err := s.openSegment(g); err != nil {
			return fmt.Errorf("check new segment: %w", err)
		}
	}
	if len(c.out)+len(c.rolled) > 0 {
		if err := durable.SyncDir(filepath.Join(s.opt.Dir, segmentDir)); err != nil {
			return fmt.Errorf("sync segment directory: %w", err)
		}
	}
	c.assignReplaced(segs)
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return errClosed("compact")
	}
	m := c.tn.manifest
	m.raise(frames, c.carried)
	err := s.w.transaction(func() error {
		for _, g := range c.out {
			if err := s.insertSegment(&m, g); err != nil {
				return err
			}
		}
		for _, g := range segs {
			if err := s.deleteSegment(&m, g); err != nil {
				return err
			}
		}
		if g := c.heir; g != nil {
			if err := s.updateSegment(&m, g, encodeReplacedBy(c.inherited)); err != nil {
				return err
			}
		}
		if f := c.carried; f != nil {
			if err := s.insertFrame(c.tn, f, s.tailNow(c.tn), c.carriedData); err != nil {
				return err
			}
		}
		if err := c.enterRollups(&m); err != nil {
			return err
		}
		return s.saveManifest(c.tn, &m)
	})
	if err != nil {
		return err
	}
	c.tn.manifest = m
	s.doomed = append(s.doomed, frames...)
	c.publish(len(frames), segs)
	s.recent.drop(frames)
	return nil
}

// publish shows readers the new segments in place of their sources.
func (c *compaction) publish(frames int, segs []*segment) {
	s := c.s
	s.mu.Lock()
	for _, f := range c.tn.frames[:frames] {
		c.tn.level0Rows -= f.rows
	}
	rest := make([]*frame, 0, len(c.tn.frames)-frames+1)
	if f := c.carried; f != nil {
		rest = append(rest, f)
		c.tn.level0Rows += f.rows
	}
	if frames > 0 {
		c.tn.carriedRows = 0
		if f := c.carried; f != nil {
			c.tn.carriedRows = f.rows
		}
	}
	c.tn.frames = append(rest, c.tn.frames[frames:]...)
	close(s.published)
	s.published = make(chan struct{})
	gone := make(map[*segment]bool, len(segs))
	for _, g := range segs {
		gone[g] = true
	}
	kept := make([]*segment, 0, len(c.tn.segs)+len(c.out))
	for _, g := range c.tn.segs {
		if !gone[g] {
			kept = append(kept, g)
		}
	}
	kept = append(kept, c.out...)
	if c.heir != nil {
		c.heir.replaced = c.inherited
	}
	sort.SliceStable(kept, func(i, j int) bool { return kept[i].arrival < kept[j].arrival })
	c.tn.segs = kept
	segs = append(slices.Clone(segs), c.publishRollups()...)
	for _, g := range segs {
		g.pins.Add(1) // so that exactly one unpin below or later removes the file
		g.removed.Store(true)
		if g.deletion != nil {
			s.deletionBytes.Add(-g.deletion.memory())
		}
	}
	s.mu.Unlock()
	for _, g := range segs {
		s.unpinSegment(g)
	}
}
