package embedded

import (
	"context"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Delete deletes the rows of a table that were committed before it was called and
// that the request selects: all of them, or, where it returns an error, none. What
// cannot be read because it is damaged stays, and is counted.
func (s *Store) Delete(ctx context.Context, r store.DeleteRequest) (store.Deleted, error) {
	var out store.Deleted
	if err := s.writable("delete"); err != nil {
		return out, err
	}
	tn := s.tenant(r.Tenant)
	if tn == nil {
		return out, telemetry.Errorf(telemetry.CodeNotFound, "delete", "there is no table %q", r.Table)
	}
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	if err := s.emptyLevel0(ctx, tn); err != nil {
		return out, err
	}
	scanned, err := s.Scan(ctx, r.ScanRequest)
	if err != nil {
		return out, err
	}
	defer scanned.Close()
	d := &deleting{s: s, tn: tn, r: r, sc: scanned.(*scan), runs: map[*segment][]rowRun{}}
	for _, u := range d.sc.units {
		// Segments neither come nor go meanwhile but by this.
		if err := s.compactMeanwhile(ctx, tn); err != nil {
			return out, err
		}
		if err := d.unit(ctx, u); err != nil {
			return out, err
		}
	}
	if err := d.enter(); err != nil {
		return out, err
	}
	out = d.out
	s.stats.deleted.Add(out.Rows)
	return out, nil
}

// emptyLevel0 turns what is committed now into segments, whose rows have numbers.
func (s *Store) emptyLevel0(ctx context.Context, tn *tenant) error {
	frames := s.level0(tn)
	if len(frames) == 0 {
		return nil
	}
	for newest := frames[len(frames)-1].id; len(frames) > 0 && frames[0].id <= newest; frames = s.level0(tn) {
		if _, err := s.compactFrames(ctx, tn, true); err != nil {
			return err
		}
	}
	return nil
}

// deleting is one Delete.
type deleting struct {
	s    *Store
	tn   *tenant
	r    store.DeleteRequest
	sc   *scan
	runs map[*segment][]rowRun
	size int64 // of runs
	out  store.Deleted
}

// unit selects rows of one unit of the scan.
func (d *deleting) unit(ctx context.Context, u store.Unit) error {
	su, ok := u.(*segmentUnit)
	if !ok {
		if b, broken := u.(*brokenUnit); broken {
			d.out.Unreadable += int64(b.rows)
		}
		return nil // rows of level 0 came after the call
	}
	var number func(row int32) uint32
	runs := d.runs[su.g]
	had := len(runs)
	err := d.r.Select(ctx, d.sc, u, func(rows []int32) error {
		if len(rows) > 0 && number == nil {
			var err error
			if number, err = su.numbers(); err != nil {
				return err
			}
		}
		for _, row := range rows {
			runs = addRow(runs, number(row))
		}
		d.out.Rows += int64(len(rows))
		if d.s.deletionBytes.Load()+d.size+int64(len(runs)-had)*rowRunBytes > maxDeletionBytes {
			return telemetry.Errorf(telemetry.CodeLimit, "delete", "the rows lie in more than %d stretches", maxDeletionBytes/rowRunBytes).
				WithHint("nothing was deleted; delete a shorter time at once, and go on when the store has compacted it")
		}
		return nil
	})
	if telemetry.CodeOf(err) == telemetry.CodeDamaged {
		d.out.Unreadable += int64(su.rows)
		return nil
	}
	if len(runs) > 0 {
		d.runs[su.g] = runs
		d.size += int64(len(runs)-had) * rowRunBytes
	}
	return err
}

// numbers returns what number in its segment a row has that Read gives.
func (u *segmentUnit) numbers() (func(row int32) uint32, error) {
	if !u.hides {
		return func(row int32) uint32 { return u.first + uint32(row) }, nil
	}
	var sec telemetry.Section
	if _, err := u.seg.ReadBlock(u.block, &sec, nil, false); err != nil {
		return nil, u.sc.s.readError("segment", u.g.id, err)
	}
	var seen []uint32
	gone := u.gone
	for row := range sec.Series {
		for len(gone) > 0 && int(gone[0].from+gone[0].n) <= row {
			gone = gone[1:]
		}
		if len(gone) > 0 && int(gone[0].from) <= row || u.sc.replaced[rowKey{sec.Series[row], sec.Time[row]}] > u.g.arrival {
			continue
		}
		seen = append(seen, u.first+uint32(row))
	}
	return func(row int32) uint32 { return seen[row] }, nil
}

// enter makes the deletion durable, and shows it.
func (d *deleting) enter() error {
	if len(d.runs) == 0 {
		return nil
	}
	s := d.s
	made := map[*segment]*deletion{}
	for g, runs := range d.runs {
		if g.deletion != nil {
			runs = joinRuns(g.deletion.runs, runs)
		}
		made[g] = &deletion{number: s.nextSegment.Add(1) - 1, created: s.opt.Now().UnixNano(), rows: countRuns(runs), runs: runs}
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return errClosed("delete")
	}
	m := d.tn.manifest
	err := s.w.transaction(func() error {
		for g, made := range made {
			if err := s.saveDeletion(&m, g, made); err != nil {
				return err
			}
		}
		return s.saveManifest(d.tn, &m)
	})
	if err != nil {
		return s.failed("delete", err)
	}
	d.tn.manifest = m
	s.mu.Lock()
	defer s.mu.Unlock()
	for g, made := range made {
		if g.deletion != nil {
			s.deletionBytes.Add(-g.deletion.memory())
		}
		s.deletionBytes.Add(made.memory())
		g.deletion = made
	}
	return nil
}

// applyDeletions rewrites one segment without its deleted rows, where they are no
// longer needed to recognise a redelivery.
func (s *Store) applyDeletions(ctx context.Context, tn *tenant, all bool) (bool, error) {
	if !all && s.isBusy(tn) {
		return false, nil
	}
	s.mu.Lock()
	segs := tn.segs
	s.mu.Unlock()
	for _, g := range segs {
		if g.deletion == nil || g.deletion.err != nil || s.isRecent(g) || g.isUnmergeable(s) {
			continue
		}
		keys, _ := s.pendingReplaced(tn)
		return true, s.rewrite(ctx, tn, []*segment{g}, keys)
	}
	return false, nil
}
