package embedded

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// load reads the catalog into memory. The series take as long as all the rest and
// are needed by none of it, so they are read beside it.
func (s *Store) load(ctx context.Context) error {
	if err := loadSteps(ctx, []loadStep{
		{"tenants", s.loadTenants},
		{"contents", s.loadContents},
		{"destroyed tenants", s.clearDestroyed},
		{"losses", s.loadLosses},
		{"tables", s.loadTables},
	}); err != nil {
		return err
	}
	series := make(chan error, 1)
	go func() { series <- s.loadSeries() }()
	err := loadSteps(ctx, []loadStep{
		{"quarantine", s.loadQuarantine},
		{"session ledger", s.loadLedger},
		{"segments", s.loadSegments},
		{"deleted rows", s.loadDeletions},
		{"frames", s.loadFrames},
		{"watermarks", func() error { return s.readMarks(ctx) }},
	})
	if e := <-series; err == nil && e != nil {
		err = fmt.Errorf("load series: %w", e)
	}
	if err != nil {
		return err
	}
	if len(s.lostTables) > 0 { // segments tell of some
		s.keepLostGroups()
	}
	if err := s.checkReach(); err != nil {
		return fmt.Errorf("check the end of the catalog: %w", err)
	}
	if err := s.loseLastSeries(); err != nil {
		return fmt.Errorf("load lost series: %w", err)
	}
	if err := errors.Join(s.resolveRollups(), s.restoreTime()); err != nil {
		return fmt.Errorf("load rollups: %w", err)
	}
	if s.opt.ReadOnly {
		return nil
	}
	if err := s.coverManifests(); err != nil {
		return fmt.Errorf("upgrade the manifests: %w", err)
	}
	if err := s.saveFoundLosses(); err != nil {
		return fmt.Errorf("note losses: %w", err)
	}
	if err := s.saveRecounted(); err != nil {
		return fmt.Errorf("count quarantine and sessions: %w", err)
	}
	if len(s.ledger.gaps) > 0 {
		if err := s.snapshotLedger(); err != nil {
			return fmt.Errorf("begin the ledger anew: %w", err)
		}
	}
	if err := s.forgetSessions(); err != nil {
		return fmt.Errorf("forget idle sessions: %w", err)
	}
	for _, tn := range *s.tenants.Load() {
		tn.marks.raiseAll(tn.series.count.Load(), tn.marksFloor)
	}
	return nil
}

// loadStep reads a part of the catalog.
type loadStep struct {
	what string
	do   func() error
}

func loadSteps(ctx context.Context, steps []loadStep) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return fmt.Errorf("load %s: %w", step.what, err)
		}
	}
	return nil
}

func (s *Store) loadTenants() error {
	all := map[telemetry.Tenant]*tenant{}
	err := s.eachRow(s.w, tenantsTable, "", "", func(r *catalogRow) error {
		row := r.v
		if !r.intact {
			return damagedRow("tenants", asInt(row[0])) // without the floor, no row of it can be told from a void one
		}
		tn := newTenant(asInt(row[0]), telemetry.Tenant(asText(row[1])))
		tn.persisted, tn.manifest = true, readManifest(row)
		tn.reach = tn.manifest.sealedTail
		s.nextFrame = max(s.nextFrame, nextFrameAfter(tn.manifest.floor))
		all[tn.name] = tn
		return nil
	})
	s.tenants.Store(&all)
	return err
}

// nextFrameAfter is the first id for a commit's frame above id.
func nextFrameAfter(id int64) int64 { return (id/frameStep + 1) * frameStep }

