package chunk

import (
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Source gives rows sorted by (series, time), a section at a time.
type Source interface {
	// Next overwrites dst with the next rows and returns false at the end.
	Next(dst *telemetry.Section) (bool, error)
}

// Source returns a Source of the segment's rows.
func (s *Segment) Source() Source { return &segmentSource{s: s} }

type segmentSource struct {
	s    *Segment
	next int
	cols []int
}

func (r *segmentSource) Next(dst *telemetry.Section) (bool, error) {
	if r.next >= len(r.s.blocks) {
		return false, nil
	}
	if r.cols == nil {
		r.cols = AllColumns(r.s.table)
	}
	_, err := r.s.ReadBlock(r.next, dst, r.cols, true)
	r.next++
	return err == nil, err
}

// cursor is a source with the section that is being read from it.
type cursor struct {
	src  Source
	sec  telemetry.Section
	at   int
	done bool
}

func (c *cursor) key() key { return key{c.sec.Series[c.at], c.sec.Time[c.at]} }

// advance moves on by n rows, to the next section where this one ends.
func (c *cursor) advance(n int) error {
	c.at += n
	for !c.done && c.at >= c.sec.Rows() {
		more, err := c.src.Next(&c.sec)
		if err != nil {
			return err
		}
		c.at, c.done = 0, !more
	}
	return nil
}

func (k key) compare(o key) int {
	switch {
	case k.series != o.series:
		if k.series < o.series {
			return -1
		}
		return 1
	case k.time != o.time:
		if k.time < o.time {
			return -1
		}
		return 1
	}
	return 0
}

// MergeSources merges sorted sources of one table into one order, holding one
// section of each in memory. Sources are given from the oldest arrival to the
// newest: rows with equal keys keep that order, and with IdentityTime the
// newest wins. The section that yield gets is valid until yield returns.
func MergeSources(t *telemetry.Table, sources []Source, yield func(*telemetry.Section) error) error {
	cursors := make([]*cursor, 0, len(sources))
	for _, src := range sources {
		c := &cursor{src: src}
		if err := c.advance(0); err != nil {
			return err
		}
		cursors = append(cursors, c)
	}
	overwrites := t.Identity == telemetry.IdentityTime
	var out telemetry.Section
	out.Reset(t)
	for {
		cursors = slices.DeleteFunc(cursors, func(c *cursor) bool { return c.done })
		if len(cursors) == 0 {
			break
		}
		least, limit, limited := pick(cursors)
		c := cursors[least.index]
		last := out.Rows() - 1
		if overwrites && last >= 0 && (key{out.Series[last], out.Time[last]}) == least.key {
			dropLast(&out)
		} else if out.Rows() >= mergeRows {
			if err := yield(&out); err != nil {
				return err
			}
			out.Reset(t)
		}
		n := c.until(limit, limited, overwrites)
		appendRows(&out, &c.sec, c.at, c.at+n)
		if err := c.advance(n); err != nil {
			return err
		}
	}
	if out.Rows() == 0 {
		return nil
	}
	return yield(&out)
}

// front is the next row of a cursor.
type front struct {
	key   key
	index int
}

func (f front) before(o front) bool {
	if d := f.key.compare(o.key); d != 0 {
		return d < 0
	}
	return f.index < o.index
}

// pick returns the least front, and the one after it, which bounds how many rows
// can be taken at once.
func pick(cursors []*cursor) (least, next front, limited bool) {
	least = front{cursors[0].key(), 0}
	for i, c := range cursors[1:] {
		f := front{c.key(), i + 1}
		switch {
		case f.before(least):
			least, next = f, least
		case !limited || f.before(next):
			next = f
		}
		limited = true
	}
	// Rows equal to the next front may only be taken if this source is older;
	// its index stands for that.
	next.index -= least.index
	return least, next, limited
}

// until counts the rows that may be taken before the limit: at least one, and
// with overwrites no two of one key.
func (c *cursor) until(limit front, limited, overwrites bool) int {
	rows := c.sec.Rows()
	n := 1
	for at := c.at + 1; at < rows && n < mergeRows; at++ {
		k := key{c.sec.Series[at], c.sec.Time[at]}
		if limited {
			if d := k.compare(limit.key); d > 0 || d == 0 && limit.index < 0 {
				break
			}
		}
		if overwrites && k == (key{c.sec.Series[at-1], c.sec.Time[at-1]}) {
			break
		}
		n++
	}
	return n
}

// dropLast takes the last row off.
func dropLast(sec *telemetry.Section) {
	n := sec.Rows() - 1
	sec.Series, sec.Time, sec.Received = sec.Series[:n], sec.Time[:n], sec.Received[:n]
	for i := range sec.Columns {
		v := &sec.Columns[i]
		if w := n >> 6; w < len(v.Nulls) {
			v.Nulls[w] &^= 1 << (uint(n) & 63)
		}
		if !v.Type.Textual() || v.Dict != nil {
			v.Bits = v.Bits[:n]
			continue
		}
		v.Ends = v.Ends[:n]
		v.Bytes = v.Bytes[:textEnd(v, n)]
	}
}

func textEnd(v *telemetry.Vector, rows int) int {
	if rows == 0 {
		return 0
	}
	return int(v.Ends[rows-1])
}

// MergeArrivals joins the arrival tables of segments that are merged, and of
// fresh rows where more are given; nil where the result would not pay.
func MergeArrivals(segs []*Segment, more ...*Arrivals) (*Arrivals, error) {
	all := &Arrivals{}
	for _, s := range segs {
		a, err := s.readArrivals()
		if err != nil {
			return nil, err
		}
		all.entries = append(all.entries, a.entries...)
		if len(a.entries) > 0 {
			all.rows += int(s.meta.Rows)
		}
	}
	for _, a := range more {
		if a != nil {
			all.entries = append(all.entries, a.entries...)
			all.rows += a.rows
		}
	}
	if !all.Pays() {
		return nil, nil
	}
	all.Seal()
	return all, nil
}
