package embedded

import "github.com/weir-telemetry/weir/internal/telemetry"

// joinedRows is below how many rows a section of a frame is joined with its
// neighbours: at middling rates a compaction takes thousands of frames of few
// rows, and what a section takes besides its rows would be most of its memory.
const joinedRows = 1024

// countSmall counts the rows that will be joined, so that they get exactly the
// memory that they need.
func (c *compaction) countSmall(frames []*frame) {
	c.small, c.joined = map[uint32]int{}, map[uint32]*telemetry.Section{}
	for _, f := range frames {
		parts, err := c.s.frameParts(f)
		if err != nil {
			continue // decode meets it again
		}
		for _, p := range parts {
			if p.Rows < joinedRows {
				c.small[p.TableID] += p.Rows
			}
		}
	}
}

// section returns where a section of so many rows, the i-th of a frame, is decoded.
func (c *compaction) section(i int, t *telemetry.Table, rows int) *telemetry.Section {
	if rows >= joinedRows {
		return c.s.pool.get(t, rows)
	}
	p := &c.s.pool
	for len(p.small) <= i {
		p.small = append(p.small, &telemetry.Section{})
	}
	return p.small[i]
}

// add takes a decoded section, in the order of arrival; decoded is how many rows
// the frame held.
func (c *compaction) add(v *tableVersion, sec *telemetry.Section, decoded int) {
	if _, known := c.byTable[v.id]; !known {
		c.order = append(c.order, v)
	}
	c.rowsIn += int64(sec.Rows())
	secs := c.byTable[v.id]
	if decoded >= joinedRows {
		c.byTable[v.id] = append(secs, sec)
		return
	}
	to := c.joined[v.id]
	if to == nil || secs[len(secs)-1] != to || to.Rows()+sec.Rows() > cap(to.Series) {
		room := c.small[v.id]
		if to != nil {
			// Large sections stand between, or a frame was not counted.
			room = min(room, 8*joinedRows)
		}
		to = c.s.pool.get(v.table, max(room, sec.Rows()))
		to.Reset(v.table)
		c.joined[v.id] = to
		c.byTable[v.id] = append(secs, to)
	}
	appendRows(to, sec, 0, sec.Rows())
	c.small[v.id] -= decoded
}
