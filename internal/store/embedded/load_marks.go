package embedded

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

const (
	// restoreRuns bounds how many runs of segments are read for exact watermarks at
	// a start: a million take about 50 ms. Opening a segment counts as many.
	restoreRuns = 4_000_000
	openedRuns  = 16_384
	// maxMarked is above every ref that a store issues.
	maxMarked = 1 << 28
)

var errMarked = errors.New("a series has an impossible number")

// readMarks sets the watermarks after a start. The series of level 0 and of the
// newest segments are read; all others are below marksFloor, the newest time of the
// segments that are not. Of a segment the heads of its blocks are read.
func (s *Store) readMarks(ctx context.Context) error {
	if s.opt.ReadOnly {
		return nil
	}
	for _, tn := range *s.tenants.Load() {
		if err := s.readMarksOf(ctx, tn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) readMarksOf(ctx context.Context, tn *tenant) error {
	tn.marksFloor = minTime
	segs := slices.Clone(tn.segs)
	sort.SliceStable(segs, func(i, j int) bool { return segs[i].maxTime > segs[j].maxTime })
	left := restoreRuns
	for _, g := range segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		runs, err := s.raiseFromSegment(tn, g, left)
		left -= runs
		if err != nil {
			tn.marksFloor = max(tn.marksFloor, g.maxTime)
		}
		if left <= 0 {
			tn.marksFloor = max(tn.marksFloor, g.maxTime)
			break
		}
	}
	var sec telemetry.Section
	for _, f := range tn.frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.raiseFromFrame(tn, f, &sec); err != nil {
			tn.marksFloor = max(tn.marksFloor, f.maxTime)
		}
	}
	return nil
}

// raiseFromSegment reads the runs of a segment, until they are more than limit, and
// returns how many that were.
func (s *Store) raiseFromSegment(tn *tenant, g *segment, limit int) (int, error) {
	seg, err := s.openSegment(g)
	if err != nil {
		return openedRuns, err
	}
	n := openedRuns
	for b := range seg.Blocks() {
		runs, err := seg.Runs(b)
		if err != nil {
			return n, err
		}
		for _, r := range runs {
			if r.Series >= maxMarked {
				return n, errMarked
			}
			tn.marks.raise(r.Series, r.MaxTime)
		}
		if n += len(runs); n > limit {
			break
		}
	}
	return n, nil
}

func (s *Store) raiseFromFrame(tn *tenant, f *frame, sec *telemetry.Section) error {
	fr, err := s.openFrame(f)
	if err != nil {
		return err
	}
	var lost error
	for i, p := range fr.Sections() {
		v := s.version(p.TableID)
		if v == nil {
			s.nextTable = max(s.nextTable, p.TableID+1) // the id of a lost table is not issued again
			lost = telemetry.Errorf(telemetry.CodeDamaged, "read frame", "frame %d has unknown table %d", f.id, p.TableID)
			continue
		}
		if _, err := fr.ReadSection(i, sec, v.table, nil, false); err != nil {
			return err
		}
		for j, ref := range sec.Series {
			if ref >= maxMarked {
				return errMarked
			}
			tn.marks.raise(ref, sec.Time[j])
		}
	}
	return lost
}
