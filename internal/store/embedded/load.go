package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"sort"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// load reads the catalog into memory.
func (s *Store) load(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"tenants", s.loadTenants},
		{"tables", s.loadTables},
		{"series", s.loadSeries},
		{"quarantine", s.loadQuarantine},
		{"session ledger", s.loadLedger},
		{"segments", s.loadSegments},
		{"frames", s.loadFrames},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return fmt.Errorf("load %s: %w", step.what, err)
		}
	}
	if s.opt.ReadOnly {
		return nil
	}
	if err := s.forgetSessions(); err != nil {
		return fmt.Errorf("forget idle sessions: %w", err)
	}
	for _, tn := range *s.tenants.Load() {
		if err := s.restoreMarks(ctx, tn); err != nil {
			return fmt.Errorf("restore watermarks: %w", err)
		}
	}
	return nil
}

func (s *Store) loadTenants() error {
	all := map[telemetry.Tenant]*tenant{}
	err := s.w.query("SELECT id, name, floor FROM tenants", func(row []driver.Value) error {
		tn := newTenant(asInt(row[0]), telemetry.Tenant(asText(row[1])))
		tn.persisted, tn.floor = true, asInt(row[2])
		s.nextFrame = max(s.nextFrame, nextFrameAfter(tn.floor))
		all[tn.name] = tn
		return nil
	})
	s.tenants.Store(&all)
	return err
}

// nextFrameAfter is the first id for a commit's frame above id.
func nextFrameAfter(id int64) int64 { return (id/frameStep + 1) * frameStep }

func (s *Store) loadTables() error {
	return s.w.query("SELECT id, tenant, name, version, series_group, recorded, definition, document FROM tables ORDER BY id", func(row []driver.Value) error {
		tn := s.tenantByID(asInt(row[1]))
		if tn == nil {
			return telemetry.Errorf(telemetry.CodeDamaged, "load table", "table %d belongs to no tenant", asInt(row[0]))
		}
		t, err := decodeTable(asText(row[2]), int(asInt(row[3])), asBytes(row[6]))
		if err != nil {
			return err
		}
		group := tn.groupOf(t)
		if id := uint32(asInt(row[4])); group == nil {
			group = &seriesGroup{id: id, tags: t.Tags}
			tn.groups = max(tn.groups, id+1)
		} else if group.id != id {
			return telemetry.Errorf(telemetry.CodeDamaged, "load table", "%s version %d has series group %d, its tags have %d", t.Name, t.Version, id, group.id)
		}
		v := tn.enter(uint32(asInt(row[0])), t, group, asBytes(row[7]), asInt(row[5]))
		tn.remember(t, v)
		s.versions[v.id] = v
		s.nextTable = max(s.nextTable, v.id+1)
		return nil
	})
}

func (s *Store) loadSeries() error {
	return s.w.query("SELECT tenant, first, count, data FROM series ORDER BY tenant, first", func(row []driver.Value) error {
		tn := s.tenantByID(asInt(row[0]))
		first, count, data := asInt(row[1]), asInt(row[2]), asBytes(row[3])
		if tn == nil || len(data) == 0 || first != int64(tn.saved) {
			return telemetry.Errorf(telemetry.CodeDamaged, "load series", "the block from %d does not continue the one before", first)
		}
		switch data[0] {
		case seriesRaw:
			data = data[1:]
		case seriesZstd:
			plain, err := s.zdec.DecodeAll(data[1:], nil)
			if err != nil {
				return telemetry.Errorf(telemetry.CodeDamaged, "load series", "the block from %d: %v", first, err)
			}
			data = plain
		default:
			return telemetry.Errorf(telemetry.CodeDamaged, "load series", "the block from %d has unknown encoding %d", first, data[0])
		}
		if err := tn.series.load(data, int(count)); err != nil {
			return err
		}
		tn.saved = uint32(first + count)
		tn.blocks++
		return nil
	})
}

func (s *Store) loadQuarantine() error {
	err := s.w.query("SELECT value FROM counters WHERE name = 'quarantine'", func(row []driver.Value) error {
		s.nextQuarantine = max(s.nextQuarantine, asInt(row[0]))
		return nil
	})
	if err != nil {
		return err
	}
	return s.w.query("SELECT id, tenant, last, count, size FROM quarantine ORDER BY id", func(row []driver.Value) error {
		tn := s.tenantByID(asInt(row[1]))
		if tn == nil {
			return nil
		}
		c := quarantineChunk{first: asInt(row[0]), last: asInt(row[2]), count: int(asInt(row[3])), size: asInt(row[4])}
		q := &tn.quarantine
		q.chunks = append(q.chunks, c)
		q.records += c.count
		q.bytes += c.size
		s.nextQuarantine = max(s.nextQuarantine, c.last+1)
		return nil
	})
}

