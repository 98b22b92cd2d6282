package embedded

import (
	"container/list"
	"strconv"
	"sync"

	"github.com/weir-telemetry/weir/internal/chunk"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// headCache keeps the heads of segment blocks, their runs and statistics, which
// look-ups and queries read far more often than the rows. Least recently used
// heads go first.
type headCache struct {
	mu    sync.Mutex
	limit int64
	bytes int64
	order list.List // of *headEntry, most recent first
	byKey map[headKey]*list.Element
}

type headKey struct {
	segment int64
	block   int
}

type headEntry struct {
	key  headKey
	head *chunk.Head
	size int64
}

func (c *headCache) get(k headKey) *chunk.Head {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*headEntry).head
}

func (c *headCache) put(k headKey, h *chunk.Head, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = map[headKey]*list.Element{}
	}
	if c.byKey[k] != nil {
		return
	}
	c.byKey[k] = c.order.PushFront(&headEntry{k, h, size})
	c.bytes += size
	for c.bytes > c.limit && c.order.Len() > 1 {
		e := c.order.Back()
		old := c.order.Remove(e).(*headEntry)
		delete(c.byKey, old.key)
		c.bytes -= old.size
	}
}

// segmentHead returns the head of a block.
func (s *Store) segmentHead(g *segment, seg *chunk.Segment, block int) (*chunk.Head, error) {
	k := headKey{g.id, block}
	if h := s.heads.get(k); h != nil {
		return h, nil
	}
	h, err := seg.Head(block)
	if err != nil {
		return nil, s.readError("segment", g.id, err)
	}
	// A run takes 40 bytes and its statistics 32 for each column.
	s.heads.put(k, h, int64(256+len(h.Runs())*(40+32*len(g.v.table.Columns))))
	return h, nil
}
