package embedded

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// segment is an immutable segment file that the catalog names.
type segment struct {
	id        int64
	tn        *tenant
	v         *tableVersion
	partition int64 // number of the time partition, or mixedPartition
	arrival   int64 // id of the newest frame whose rows it holds
	created   int64
	rows      int64
	size      int64
	minTime   int64
	maxTime   int64

	// Guarded by Store.mu: keys that its rows, or rows merged into it, overwrote
	// in older segments, and whether a merge found it damaged.
	replaced    []replacedKey
	unmergeable bool

	pins    atomic.Int32 // scans and look-ups that read it
	removed atomic.Bool  // no longer in the catalog: the file goes when pins are 0

	mu     sync.Mutex
	file   *segmentFile
	opened *chunk.Segment
	broken error
}

func (s *Store) segmentPath(id int64) string {
	return filepath.Join(s.opt.Dir, segmentDir, fmt.Sprintf("%016x.seg", id))
}

// openSegment returns the segment ready for reading: its footer is read at the
// first use and kept, its file is opened when it is read. Damage found then is
// kept too: every later use reports it again. Other errors may pass.
func (s *Store) openSegment(g *segment) (*chunk.Segment, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil || g.broken != nil {
		return g.opened, g.broken
	}
	path := s.segmentPath(g.id)
	file := &segmentFile{files: &s.files, path: path}
	f, err := file.acquire()
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			g.broken = telemetry.Errorf(telemetry.CodeDamaged, "open segment", "segment file %s is missing", path)
			s.damaged(g.broken)
			return nil, g.broken
		}
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "open segment", "%v", err)
	}
	info, err := f.Stat()
	file.release()
	if err != nil {
		return nil, errors.Join(telemetry.Errorf(telemetry.CodeUnavailable, "open segment", "%v", err), file.close())
	}
	seg, err := chunk.OpenSegment(file, info.Size(), chunk.OpenOptions{Name: path})
	if err == nil {
		err = checkSegment(g, seg, path)
	}
	if err != nil {
		if telemetry.CodeOf(err) == telemetry.CodeDamaged {
			g.broken = err
			s.damaged(err)
		}
		return nil, errors.Join(err, file.close())
	}
	g.file, g.opened = file, seg
	return seg, nil
}

// checkSegment compares a file with what the catalog says of it.
func checkSegment(g *segment, seg *chunk.Segment, path string) error {
	m := seg.Meta()
	if m.TableID != g.v.id || m.Rows != g.rows || len(seg.Table().Columns) != len(g.v.table.Columns) {
		return telemetry.Errorf(telemetry.CodeDamaged, "open segment",
			"%s holds %d rows of table %d, the catalog says %d rows of table %d", path, m.Rows, m.TableID, g.rows, g.v.id)
	}
	return nil
}

// unpinSegment ends one use of a segment, and removes the file of one that the
// catalog has forgotten.
func (s *Store) unpinSegment(g *segment) {
	if g.pins.Add(-1) == 0 && g.removed.Load() {
		s.removeSegment(g)
	}
}

func (s *Store) removeSegment(g *segment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pins.Load() > 0 {
		return
	}
	if g.file != nil {
		if err := g.file.close(); err != nil {
			s.opt.Logger.Warn("close segment", "error", err)
		}
		g.file, g.opened = nil, nil
	}
	if err := os.Remove(s.segmentPath(g.id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		// It is an orphan now: the next start tries again.
		s.opt.Logger.Warn("remove segment", "error", err)
	}
}

// loadSegments reads the list of segments and removes files that it does not
// name: what a crash left of a compaction that was under way.
func (s *Store) loadSegments() error {
	known := map[int64]bool{}
	err := s.w.query("SELECT id, tenant, table_id, partition, arrival, created, rows, size, min_time, max_time, replaced, crc FROM segments ORDER BY arrival, id", func(row []driver.Value) error {
		known[asInt(row[0])] = true
		s.nextSegment.Store(max(s.nextSegment.Load(), asInt(row[0])+1))
		if !intact(row) {
			s.loseSegment(s.tenantOrAny(asInt(row[1])), asInt(row[0]), lostSegment{lo: minTime, hi: maxTime, err: damagedRow("segments", asInt(row[0]))})
			return nil
		}
		g := &segment{
			id: asInt(row[0]), tn: s.tenantByID(asInt(row[1])), v: s.versions[uint32(asInt(row[2]))],
			partition: asInt(row[3]), arrival: asInt(row[4]), created: asInt(row[5]),
			rows: asInt(row[6]), size: asInt(row[7]), minTime: asInt(row[8]), maxTime: asInt(row[9]), replaced: decodeReplacedBy(asBytes(row[10])),
		}
		if g.tn == nil {
			return telemetry.Errorf(telemetry.CodeDamaged, "load segments", "segment %d belongs to no tenant", g.id)
		}
		if id := uint32(asInt(row[2])); g.v == nil {
			s.nextTable = max(s.nextTable, id+1)
			if s.lostTables[id] == nil {
				s.lostTables[id] = &lostTable{err: telemetry.Errorf(telemetry.CodeDamaged, "load segments", "no row %d stands in table tables of %s", id, catalogFile)}
			}
			s.loseSegment(g.tn, g.id, lostSegment{rows: int(g.rows), lo: g.minTime, hi: g.maxTime, err: s.lostTables[id].err})
			return nil
		}
		g.tn.segs = append(g.tn.segs, g)
		return nil
	})
	if err != nil || s.opt.ReadOnly {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.opt.Dir, segmentDir))
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	for _, e := range entries {
		name, isSegment := strings.CutSuffix(e.Name(), ".seg")
		id, err := strconv.ParseInt(name, 16, 64)
		if isSegment && err == nil && known[id] || !isSegment && !strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if err := os.Remove(filepath.Join(s.opt.Dir, segmentDir, e.Name())); err != nil {
			return fmt.Errorf("remove orphan: %w", err)
		}
		s.opt.Logger.Info("removed what an interrupted compaction left", "file", e.Name())
	}
	return nil
}

// row is the segment as the catalog holds it, without the checksum.
func (g *segment) row(replaced []byte) []driver.Value {
	return []driver.Value{g.id, g.tn.id, int64(g.v.id), g.partition, g.arrival, g.created, g.rows, g.size, g.minTime, g.maxTime, replaced}
}