func (s *Store) loadTables() error {
	return s.eachRow(s.w, tablesTable, "ORDER BY id", "", func(r *catalogRow) error {
		row := r.v
		if tn := s.tenantByID(asInt(row[1])); tn != nil {
			tn.tableRows++
		}
		if id := asInt(row[0]); !r.intact {
			lost := &lostTable{row: true, name: asText(row[2]), err: damagedRow("tables", id)}
			s.damaged(lost.err)
			if id > 0 && id < 1<<31 {
				s.lostTables[uint32(id)] = lost
				s.nextTable = max(s.nextTable, uint32(id)+1)
			}
			return nil
		}
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

func (s *Store) loadSeries() (err error) {
	c, err := s.openReader()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return s.eachRow(c, seriesTable, "ORDER BY tenant, first", "id", func(r *catalogRow) error {
		row := r.v
		if !r.intact {
			s.lostSeries = append(s.lostSeries, damagedRow("series", asInt(r.extra[0])))
			s.damaged(s.lostSeries[len(s.lostSeries)-1])
			return nil
		}
		tn := s.tenantByID(asInt(row[0]))
		first, count, data := asInt(row[1]), asInt(row[2]), asBytes(row[4])
		if tn != nil && first > int64(tn.saved) {
			if len(s.lostSeries) == 0 {
				s.lostSeries = append(s.lostSeries, telemetry.Errorf(telemetry.CodeDamaged, "load series", "no row of table series in %s holds series %d to %d", catalogFile, tn.saved, first-1))
				s.goneSeries = append(s.goneSeries, s.lostSeries[0])
				s.damaged(s.lostSeries[0])
			}
			if err := s.loseSeries(tn, uint32(first)); err != nil {
				return err
			}
		}
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

// keepLostGroups keeps the series groups of damaged tables from being issued
// again: the keys of their series tell them.
func (s *Store) keepLostGroups() {
	for _, tn := range *s.tenants.Load() {
		for ref := range tn.series.count.Load() {
			group, _ := binary.Uvarint(tn.series.key(telemetry.SeriesRef(ref)))
			if group != unknownGroup {
				tn.groups = max(tn.groups, uint32(group)+1)
			}
		}
	}
}

func (s *Store) loadQuarantine() error {
	err := s.eachRow(s.w, countersTable, "", "", func(r *catalogRow) error {
		row := r.v
		if !r.intact {
			// The next commit that needs it writes it again.
			s.damaged(telemetry.Errorf(telemetry.CodeDamaged, "load catalog", "row %q of table counters in %s fails its checksum", asText(row[0]), catalogFile))
			return nil
		}
		switch asText(row[0]) {
		case "quarantine":
			s.nextQuarantine = max(s.nextQuarantine, asInt(row[1]))
		case counterTime:
			s.trusted.now = asInt(row[1])
		case counterSlack:
			s.trusted.slack = min(max(time.Duration(asInt(row[1])), 0), trustSlack)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var lost []lostRow
	err = s.eachRow(s.w, quarantineTable, "ORDER BY id", "", func(r *catalogRow) error {
		row := r.v
		if id := asInt(row[0]); !r.intact {
			s.damaged(damagedRow("quarantine", id))
			s.nextQuarantine = max(s.nextQuarantine, id+quarantineChunkRecords)
			s.foundContents.badQuarantine++
			lost = append(lost, lostRow{table: "quarantine", id: id})
			return nil
		}
		s.foundContents.quarantine = append(s.foundContents.quarantine, asInt(row[0]))
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
	if err != nil {
		return err
	}
	for i := range lost {
		err := s.w.query("SELECT data FROM quarantine WHERE id = ?", func(row []driver.Value) error {
			lost[i].data = asBytes(row[0])
			return nil
		}, lost[i].id)
		if err != nil {
			return err
		}
	}
	return s.setRowsAside(lost)
}

func (s *Store) loadLedger() error {
	l := s.ledger
	var lost []lostRow
	err := s.eachRow(s.w, sessionsTable, "", "", func(r *catalogRow) error {
		row := r.v
		if !r.intact {
			s.damaged(damagedRow("sessions", asInt(row[0])))
			lost = append(lost, lostRow{"sessions", asInt(row[0]), r.evidence(1)})
			s.foundContents.badSessions++
			return nil
		}
		id := telemetry.SessionID(asInt(row[0]))
		s.foundContents.sessions, s.foundContents.keys = append(s.foundContents.sessions, int64(id)), append(s.foundContents.keys, asText(row[1]))
		l.ids[asText(row[1])] = id
		l.nextID = max(l.nextID, id+1)
		return nil
	})
	if err != nil {
		return err
	}
	err = s.eachRow(s.w, ledgerTable, "ORDER BY id", "", func(r *catalogRow) error {
		row, data := r.v, asBytes(r.v[1])
		if id := asInt(row[0]); id > l.nextRow && r.intact && !(len(data) > 0 && data[0] == ledgerSnapshot) {
			// As with a damaged row, what is missing may have dropped entries.
			l.gaps = append(l.gaps, ledgerGap{l.nextRow, id - 1})
			l.forgetAll()
		}
		l.nextRow = max(l.nextRow, asInt(row[0])+1)
		l.logRows++
		l.logBytes += int64(len(data))
		if len(data) > 0 && data[0] == ledgerSnapshot {
			l.logRows, l.logBytes, l.snapshotBytes = 1, 0, int64(len(data))
		}
		if !r.intact {
			// It may have dropped entries of the rows before it. An entry that
			// stays would make a new message a redelivery, and lose it; without
			// entries a redelivery is stored again. In doubt, store.
			s.damaged(damagedRow("ledger", asInt(row[0])))
			lost = append(lost, lostRow{"ledger", asInt(row[0]), r.evidence(1)})
			l.forgetAll()
			return nil
		}
		return l.apply(data)
	})
	if err != nil {
		return err
	}
	for _, r := range lost {
		if r.table == "sessions" && r.id > 0 && r.id < 1<<31 {
			l.reset(telemetry.SessionID(r.id))
			l.nextID = max(l.nextID, telemetry.SessionID(r.id)+1)
		}
	}
	// The entries that are void must stay so when the damaged row is gone.
	if len(lost) > 0 && !s.opt.ReadOnly {
		if err := s.setRowsAside(lost); err != nil {
			return err
		}
		return s.snapshotLedger()
	}
	return nil
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
	c := s.contents
	err := s.w.transaction(func() error {
		for _, key := range idle {
			if err := s.w.exec("DELETE FROM sessions WHERE id = ?", int64(l.ids[key])); err != nil {
				return err
			}
			c.sessions.remove(c.session(l.ids[key], key))
			delete(l.ids, key)
		}
		return s.saveContents(&c)
	})
	if err == nil {
		s.contents = c
	}
	return err
}

func (s *Store) loadFrames() error {
	var dead []*frame
	err := s.eachRow(s.w, framesTable, "ORDER BY id", "length(data)", func(r *catalogRow) error {
		row := r.v
		f := &frame{
			id: asInt(row[0]), created: asInt(row[2]), rows: int(asInt(row[3])), minTime: asInt(row[4]), maxTime: asInt(row[5]),
			replaced: decodeReplaced(asBytes(row[6])), size: int(asInt(r.extra[0])), number: asInt(row[7]), tag: asBytes(row[8]),
		}
		s.nextFrame = max(s.nextFrame, nextFrameAfter(f.id))
		tn := s.tenantByID(asInt(row[1]))
		if !r.intact {
			// Every scan says so until a compaction sets it aside.
			tn = s.tenantOrAny(asInt(row[1]))
			f.minTime, f.maxTime, f.replaced, f.rows = minTime, maxTime, nil, 0
			f.broken = damagedRow("frames", f.id)
			s.damaged(f.broken)
		} else if tn != nil {
			tn.reach.raise(readTail(row[9:]))
		}
		if tn == nil || f.id <= tn.manifest.floor {
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
	for _, tn := range *s.tenants.Load() {
		s.checkFrames(tn)
	}
	return err
}
