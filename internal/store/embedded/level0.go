package embedded

import (
	"database/sql/driver"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// rowKey names the rows of one series at one time.
type rowKey struct {
	series telemetry.SeriesRef
	time   int64
}

// frame is a level-0 frame: the fresh rows of one commit and tenant. Its bytes
// stand in the catalog, and in memory while it is recent.
type frame struct {
	id               int64
	created          int64 // ns UTC
	rows             int
	size             int
	minTime, maxTime int64
	// replaced lists keys whose rows in older frames and in segments are
	// overwritten by this frame (IdentityTime).
	replaced []rowKey

	number int64  // in the order of commits, without gaps; 0 for a carried one
	tag    []byte // random, of a sealed store: ties the data to the row

	pins atomic.Int32 // scans and look-ups that read it

	mu     sync.Mutex
	opened *chunk.Frame // nil when the bytes are not in memory
	parts  []chunk.FrameMeta
	blooms []bloom // parallel to parts, built by look-ups
	broken error   // why it cannot be read
}

// appendReplaced encodes keys for the catalog.
func appendReplaced(dst []byte, keys []rowKey) []byte {
	for _, k := range keys {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(k.series))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(k.time))
	}
	return dst
}

func decodeReplaced(data []byte) []rowKey {
	var keys []rowKey
	for ; len(data) >= 12; data = data[12:] {
		keys = append(keys, rowKey{
			series: telemetry.SeriesRef(binary.LittleEndian.Uint32(data)),
			time:   int64(binary.LittleEndian.Uint64(data[4:])),
		})
	}
	return keys
}

// frameCache keeps the bytes of recent frames, oldest out first.
type frameCache struct {
	mu    sync.Mutex
	queue []*frame
	bytes int64
	limit int64
}

// add keeps the frame's bytes, and lets go of older ones over the limit.
func (c *frameCache) add(f *frame) {
	c.mu.Lock()
	c.queue = append(c.queue, f)
	c.bytes += int64(f.size)
	var out []*frame
	for c.bytes > c.limit && len(c.queue) > 1 {
		out = append(out, c.queue[0])
		c.bytes -= int64(c.queue[0].size)
		c.queue = c.queue[1:]
	}
	c.mu.Unlock()
	for _, f := range out {
		f.mu.Lock()
		f.opened = nil
		f.mu.Unlock()
	}
}

// drop lets go of frames that compaction has replaced. A scan that has pinned
// one reads it from the catalog, where it stays until the scan ends.
func (c *frameCache) drop(frames []*frame) {
	gone := make(map[*frame]bool, len(frames))
	for _, f := range frames {
		gone[f] = true
		f.mu.Lock()
		f.opened, f.blooms = nil, nil
		f.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make([]*frame, 0, len(c.queue))
	c.bytes = 0
	for _, f := range c.queue {
		if !gone[f] {
			kept = append(kept, f)
			c.bytes += int64(f.size)
		}
	}
	c.queue = kept
}

// open returns the frame ready for reading. Frames that are no longer in memory
// are read from the catalog and not kept.
func (s *Store) openFrame(f *frame) (*chunk.Frame, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, f.broken
	}
	if f.opened != nil {
		return f.opened, nil
	}
	data, err := s.frameBytes(f)
	if err != nil {
		return nil, err
	}
	return s.openFrameBytes(f, data)
}

// frameBytes reads a frame from the catalog.
func (s *Store) frameBytes(f *frame) ([]byte, error) {
	var data []byte
	err := s.read(func(c *conn) error {
		return c.query("SELECT data FROM frames WHERE id = ?", func(row []driver.Value) error {
			data = asBytes(row[0])
			return nil
		}, f.id)
	})
	if err == nil && data == nil {
		err = telemetry.Errorf(telemetry.CodeDamaged, "read frame", "frame %d is missing in catalog.db", f.id)
	}
	return data, err
}

// openFrameBytes checks the bytes of a frame; f.mu is held.
func (s *Store) openFrameBytes(f *frame, data []byte) (*chunk.Frame, error) {
	fr, err := chunk.OpenFrame(data, chunk.FrameOptions{Keys: s.chunkKeys(), Identity: f.tag})
	if err != nil {
		f.broken = telemetry.Errorf(telemetry.CodeDamaged, "read frame", "frame %d in catalog.db: %v", f.id, err)
		s.damaged(f.broken)
		return nil, f.broken
	}
	f.parts = fr.Sections()
	return fr, nil
}

// frameParts describes the frame's sections.
func (s *Store) frameParts(f *frame) ([]chunk.FrameMeta, error) {
	f.mu.Lock()
	parts, broken := f.parts, f.broken
	f.mu.Unlock()
	if parts != nil || broken != nil {
		return parts, broken
	}
	fr, err := s.openFrame(f)
	if err != nil {
		return nil, err
	}
	return fr.Sections(), nil
}
