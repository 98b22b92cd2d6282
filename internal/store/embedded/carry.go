package embedded

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// carry takes the tables with few rows out of the step and puts them into one
// frame, which stays the oldest of level 0. With hundreds of tables each step
// would otherwise write, sync and later merge hundreds of tiny files. Rows are
// carried for at most CompactAge, and fill at most half of a step.
func (c *compaction) carry(frames []*frame) error {
	s := c.s
	oldest := frames[0].created
	if c.arrival%frameStep != 0 || len(c.replaced) > 0 ||
		s.opt.Now().Sub(time.Unix(0, oldest)).Abs() >= s.opt.CompactAge {
		return nil
	}
	small := slices.Clone(c.order)
	slices.SortStableFunc(small, func(a, b *tableVersion) int { return c.rowsOf(a) - c.rowsOf(b) })
	f := &frame{id: c.arrival + 1, created: oldest, minTime: maxTime, maxTime: minTime}
	var secs []chunk.FrameSection
	for _, v := range small {
		n := c.rowsOf(v)
		if n >= s.opt.CarryRows || f.rows+n > s.compactRows(c.tn)/2 {
			break
		}
		if n > 0 {
			f.rows += n
			secs = append(secs, chunk.FrameSection{TableID: v.id, Section: c.take(v)})
		}
	}
	if f.rows == 0 {
		return nil
	}
	var err error
	if c.carriedData, err = chunk.AppendFrame(nil, secs, chunk.FrameOptions{}); err != nil {
		return fmt.Errorf("carry rows of small tables: %w", err)
	}
	f.size = len(c.carriedData)
	f.mu.Lock()
	_, err = s.openFrameBytes(f, c.carriedData) // it is read from the catalog when it is needed
	f.mu.Unlock()
	if err != nil {
		return err
	}
	for _, p := range f.parts {
		f.minTime, f.maxTime = min(f.minTime, p.MinTime), max(f.maxTime, p.MaxTime)
	}
	c.carried = f
	c.rowsIn -= int64(f.rows)
	return nil
}

func (c *compaction) rowsOf(v *tableVersion) int {
	n := 0
	for _, sec := range c.byTable[v.id] {
		n += sec.Rows()
	}
	return n
}

// take joins the rows of a table, in the order of arrival, and takes them out
// of the step.
func (c *compaction) take(v *tableVersion) *telemetry.Section {
	joined := &telemetry.Section{}
	joined.Reset(v.table)
	for _, sec := range c.byTable[v.id] {
		appendRows(joined, sec, 0, sec.Rows())
	}
	delete(c.byTable, v.id)
	c.order = slices.DeleteFunc(c.order, func(o *tableVersion) bool { return o == v })
	return joined
}
