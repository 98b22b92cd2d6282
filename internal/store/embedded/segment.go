package embedded

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
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
	pack      *pack     // the file that it shares with others; nil: it has its own
	start     int64     // where it stands in the pack
	rollup    *rollupOf // nil: it holds readings

	// Guarded by Store.mu: keys that its rows, or rows merged into it, overwrote
	// in older segments, and whether a merge found it damaged.
	replaced    []replacedKey
	unmergeable bool
	// deletion is the rows of it that were deleted; nil: none. Guarded by Store.mu,
	// and changed with compactMu held.
	deletion *deletion

	tag []byte // random, of a sealed store: ties the file to its row

	pins    atomic.Int32 // scans and look-ups that read it
	removed atomic.Bool  // no longer in the catalog: the file goes when pins are 0

	mu     sync.Mutex
	file   *segmentFile
	opened *chunk.Segment
	broken error
	gone   bool // its file was removed, or its share of the pack
}

func (s *Store) segmentPath(id int64) string {
	return filepath.Join(s.opt.Dir, segmentDir, fmt.Sprintf("%016x.seg", id))
}

// where names the bytes of a segment in errors.
func (s *Store) where(g *segment) string {
	if g.pack != nil {
		return fmt.Sprintf("%s from byte %d on", g.pack.file.path, g.start)
	}
	return s.segmentPath(g.id)
}

// openSegment returns the segment ready for reading: its footer is read at the
// first use and kept while it is used, its file is opened when it is read. Damage
// found then is kept too: every later use reports it again. Other errors may pass.
func (s *Store) openSegment(g *segment) (*chunk.Segment, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil || g.broken != nil {
		if g.opened != nil {
			s.footers.use(g)
		}
		return g.opened, g.broken
	}
	file := g.file
	switch {
	case g.pack != nil:
		file = g.pack.file
	case file == nil:
		file = &segmentFile{files: &s.files, path: s.segmentPath(g.id)}
	}
	f, err := file.acquire()
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			g.broken = telemetry.Errorf(telemetry.CodeDamaged, "open segment", "segment file %s is missing", file.path)
			s.damaged(g.broken)
			return nil, g.broken
		}
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "open segment", "%v", err)
	}
	info, err := f.Stat()
	file.release()
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "open segment", "%v", err)
	}
	g.file = file
	r, size := io.ReaderAt(file), info.Size()
	if g.pack != nil {
		r, size = io.NewSectionReader(file, g.start, g.size), min(g.size, max(0, size-g.start))
	}
	seg, err := chunk.OpenSegment(r, size, chunk.OpenOptions{Name: s.where(g), Keys: s.chunkKeys(), Identity: g.tag})
	if err == nil {
		err = checkSegment(g, seg, s.where(g))
	}
	if err != nil {
		if telemetry.CodeOf(err) == telemetry.CodeDamaged {
			g.broken = err
			s.damaged(err)
		}
		return nil, err
	}
	g.opened = seg
	s.footers.use(g)
	return seg, nil
}

