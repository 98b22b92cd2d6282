package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Snapshot is a consistent state of the store on disk: a copy of the catalog,
// and the segment files that this copy names, which stay until it is closed.
type Snapshot struct {
	// Segments are the files, with paths below the data directory.
	Segments []SnapshotFile
	// Missing are files that the catalog names and that are not there.
	Missing []string
	// Rows counts the readings in segments and level 0.
	Rows int64

	s     *Store
	pins  []*segment
	close sync.Once
}

// SnapshotFile is a file of a snapshot.
type SnapshotFile struct {
	Name string // below the data directory, with /
	Path string // on disk
	Size int64
}

// Snapshot writes a copy of the catalog to a new file and pins the segments that
// it names. Commits go on meanwhile; the copy is one state between two of them.
// Nothing that was freed stands in it.
func (s *Store) Snapshot(ctx context.Context, catalog string) (*Snapshot, error) {
	// The copy is made in one statement, so its state is not known before it is
	// done: until then no segment file goes.
	s.holdSegments()
	held := true
	defer func() {
		if held {
			s.unholdSegments(nil)
		}
	}()
	if err := s.copyCatalog(catalog); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	named, err := namedSegments(catalog)
	if err != nil {
		return nil, err
	}
	snap := &Snapshot{s: s}
	snap.pins, snap.Rows = s.unholdSegments(named)
	held = false
	if err := snap.files(named); err != nil {
		snap.Close()
		return nil, err
	}
	return snap, nil
}

// files lists the files of the named segments. What a damaged row names may be a
// share of any pack, so then all packs belong to the snapshot.
func (n *Snapshot) files(named map[int64]bool) error {
	paths := map[string]bool{}
	for _, g := range n.pins {
		path := n.s.segmentPath(g.id)
		if g.pack != nil {
			path = g.pack.file.path
		}
		paths[path] = true
		delete(named, g.id)
	}
	if len(named) > 0 {
		packs, err := filepath.Glob(filepath.Join(n.s.opt.Dir, segmentDir, "*"+packExt))
		if err != nil {
			return err
		}
		for _, path := range packs {
			paths[path] = true
		}
		for id := range named {
			if path := n.s.segmentPath(id); fileSize(path) > 0 {
				paths[path] = true
			}
			n.Missing = append(n.Missing, fmt.Sprintf("segment %d: its row, or the one of its table, is damaged", id))
		}
	}
	for path := range paths {
		info, err := os.Stat(path)
		name := segmentDir + "/" + filepath.Base(path)
		if errors.Is(err, os.ErrNotExist) {
			n.Missing = append(n.Missing, name+" is missing")
			continue
		}
		if err != nil {
			return telemetry.Errorf(telemetry.CodeUnavailable, "snapshot", "%w", err)
		}
		n.Segments = append(n.Segments, SnapshotFile{Name: name, Path: path, Size: info.Size()})
	}
	return nil
}

// Close lets the segment files go that the store does not need any more.
func (n *Snapshot) Close() {
	n.close.Do(func() {
		for _, g := range n.pins {
			n.s.unpinSegment(g)
		}
	})
}

// copyCatalog writes one state of the catalog to a new file. It holds a read
// transaction only for that long.
func (s *Store) copyCatalog(to string) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return errClosed("snapshot")
	}
	c, err := openConn(s.catalogPath(), false, "busy_timeout=10000", "cache_size=-1024", "temp_store=MEMORY", "wal_autocheckpoint=0")
	if err != nil {
		return err
	}
	err = c.exec("VACUUM INTO ?", to)
	if err = errors.Join(err, c.close()); err != nil {
		_ = os.Remove(to) // a part is of no use
		return fmt.Errorf("copy %s: %w", catalogFile, err)
	}
	return nil
}

// namedSegments returns the ids of the segments that a copy of the catalog names.
// They stand in clear in a sealed store, too.
func namedSegments(catalog string) (map[int64]bool, error) {
	c, err := openConn(catalog, true, "query_only=1", "cache_size=-256")
	if err != nil {
		return nil, err
	}
	named := map[int64]bool{}
	err = c.query("SELECT id FROM segments UNION ALL SELECT id FROM rollups", func(row []driver.Value) error {
		named[asInt(row[0])] = true
		return nil
	})
	return named, errors.Join(err, c.close())
}

// holds keeps segment files from being removed while snapshots begin.
type holds struct {
	mu    sync.Mutex
	count int
	kept  []*segment // that would have been removed
}

func (s *Store) holdSegments() {
	s.holds.mu.Lock()
	s.holds.count++
	s.holds.mu.Unlock()
}

// keepHeld reports whether the file of a segment has to stay for now.
func (s *Store) keepHeld(g *segment) bool {
	s.holds.mu.Lock()
	defer s.holds.mu.Unlock()
	if s.holds.count == 0 {
		return false
	}
	s.holds.kept = append(s.holds.kept, g)
	return true
}

// unholdSegments ends a hold. It pins the segments of the named ids and returns
// them, with how many readings they and level 0 hold about; the others that were
// to go may go.
func (s *Store) unholdSegments(named map[int64]bool) (pins []*segment, rows int64) {
	seen := map[*segment]bool{}
	pin := func(g *segment) {
		if named[g.id] && !seen[g] {
			seen[g] = true
			g.pins.Add(1)
			pins = append(pins, g)
			if g.rollup == nil {
				rows += g.rows
			}
		}
	}
	s.mu.Lock()
	s.holds.mu.Lock()
	for _, tn := range *s.tenants.Load() {
		rows += int64(tn.level0Rows)
		for _, g := range slices.Concat(tn.segs, tn.rollups) {
			pin(g)
		}
	}
	for _, g := range s.holds.kept {
		pin(g)
	}
	var free []*segment
	if s.holds.count--; s.holds.count == 0 {
		free, s.holds.kept = s.holds.kept, nil
	}
	s.holds.mu.Unlock()
	s.mu.Unlock()
	for _, g := range free {
		s.removeSegment(g) // stays where it is pinned: the unpin removes it
	}
	return pins, rows
}
