package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// noisy is a table whose readings do not shrink.
func noisy(i int) *telemetry.Table {
	return &telemetry.Table{
		Name: fmt.Sprintf("noisy%d", i), Version: 1, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}, {Name: "noise", Type: telemetry.String}},
	}
}

// fullRig is a store of three tables on a small disk.
type fullRig struct {
	*testing.T
	disk string
	now  time.Time
	s    *Store
	rng  *rand.Rand
	at   int64
}

func (r *fullRig) open() {
	r.Helper()
	s, err := Open(context.Background(), Options{
		Dir: filepath.Join(r.disk, "data"), ManualCompaction: true, CarryRows: 2000, MergeFanIn: 3, CompactRows: 1 << 20,
		Now: func() time.Time { return r.now },
	})
	if err != nil {
		r.Fatal(err)
	}
	r.s = s
	for i := range 3 {
		if err := s.PutTable(context.Background(), telemetry.DefaultTenant, noisy(i), nil); err != nil {
			r.Fatal(err)
		}
	}
}

// commit stores rows of the first tables: two share a pack, one has its own segment.
func (r *fullRig) commit(tables, rows int) {
	r.Helper()
	var secs []*telemetry.Section
	for i := range tables {
		ref, err := r.s.Series(telemetry.DefaultTenant, noisy(i), []byte("n"), nil)
		if err != nil {
			r.Fatal(err)
		}
		sec := &telemetry.Section{}
		sec.Reset(noisy(i))
		for range rows {
			r.at++
			noise := make([]byte, 0, 160)
			for range 20 {
				noise = fmt.Appendf(noise, "%x", r.rng.Uint32())
			}
			sec.AppendRow(ref, r.at, r.at, []telemetry.Value{float(float64(r.at)), {Text: noise}})
		}
		secs = append(secs, sec)
	}
	commit(r.T, r.s, secs...)
}

// segment commits rows and makes segments of them.
func (r *fullRig) segment(tables, rows int) {
	r.Helper()
	r.commit(tables, rows)
	if _, err := r.s.compactLevel0(context.Background(), r.s.tenant(telemetry.DefaultTenant), true); err != nil {
		r.Fatal(err)
	}
}

func (r *fullRig) content() []string {
	r.Helper()
	var all []string
	for i := range 3 {
		all = append(all, sorted(scanAll(r.T, r.s, noisy(i).Name))...)
	}
	return all
}

// strays are files of segments that the catalog does not name.
func (r *fullRig) strays() (out []string) {
	r.Helper()
	named := map[string]bool{}
	for _, g := range r.s.tenant(telemetry.DefaultTenant).segs {
		if g.pack != nil {
			named[filepath.Base(g.pack.file.path)] = true
		} else {
			named[filepath.Base(r.s.segmentPath(g.id))] = true
		}
	}
	entries, err := os.ReadDir(filepath.Join(r.disk, "data", segmentDir))
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range entries {
		if !named[e.Name()] {
			out = append(out, e.Name())
		}
	}
	return out
}

