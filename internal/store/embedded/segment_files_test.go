package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

const day = int64(24 * 60 * 60 * 1e9)

// shifted is a section whose readings stand some days later, copied so that it
// can be stored again.
func shifted(f *fleet, rows, days int) *telemetry.Section {
	sec := &telemetry.Section{}
	sec.Reset(f.table)
	appendRows(sec, f.section(rows), 0, rows)
	for i := range sec.Time {
		sec.Time[i] += int64(days) * day
	}
	return sec
}

// openSegments counts the descriptors that this process has of a store's segments.
func openSegments(t *testing.T, dir string) (n int, known bool) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, false // not Linux
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err == nil && strings.HasPrefix(target, filepath.Join(dir, segmentDir)) && strings.Contains(target, ".seg") {
			n++
		}
	}
	return n, true
}

func TestManySegmentsNeedFewFileDescriptors(t *testing.T) {
	const days, limit = 24, 4
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, ManualCompaction: true, OpenFiles: limit, CarryRows: 1})
	f := newFleet(t, s, 10)
	var all []*telemetry.Section
	for d := range days {
		all = append(all, shifted(f, 100, d))
		commit(t, s, all[d])
		if err := s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Segments; n != days {
		t.Fatalf("%d segments of %d days", n, days)
	}
	// Scans that hold all segments, late rows that look into them, and merges
	// that remove them, at the same time.
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				if rows, errs := readable(t, s); len(rows) < days*100 || len(errs) > 0 {
					t.Errorf("%d rows were read: %v", len(rows), errs)
				}
			}
		})
	}
	for d := range days {
		commit(t, s, shifted(f, 100, d))
		commit(t, s, all[d])
		if len(all[d].Duplicates) != 100 {
			t.Errorf("%d duplicates of 100 were found", len(all[d].Duplicates))
		}
		if err := s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
	rows, errs := readable(t, s)
	if len(slices.Compact(rows)) != 2*days*100 || len(errs) > 0 {
		t.Errorf("%d rows were read: %v", len(rows), errs)
	}
	if n, known := openSegments(t, dir); known && n > limit {
		t.Errorf("%d segments are open, the limit is %d", n, limit)
	}
	// A scan that outlives the store opens nothing again.
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, u := range sc.Units() {
		var sec telemetry.Section
		if _, err := u.Read(&sec, nil, false); err == nil {
			t.Error("a unit was read after the store was closed")
		}
	}
	if n, known := openSegments(t, dir); known && n > 0 {
		t.Errorf("%d segments are open after Close", n)
	}
}

// TestReadingsThatCannotBeComparedAreNotStoredTwice: no descriptor is free, which
// says nothing about whether a reading is a duplicate.
func TestReadingsThatCannotBeComparedAreNotStoredTwice(t *testing.T) {
	c := func(secs ...*telemetry.Section) *telemetry.Commit {
		return &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: secs}}}
	}
	stageAgain := func(t *testing.T, s *Store, sec *telemetry.Section, heal func()) {
		t.Helper()
		for range 2 {
			if _, err := s.Stage(context.Background(), c(sec)); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
				t.Fatalf("staged what could not be compared: %v", err)
			}
		}
		if err := s.Health(); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
			t.Errorf("health: %v", err)
		}
		heal()
		commit(t, s, sec)
		if len(sec.Duplicates) != sec.Rows() {
			t.Errorf("%d of %d duplicates were found", len(sec.Duplicates), sec.Rows())
		}
		if err := s.Health(); err != nil {
			t.Error(err)
		}
	}
	for _, opened := range []bool{false, true} {
		t.Run(fmt.Sprintf("Segment/opened=%v", opened), func(t *testing.T) {
			// With room for one file, opening the second closes the first.
			s := open(t, Options{ManualCompaction: true, OpenFiles: 1, CacheBytes: 1, CarryRows: 1})
			f := newFleet(t, s, 10)
			first := shifted(f, 1000, 0)
			for _, sec := range []*telemetry.Section{first, shifted(f, 1000, 3)} {
				commit(t, s, sec)
				if err := s.Compact(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			if !opened {
				for _, g := range s.tenant(telemetry.DefaultTenant).segs {
					if err := g.file.close(); err != nil {
						t.Fatal(err)
					}
					g.file, g.opened = nil, nil
				}
			}
			real := s.files.opener
			s.files.opener = func(path string) (*os.File, error) {
				return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EMFILE}
			}
			stageAgain(t, s, first, func() { s.files.opener = real })
		})
	}
	t.Run("Frame", func(t *testing.T) {
		s := open(t, Options{ManualCompaction: true, CacheBytes: 1})
		f := newFleet(t, s, 10)
		first := shifted(f, 1000, 0)
		commit(t, s, first)
		commit(t, s, shifted(f, 1000, 0))
		dir := s.opt.Dir
		s.opt.Dir = filepath.Join(dir, "away") // new connections fail
		stageAgain(t, s, first, func() { s.opt.Dir = dir })
	})
}

// TestASegmentThatVanishesWhileItIsInUseIsDamage and does not hold up readings:
// its bytes will not come back.
func TestASegmentThatVanishesWhileItIsInUseIsDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, ManualCompaction: true, CacheBytes: 1, OpenFiles: 1, CarryRows: 1})
	f := newFleet(t, s, 10)
	first := shifted(f, 1000, 0)
	for _, sec := range []*telemetry.Section{first, shifted(f, 1000, 3)} {
		commit(t, s, sec)
		if err := s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, segmentDir, "*.seg"))
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	rows, errs := readable(t, s)
	if len(rows) != 1000 || len(errs) == 0 || telemetry.CodeOf(errs[0]) != telemetry.CodeDamaged || !strings.Contains(errs[0].Error(), filepath.Base(names[0])) {
		t.Errorf("%d rows were read: %v", len(rows), errs)
	}
	commit(t, s, first)
	if len(first.Duplicates) != 0 {
		t.Errorf("%d duplicates of rows that are lost", len(first.Duplicates))
	}
}
