package query

import (
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// chunkRows is how many rows are computed at a time: few enough that their
// vectors stay in the cache. It is a multiple of 64, so that null bits align.
const chunkRows = 4096

// chunk is a stretch of the rows of one decoded unit.
type chunk struct {
	n       int
	lo      int // position in the unit
	section *telemetry.Section
	version int64
	unit    int // counts the units that the worker has decoded
	worker  *worker
}

func (c *chunk) series() []telemetry.SeriesRef { return c.section.Series[c.lo : c.lo+c.n] }
func (c *chunk) times() []int64                { return c.section.Time[c.lo : c.lo+c.n] }

// node computes an expression for the rows of a chunk. A vec that it returns
// is valid until the next call.
type node interface {
	eval(c *chunk) (*vec, error)
}

// seriesText holds the values of one tag, or of the topic, by series: an index
// into dict for each ref, resolved when it is first met.
type seriesText struct {
	ids  bySeries[uint32] // 0: not resolved, 1: null, else index+2
	dict []string
	seen map[string]uint32
	get  func(store.SeriesInfo) store.Tag
}

func (s *seriesText) id(scan store.Scan, ref telemetry.SeriesRef) uint32 {
	known := s.ids.at(ref)
	if *known != 0 {
		return *known
	}
	tag := s.get(scan.Series(ref))
	id := uint32(1)
	if !tag.Null {
		var ok bool
		if id, ok = s.seen[tag.Value]; !ok {
			id = uint32(len(s.dict)) + 2
			s.dict = append(s.dict, tag.Value)
			s.seen[tag.Value] = id
		}
	}
	*known = id
	return id
}

type constNode struct{ v *vec }

func (n constNode) eval(*chunk) (*vec, error) { return n.v, nil }

type fieldNode struct {
	column int // in the section
	v      vec
}

func (n *fieldNode) eval(c *chunk) (*vec, error) {
	n.v.view(&c.section.Columns[n.column], c.lo, c.n)
	return &n.v, nil
}

type timeNode struct {
	received bool
	v        vec
}

func (n *timeNode) eval(c *chunk) (*vec, error) {
	t := c.section.Time
	if n.received {
		t = c.section.Received
	}
	n.v.reserve(vecTime, c.n)
	for i, ns := range t[c.lo : c.lo+c.n] {
		n.v.bits[i] = uint64(ns)
	}
	return &n.v, nil
}

type versionNode struct{ v vec }

func (n *versionNode) eval(c *chunk) (*vec, error) {
	n.v = vec{kind: vecInt, con: true, bits: append(n.v.bits[:0], uint64(c.version))}
	return &n.v, nil
}

type tagNode struct {
	text *seriesText
	v    vec
}

func (n *tagNode) eval(c *chunk) (*vec, error) {
	n.v.reserve(vecText, c.n)
	last, id := telemetry.SeriesRef(0), uint32(0)
	for i, ref := range c.series() {
		if id == 0 || ref != last {
			id, last = n.text.id(c.worker.scan, ref), ref
		}
		if id == 1 {
			n.v.nulls = n.v.nulls.Set(i)
			n.v.bits[i] = 0
			continue
		}
		n.v.bits[i] = uint64(id - 2)
	}
	n.v.dict = n.text.dict
	if n.v.dict == nil {
		n.v.dict = emptyDict
	}
	return &n.v, nil
}

var emptyDict = []string{""}
