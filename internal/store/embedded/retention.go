package embedded

import (
	"context"
	"slices"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Readings go by whole partitions, when the youngest reading that a partition can
// hold is older than the retention. Segments that hold the few rows of many
// partitions are written anew without the old ones, when those are older by another
// eighth of the retention and at least a partition, so that a row is written anew
// a few times at most.

// retirePerStep bounds the segments that one transaction deletes.
const retirePerStep = 256

// retire deletes readings of a table that are too old, if there are any, and makes
// the rollups final that stand for them.
func (s *Store) retire(ctx context.Context, tn *tenant, p *tablePolicy, now int64) (bool, error) {
	if p.Retention <= 0 || now == 0 || now < minTime+int64(p.Retention) {
		return false, nil
	}
	cut := s.partitionOf(now - int64(p.Retention)) // partitions below it are old
	parts := make([]int64, 0, len(p.parts))
	for part := range p.parts {
		if part < cut {
			parts = append(parts, part)
		}
	}
	if len(parts) > 0 {
		return true, s.retirePartitions(ctx, tn, p, parts, now)
	}
	slack := max(int64(s.opt.Partition), int64(p.Retention)/8)
	border, _, ok := s.partitionBounds(cut)
	for _, g := range p.mixed {
		if ok && (g.maxTime < border || g.minTime < border-slack && !g.isUnmergeable(s)) {
			return true, s.retireMixed(ctx, tn, p, g, border, now)
		}
	}
	return false, nil
}

// retirePartitions deletes whole partitions, the oldest first: one, where rollups
// must be made of it, or many.
func (s *Store) retirePartitions(ctx context.Context, tn *tenant, p *tablePolicy, parts []int64, now int64) error {
	slices.Sort(parts)
	groups, overwritten := s.rollupsOf(tn, p.name.name), p.overwritten
	c := &compaction{s: s, tn: tn}
	var gone []*segment
	for _, part := range parts {
		segs := p.parts[part]
		if len(gone)+len(segs) > retirePerStep && len(gone) > 0 {
			break
		}
		_, to, _ := s.partitionBounds(part)
		widths := p.widthsAt(to, now)
		readable := s.readable(segs)
		have := coverOf(groups[part], overwritten[part], readable)
		switch {
		case len(widths) == 0 || len(readable) == 0 || have.complete(widths):
			if have.group != nil {
				c.finished = append(c.finished, have.group.widths...)
			}
			for _, g := range have.all {
				if have.group == nil || !slices.Contains(have.group.widths, g) {
					c.unrolled = append(c.unrolled, g)
				}
			}
			gone = append(gone, segs...)
			continue
		case len(gone) > 0: // first those that need no work
			continue
		}
		c.unrolled = have.all
		if err := c.rollUp(ctx, p.name, part, readable, widths, maxTime, true); err != nil {
			c.discard()
			return s.mergeFailed(readable, err)
		}
		gone = segs
		break
	}
	return s.enterRetired(c, p, gone)
}

// retireMixed deletes the rows before border from a segment of many partitions.
func (s *Store) retireMixed(ctx context.Context, tn *tenant, p *tablePolicy, g *segment, border, now int64) error {
	c := &compaction{s: s, tn: tn, border: &border}
	segs := []*segment{g}
	if widths := p.widthsAt(min(border, g.maxTime+1), now); len(widths) > 0 && !g.isUnmergeable(s) {
		if err := c.rollUp(ctx, p.name, mixedPartition, segs, widths, border, true); err != nil {
			c.discard()
			return s.mergeFailed(segs, err)
		}
	}
	if g.maxTime >= border {
		keys, _ := s.pendingReplaced(tn)
		if err := c.mergeRows(ctx, segs, keys); err != nil {
			c.discard()
			return s.mergeFailed(segs, err)
		}
	}
	return s.enterRetired(c, p, segs)
}

// enterRetired makes a step of retention durable, after the time that it goes by.
func (s *Store) enterRetired(c *compaction, p *tablePolicy, gone []*segment) error {
	if err := s.saveTime(); err != nil {
		c.discard()
		return err
	}
	rows, bytes := int64(0), int64(0)
	for _, g := range gone {
		rows, bytes = rows+g.rows, bytes+g.size
	}
	if err := s.enterRolled(c, gone); err != nil {
		return err
	}
	for _, g := range c.out {
		rows, bytes = rows-g.rows, bytes-g.size
	}
	s.stats.retiredRows.Add(rows)
	s.stats.retiredBytes.Add(bytes)
	s.opt.Logger.Info("readings older than the retention were deleted", "table", p.name.name, "retention", telemetry.Span(p.Retention),
		"segments", len(gone), "rows", rows, "bytes", bytes, "rollups", len(c.rolled)+len(c.finished))
	return nil
}

// youngSource leaves out rows before a time.
type youngSource struct {
	src    chunk.Source
	border int64
}

// Next implements chunk.Source.
func (y *youngSource) Next(dst *telemetry.Section) (bool, error) {
	for {
		ok, err := y.src.Next(dst)
		if !ok || err != nil {
			return ok, err
		}
		keepRows(dst, func(row int) bool { return dst.Time[row] < y.border })
		if dst.Rows() > 0 {
			return true, nil
		}
	}
}