func (s *Store) loadLedger() error {
	l := s.ledger
	err := s.w.query("SELECT id, key FROM sessions", func(row []driver.Value) error {
		id := telemetry.SessionID(asInt(row[0]))
		l.ids[asText(row[1])] = id
		l.nextID = max(l.nextID, id+1)
		return nil
	})
	if err != nil {
		return err
	}
	return s.w.query("SELECT id, data FROM ledger ORDER BY id", func(row []driver.Value) error {
		data := asBytes(row[1])
		l.nextRow = max(l.nextRow, asInt(row[0])+1)
		l.logRows++
		l.logBytes += int64(len(data))
		if len(data) > 0 && data[0] == ledgerSnapshot {
			l.logRows, l.logBytes, l.snapshotBytes = 1, 0, int64(len(data))
		}
		return l.apply(data)
	})
}

// idleSessions is how many sessions without entries are kept at a start.
const idleSessions = 1000

// forgetSessions deletes sessions without entries, because clients that come
// with ever new identifiers would add to them without end. Nothing refers to them.
func (s *Store) forgetSessions() error {
	l := s.ledger
	var idle []string
	for key, id := range l.ids {
		if l.sessions[id] == nil {
			idle = append(idle, key)
		}
	}
	if len(idle) <= idleSessions {
		return nil
	}
	return s.w.transaction(func() error {
		for _, key := range idle {
			if err := s.w.exec("DELETE FROM sessions WHERE id = ?", int64(l.ids[key])); err != nil {
				return err
			}
			delete(l.ids, key)
		}
		return nil
	})
}

func (s *Store) loadFrames() error {
	var dead []*frame
	err := s.w.query("SELECT id, tenant, created, rows, min_time, max_time, replaced, length(data) FROM frames ORDER BY id", func(row []driver.Value) error {
		f := &frame{
			id: asInt(row[0]), created: asInt(row[2]), rows: int(asInt(row[3])), minTime: asInt(row[4]), maxTime: asInt(row[5]),
			replaced: decodeReplaced(asBytes(row[6])), size: int(asInt(row[7])),
		}
		s.nextFrame = max(s.nextFrame, nextFrameAfter(f.id))
		tn := s.tenantByID(asInt(row[1]))
		if tn == nil || f.id <= tn.floor {
			dead = append(dead, f)
			return nil
		}
		tn.frames = append(tn.frames, f)
		tn.level0Rows += f.rows
		if f.id%frameStep != 0 {
			tn.carriedRows += f.rows
		}
		return nil
	})
	s.doomed = dead
	return err
}

// restoreMarks sets the watermarks after a start. The series of level 0 and of
// the newest segments are read; all others are below the newest time of the
// segments that are not.
func (s *Store) restoreMarks(ctx context.Context, tn *tenant) error {
	n := tn.series.count.Load()
	tn.marks.grow(n, minTime)
	segs := slices.Clone(tn.segs)
	sort.SliceStable(segs, func(i, j int) bool { return segs[i].maxTime > segs[j].maxTime })
	rows := int64(0)
	for i, g := range segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if rows += g.rows; i >= restoreSegments || i > 0 && rows > restoreRows {
			tn.marks.raiseAll(n, g.maxTime)
			break
		}
		if err := s.raiseFromSegment(tn, g, n); err != nil {
			tn.marks.raiseAll(n, g.maxTime)
		}
	}
	var sec telemetry.Section
	for _, f := range tn.frames {
		if err := s.raiseFromFrame(tn, f, n, &sec); err != nil {
			tn.marks.raiseAll(n, f.maxTime)
		}
	}
	return nil
}

// Segments that are read for exact watermarks at a start. Their block heads are
// about a hundredth of them.
const (
	restoreSegments = 64
	restoreRows     = 64_000_000
)

func (s *Store) raiseFromSegment(tn *tenant, g *segment, n uint32) error {
	seg, err := s.openSegment(g)
	if err != nil {
		return err
	}
	for b := range seg.Blocks() {
		runs, err := seg.Runs(b)
		if err != nil {
			return err
		}
		for _, r := range runs {
			if uint32(r.Series) < n {
				tn.marks.raise(r.Series, r.MaxTime)
			}
		}
	}
	return nil
}

func (s *Store) raiseFromFrame(tn *tenant, f *frame, n uint32, sec *telemetry.Section) error {
	fr, err := s.openFrame(f)
	if err != nil {
		return err
	}
	for i, p := range fr.Sections() {
		v := s.version(p.TableID)
		if v == nil {
			return telemetry.Errorf(telemetry.CodeDamaged, "read frame", "frame %d has unknown table %d", f.id, p.TableID)
		}
		if _, err := fr.ReadSection(i, sec, v.table, nil, false); err != nil {
			return err
		}
		for j, ref := range sec.Series {
			if uint32(ref) < n {
				tn.marks.raise(ref, sec.Time[j])
			}
		}
	}
	return nil
}
