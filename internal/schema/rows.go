package schema

import (
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// row takes one element of the list of readings. Its values go to a row of their
// own; those that stand outside of the list are filled in by endRows.
func (c *Checker) row(item *node, pos int) int {
	p := c.plan
	if len(c.rows) >= p.maxRows() {
		return c.failAt(failRows, nil, pos)
	}
	n, t := len(p.table.Columns), p.payloadTags
	values, tags, time, timed := c.values, c.tags, c.time, c.timed
	c.rest, c.rowRest = c.rowRest[:0], c.rest

	// The arenas may move when they grow; rows that were cut before keep the old.
	base, tagBase := len(c.valueArena), len(c.tagArena)
	c.valueArena = slices.Grow(c.valueArena, n)[:base+n]
	c.tagArena = slices.Grow(c.tagArena, t)[:tagBase+t]
	c.values = c.valueArena[base : base+n : base+n]
	c.tags = c.tagArena[tagBase : tagBase+t : tagBase+t]
	c.timed = false
	c.nullRow()
	for i := range c.tags {
		c.tags[i] = TagValue{Null: true}
	}
	if pos = c.value(item, pos); pos < 0 {
		return -1
	}
	if p.restSlot >= 0 && len(c.rest) > 0 {
		start := len(c.arena)
		c.arena = append(c.arena, c.rest...)
		c.values[p.restSlot].Text = c.arena[start:len(c.arena):len(c.arena)]
	}
	c.rows = append(c.rows, Row{Time: c.time, HasTime: c.timed, Tags: c.tags, Values: c.values})

	c.values, c.tags, c.time, c.timed = values, tags, time, timed
	c.rest, c.rowRest = c.rowRest, c.rest
	return pos
}

// maxRows is how many readings one payload may hold: a short payload must not
// ask for rows of many columns without end.
func (p *Plan) maxRows() int {
	return min(MaxRows, maxRowValues/max(1, len(p.table.Columns)))
}

// endRows completes the rows with what stands outside of their list.
func (c *Checker) endRows() bool {
	p := c.plan
	for i := range c.rows {
		row := &c.rows[i]
		for _, s := range p.rowSlots {
			row.Values[s] = c.values[s]
		}
		for _, s := range p.rowTags {
			row.Tags[s] = c.tags[s]
		}
		if p.timeAs != timeNone && !row.HasTime {
			if row.Time, row.HasTime = c.time, c.timed; !c.timed {
				c.deferAt(failNoTime, nil, -1)
			}
		}
		if p.restSlot >= 0 {
			row.Values[p.restSlot] = c.joinedRest(row.Values[p.restSlot].Text)
		}
	}
	if c.deferred.kind != failNone {
		c.fail = c.deferred
		return false
	}
	return true
}

// joinedRest is the _rest of a row: the members of its element, then those
// outside of the list whose names the element does not have.
func (c *Checker) joinedRest(inner []byte) telemetry.Value {
	if len(inner) == 0 {
		return c.restValue(c.rest)
	}
	if len(c.rest) == 0 {
		return c.restValue(inner)
	}
	joined := append([]byte(nil), inner...)
	for outer := c.rest; len(outer) > 0; {
		name, end := member(outer)
		if !hasMember(inner, name) {
			joined = append(joined, outer[:end]...)
		}
		outer = outer[end:]
	}
	return c.restValue(joined)
}

// member returns the quoted name of the first member in buf, which stands as
// `"name":value,`, and where the member ends. The bytes were parsed before.
func member(buf []byte) (name []byte, end int) {
	close, _ := scanString(buf, 1)
	return buf[:close+1], endOfValue(buf, close+2) + 1
}

func hasMember(buf, name []byte) bool {
	for len(buf) > 0 {
		have, end := member(buf)
		if string(have) == string(name) {
			return true
		}
		buf = buf[end:]
	}
	return false
}

// endOfValue returns where a value ends that was parsed before.
func endOfValue(p []byte, pos int) int {
	depth := 0
	for pos < len(p) {
		switch p[pos] {
		case '"':
			pos, _ = scanString(p, pos+1)
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return pos
			}
			depth--
		case ',':
			if depth == 0 {
				return pos
			}
		}
		pos++
	}
	return pos
}
