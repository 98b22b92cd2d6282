package embedded

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// With hundreds of tables each step of the compaction leaves a few hundred rows of
// each. A file for each costs more to create, sync and unlink than its bytes, so
// the small segments of one step share a file, the pack. docs/format/catalog.md
// describes it.

const packExt = ".pack"

// pack is a file of several segments.
type pack struct {
	id   int64
	file *segmentFile
	live atomic.Int32 // segments whose share is not removed
}

func (s *Store) newPack(id int64) *pack {
	path := filepath.Join(s.opt.Dir, segmentDir, fmt.Sprintf("%016x"+packExt, id))
	return &pack{id: id, file: &segmentFile{files: &s.files, path: path}}
}

func (g *segment) packID() int64 {
	if g.pack == nil {
		return 0
	}
	return g.pack.id
}

// packedBytes is how much of a segment waits in memory for the end that decides
// whether it is small.
const packedBytes = 2 << 20

// output takes the bytes of a segment: in memory while they may become a part of a
// pack, else in a file of their own.
type output struct {
	s    *Store
	id   int64
	buf  []byte
	file *steadyFile // nil: in memory
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	if o.file == nil && len(o.buf)+len(p) > packedBytes {
		if err := o.spill(); err != nil {
			return 0, err
		}
	}
	if o.file != nil {
		return o.file.Write(p)
	}
	o.buf = append(o.buf, p...)
	return len(p), nil
}

// spill gives the segment a file of its own.
func (o *output) spill() error {
	if o.file != nil {
		return nil
	}
	f, err := createSegment(o.s.segmentPath(o.id))
	if err != nil {
		return err
	}
	o.file = f
	_, err = f.Write(o.buf)
	o.buf = nil
	return err
}

// discard removes the file.
func (o *output) discard() error {
	if o.file == nil {
		return nil
	}
	return errors.Join(o.file.f.Close(), os.Remove(o.s.segmentPath(o.id)))
}

func createSegment(path string) (*steadyFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "create segment", "%w", err)
	}
	return &steadyFile{f: f}, nil
}

// packing is the pack that a step writes.
type packing struct {
	first    *segment // the only small segment until now, in firstBuf
	firstBuf []byte
	pack     *pack // nil until there is a second
	file     *steadyFile
}

// addSmall takes a finished small segment.
func (c *compaction) addSmall(g *segment, data []byte) error {
	p := &c.packing
	if p.pack == nil && p.first == nil {
		p.first, p.firstBuf = g, data
		return nil
	}
	if p.pack == nil {
		made := c.s.newPack(c.s.nextSegment.Add(1) - 1)
		f, err := createSegment(made.file.path)
		if err != nil {
			return err
		}
		p.pack, p.file = made, f
		c.unsynced = append(c.unsynced, f.f)
		if err := p.append(p.first, p.firstBuf); err != nil {
			return err
		}
		p.first, p.firstBuf = nil, nil
	}
	return p.append(g, data)
}

func (p *packing) append(g *segment, data []byte) error {
	g.pack, g.start = p.pack, p.file.size
	p.pack.live.Add(1)
	_, err := p.file.Write(data)
	return err
}

// finishPack gives a small segment that remained alone a file of its own.
func (c *compaction) finishPack() error {
	p := &c.packing
	if p.first == nil {
		return nil
	}
	f, err := createSegment(c.s.segmentPath(p.first.id))
	if err != nil {
		return err
	}
	c.unsynced = append(c.unsynced, f.f)
	_, err = f.Write(p.firstBuf)
	p.first, p.firstBuf = nil, nil
	return err
}

// footerCache bounds how many footers of segments are kept, the least recently used
// go first: a node with hundreds of tables and years of days has more segments
// than memory for them.
type footerCache struct {
	mu    sync.Mutex
	limit int64
	bytes int64
	order list.List // of *segment, most recent first
	at    map[*segment]footerEntry
}

type footerEntry struct {
	e    *list.Element
	size int64
}

// use notes that the segment's footer, which is in memory, is used; g.mu is held.
func (c *footerCache) use(g *segment) {
	size := footerSize(g.opened)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = map[*segment]footerEntry{}
	}
	if f, ok := c.at[g]; ok {
		c.order.MoveToFront(f.e)
		return
	}
	c.at[g] = footerEntry{c.order.PushFront(g), size}
	c.bytes += size
	for e := c.order.Back(); c.bytes > c.limit && e != nil && e.Value != g; {
		old, before := e.Value.(*segment), e.Prev()
		if old.mu.TryLock() { // else it is in use
			old.opened = nil
			c.forget(old)
			old.mu.Unlock()
		}
		e = before
	}
}

// drop forgets a segment; g.mu is held.
func (c *footerCache) drop(g *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(g)
}

func (c *footerCache) forget(g *segment) {
	if f, ok := c.at[g]; ok {
		c.order.Remove(f.e)
		c.bytes -= f.size
		delete(c.at, g)
	}
}

// footerSize is about how much memory an open segment takes.
func footerSize(seg *chunk.Segment) int64 {
	t := seg.Table()
	return 1024 + 64*int64(len(seg.Blocks())) + 96*int64(len(t.Columns)) + 32*int64(len(t.Tags))
}
