package embedded

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// carry takes the tables with few rows out of the step and puts them into one
// frame, which stays the oldest of level 0, so that a slow stream makes no tiny
// segments. Rows are carried for at most CompactAge, and only while they are few
// altogether: carrying writes them again, and with many tables a pack of many
// small segments is worth more.
func (c *compaction) carry(frames []*frame) error {
	s := c.s
	oldest := frames[0].created
	if c.arrival%frameStep != 0 || len(c.replaced) > 0 ||
		s.opt.Now().Sub(time.Unix(0, oldest)).Abs() >= s.opt.CompactAge {
		return nil
	}
	small, rows := []*tableVersion(nil), 0
	for _, v := range c.order {
		if n := c.rowsOf(v); n > 0 && n < s.opt.CarryRows {
			small = append(small, v)
			rows += n
		}
	}
	if rows > min(carryTables*s.opt.CarryRows, s.compactRows(c.tn)/2) {
		return nil
	}
	f := &frame{id: c.arrival + 1, created: oldest, minTime: maxTime, maxTime: minTime, tag: s.newTag()}
	var secs []chunk.FrameSection
	for _, v := range small {
		f.rows += c.rowsOf(v)
		secs = append(secs, chunk.FrameSection{TableID: v.id, Section: c.take(v)})
	}
	if f.rows == 0 {
		return nil
	}
	o, err := s.frameOptions(c.tn, f)
	if err != nil {
		return err
	}
	if c.carriedData, err = chunk.AppendFrame(nil, secs, o); err != nil {
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

// carryTables is how many tables of nearly CarryRows are carried.
const carryTables = 2

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