// checkSegment compares a file with what the catalog says of it.
func checkSegment(g *segment, seg *chunk.Segment, path string) error {
	m := seg.Meta()
	if g.rollup != nil && m.TableID == 0 && m.Rows == g.rows {
		return nil
	}
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
	if g.pins.Load() > 0 || g.gone || s.keepHeld(g) {
		return
	}
	g.gone, g.opened = true, nil
	s.footers.drop(g)
	file := g.file
	g.file = nil
	if g.pack != nil {
		if g.pack.live.Add(-1) > 0 {
			return
		}
		file = g.pack.file
	}
	path := s.segmentPath(g.id)
	if file != nil {
		path = file.path
		if err := file.close(); err != nil {
			s.opt.Logger.Warn("close segment", "error", err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		// It is an orphan now: the next start tries again.
		s.opt.Logger.Warn("remove segment", "error", err)
	}
}

// loadSegments reads the list of segments and removes files that it does not
// name: what a crash left of a compaction that was under way.
func (s *Store) loadSegments() error {
	known, damaged := map[string]bool{}, 0
	found, packs := map[*tenant]manifest{}, map[int64]*pack{}
	err := s.eachRow(s.w, segmentsTable, "ORDER BY id", "", func(r *catalogRow) error {
		row := r.v
		id, in := asInt(row[0]), asInt(row[10])
		known[filepath.Base(s.segmentPath(id))] = true
		s.nextSegment.Store(max(s.nextSegment.Load(), id+1))
		if !r.intact {
			damaged++
			s.loseSegment(s.tenantOrAny(asInt(row[1])), s.segmentPath(id), lostSegment{lo: minTime, hi: maxTime, err: damagedRow("segments", id), table: "segments", id: id})
			return nil
		}
		g := &segment{
			id: id, tn: s.tenantByID(asInt(row[1])), v: s.versions[uint32(asInt(row[2]))],
			partition: asInt(row[3]), arrival: asInt(row[4]), created: asInt(row[5]),
			rows: asInt(row[6]), size: asInt(row[7]), minTime: asInt(row[8]), maxTime: asInt(row[9]),
			start: asInt(row[11]), replaced: decodeReplacedBy(asBytes(row[12])), tag: asBytes(row[13]),
		}
		if in != 0 {
			s.packOf(g, in, known, packs)
		}
		if g.tn == nil {
			return telemetry.Errorf(telemetry.CodeDamaged, "load segments", "segment %d belongs to no tenant", g.id)
		}
		seen := found[g.tn]
		seen.add(row)
		found[g.tn] = seen
		if id := uint32(asInt(row[2])); g.v == nil {
			s.nextTable = max(s.nextTable, id+1)
			if s.lostTables[id] == nil {
				s.lostTables[id] = &lostTable{err: telemetry.Errorf(telemetry.CodeDamaged, "load segments", "no row %d stands in table tables of %s", id, catalogFile)}
			}
			path := s.segmentPath(g.id)
			if g.pack != nil {
				path = ""
			}
			s.loseSegment(g.tn, path, lostSegment{rows: int(g.rows), lo: g.minTime, hi: g.maxTime, err: s.lostTables[id].err, table: "segments", id: g.id})
			return nil
		}
		g.tn.segs = append(g.tn.segs, g)
		return nil
	})
	if err != nil {
		return err
	}
	lost, err := s.loadRollups(known, found, packs)
	if err != nil {
		return err
	}
	damaged += lost
	for _, tn := range *s.tenants.Load() {
		sort.SliceStable(tn.segs, func(i, j int) bool { return tn.segs[i].arrival < tn.segs[j].arrival })
		s.checkSegments(tn, found[tn], damaged)
	}
	if s.opt.ReadOnly {
		return nil
	}
	return s.removeOrphans(known, damaged > 0)
}

// removeOrphans removes the files of segments and packs that are not known. Packs
// stay where a damaged row may name one.
func (s *Store) removeOrphans(known map[string]bool, damaged bool) error {
	entries, err := os.ReadDir(filepath.Join(s.opt.Dir, segmentDir))
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		switch filepath.Ext(name) {
		case ".seg", ".tmp":
		case packExt:
			if damaged {
				continue
			}
		default:
			continue
		}
		if known[name] {
			continue
		}
		if err := os.Remove(filepath.Join(s.opt.Dir, segmentDir, name)); err != nil {
			return fmt.Errorf("remove orphan: %w", err)
		}
		s.opt.Logger.Info("removed what an interrupted compaction left", "file", name)
	}
	return nil
}

// row is the segment as the catalog holds it.
func (g *segment) row(replaced []byte) []driver.Value {
	return []driver.Value{g.id, g.tn.id, int64(g.v.id), g.partition, g.arrival, g.created, g.rows, g.size, g.minTime, g.maxTime, g.packID(), g.start, replaced, g.tag}
}
