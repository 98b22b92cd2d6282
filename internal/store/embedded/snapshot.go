package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	snap := &Snapshot{s: s}
	named, err := snap.read(catalog)
	if err != nil {
		return nil, err
	}
	snap.pins = s.unholdSegments(named)
	held = false
	for id := range named {
		path := s.segmentPath(id)
		name := segmentDir + "/" + filepath.Base(path)
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			snap.Missing = append(snap.Missing, name+" is missing")
			continue
		}
		if err != nil {
			snap.Close()
			return nil, telemetry.Errorf(telemetry.CodeUnavailable, "snapshot", "%w", err)
		}
		snap.Segments = append(snap.Segments, SnapshotFile{Name: name, Path: path, Size: info.Size()})
	}
	return snap, nil
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

// read returns the ids of the segments that a copy of the catalog names, and
// counts its rows.
func (n *Snapshot) read(catalog string) (map[int64]bool, error) {
	c, err := openConn(catalog, true, "query_only=1", "cache_size=-256")
	if err != nil {
		return nil, err
	}
	named := map[int64]bool{}
	err = c.query("SELECT id, rows FROM segments", func(row []driver.Value) error {
		named[asInt(row[0])] = true
		n.Rows += asInt(row[1])
		return nil
	})
	if err == nil {
		err = c.query("SELECT f.rows FROM frames f JOIN tenants t ON t.id = f.tenant WHERE f.id > t.floor", func(row []driver.Value) error {
			n.Rows += asInt(row[0])
			return nil
		})
	}
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
// them; the others that were to go may go.
func (s *Store) unholdSegments(named map[int64]bool) []*segment {
	var pins []*segment
	pin := func(g *segment) {
		if named[g.id] {
			g.pins.Add(1)
			pins = append(pins, g)
		}
	}
	s.mu.Lock()
	s.holds.mu.Lock()
	seen := map[int64]bool{}
	for _, tn := range *s.tenants.Load() {
		for _, g := range tn.segs {
			pin(g)
			seen[g.id] = true
		}
	}
	for _, g := range s.holds.kept {
		if !seen[g.id] {
			pin(g)
			seen[g.id] = true
		}
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
	return pins
}