// TestAFullDiskStopsAStepAndHarmsNothing lets the disk be full at every step that
// rewrites data: with each amount of room the step is done or fails as a whole, its
// files are gone, what was stored is there, and with room it is done.
func TestAFullDiskStopsAStepAndHarmsNothing(t *testing.T) {
	ctx := context.Background()
	rng := testkit.Random(t)
	steps := []struct {
		name    string
		prepare func(r *fullRig)
		do      func(r *fullRig) error
	}{
		{"compaction", func(r *fullRig) { r.commit(3, 1500) }, func(r *fullRig) error {
			_, err := r.s.compactLevel0(ctx, r.s.tenant(telemetry.DefaultTenant), true)
			return err
		}},
		{"merge", func(r *fullRig) {
			for range 3 {
				r.segment(1, 2500)
			}
		}, merged},
		{"merge of packs", func(r *fullRig) {
			for range 3 {
				r.segment(3, 800)
			}
		}, merged},
		{"deletion", func(r *fullRig) { r.segment(3, 1000); r.commit(2, 500) }, func(r *fullRig) error {
			return deleteNoisy(r, false)
		}},
		{"rewrite without deleted rows", func(r *fullRig) {
			r.segment(2, 2500)
			if err := deleteNoisy(r, true); err != nil {
				r.Fatal(err)
			}
			r.now = r.now.Add(2 * time.Hour)
		}, merged},
		{"shrinking", func(r *fullRig) {
			for range 3 {
				r.commit(3, 400)
			}
			r.segment(3, 400)
			r.commit(2, 400) // what is written anew
			if complete, err := r.s.truncateLog(); err != nil || !complete {
				r.Fatal(complete, err)
			}
		}, shrunk},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			failed := 0
			for _, left := range []int64{0, 8 << 10, 64 << 10, 200 << 10} {
				r := &fullRig{T: t, disk: testkit.SmallDisk(t, 16), now: time.Unix(0, sampleClock), rng: rng}
				r.open()
				step.prepare(r)
				want := r.content()
				ballast := filepath.Join(r.disk, "ballast")
				testkit.FillDisk(t, ballast, left)
				err := step.do(r)
				if err != nil {
					failed++
					if telemetry.CodeOf(err) != telemetry.CodeUnavailable {
						t.Errorf("with %d bytes of room: %v", left, err)
					}
					if got := r.content(); !slices.Equal(got, want) {
						t.Fatalf("with %d bytes of room, after %v: %d rows of %d are there", left, err, len(got), len(want))
					}
					if log := fileSize(r.s.catalogPath() + "-wal"); step.name == "shrinking" && log > 0 {
						t.Errorf("with %d bytes of room it leaves a log of %d bytes", left, log)
					}
					if s := r.strays(); len(s) > 0 {
						t.Errorf("with %d bytes of room it leaves %v", left, s)
					}
				}
				if err := os.Remove(ballast); err != nil {
					t.Fatal(err)
				}
				if err != nil {
					if err := step.do(r); err != nil {
						t.Fatalf("with room again: %v", err)
					}
				}
				got := r.content()
				if err := r.s.Close(); err != nil {
					t.Fatal(err)
				}
				r.open()
				if again := r.content(); !slices.Equal(again, got) || step.name != "deletion" && !slices.Equal(got, want) || step.name == "deletion" && len(got) >= len(want) {
					t.Fatalf("%d rows before, %d after, %d after opening again", len(want), len(got), len(again))
				}
				if err := r.s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if failed == 0 {
				t.Error("the disk was never too full")
			}
		})
	}
}

func merged(r *fullRig) error {
	merged, err := r.s.mergeOne(context.Background(), r.s.tenant(telemetry.DefaultTenant), true)
	if err == nil && !merged {
		err = errors.New("nothing was merged")
	}
	return err
}

// shrunk gives back the space of the frames that segments have replaced.
func shrunk(r *fullRig) error {
	err := r.s.shrink()
	if err != nil {
		return err
	}
	free := int64(0)
	err = r.s.w.query("PRAGMA freelist_count", func(row []driver.Value) error { free = asInt(row[0]); return nil })
	if left := fileSize(r.s.catalogPath()) + fileSize(r.s.catalogPath()+"-wal"); err == nil && (free > 0 || left > 400<<10) {
		err = fmt.Errorf("%d bytes and %d free pages are left", left, free)
	}
	return err
}

// deleteNoisy deletes every third row of the first table.
func deleteNoisy(r *fullRig, must bool) error {
	out, err := r.s.Delete(context.Background(), thirdOf(noisy(0).Name))
	if err == nil && must && out.Rows == 0 {
		err = errors.New("nothing was deleted")
	}
	return err
}

// TestAFullDiskStopsAnUpgrade: the directory keeps its format, and is upgraded when
// there is room.
func TestAFullDiskStopsAnUpgrade(t *testing.T) {
	for _, format := range knownFormats() {
		if format == formatVersion {
			continue
		}
		source, want := copyOf(t, format)
		disk := testkit.SmallDisk(t, 4)
		dir, ballast := filepath.Join(disk, "data"), filepath.Join(disk, "ballast")
		if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
			t.Fatal(err)
		}
		testkit.FillDisk(t, ballast, 0)
		if _, err := Upgrade(context.Background(), Options{Dir: dir}); err == nil {
			t.Errorf("format %d was upgraded without any room", format)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if _, err := Upgrade(context.Background(), Options{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		s := open(t, Options{Dir: dir, ManualCompaction: true})
		sameContent(t, fmt.Sprintf("format %d", format), dump(t, s), want)
	}
}
