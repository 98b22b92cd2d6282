package embedded

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// steady is a store that is written for ever and whose content stays as large as it
// is. A step is what a node does in ten minutes.
type steady struct {
	*testing.T
	s     *Store
	dir   string
	now   time.Time
	table *telemetry.Table
}

func newSteady(t *testing.T, table *telemetry.Table) *steady {
	st := &steady{T: t, dir: t.TempDir(), now: time.Unix(0, sampleClock), table: table}
	st.s = open(t, Options{
		Dir: st.dir, ManualCompaction: true, CarryRows: 50, MergeFanIn: 4, WALBytes: 256 << 10, DeletedAge: time.Hour,
		Now: func() time.Time { return st.now },
	})
	if err := st.s.PutTable(context.Background(), telemetry.DefaultTenant, table, nil); err != nil {
		t.Fatal(err)
	}
	return st
}

// step commits rows and does what the background work of ten minutes does.
func (st *steady) step(rows int, value func(i int) (at int64, v float64)) {
	st.Helper()
	ref, err := st.s.Series(telemetry.DefaultTenant, st.table, []byte("steady"), nil)
	if err != nil {
		st.Fatal(err)
	}
	for from := 0; from < rows; from += 100 {
		sec := &telemetry.Section{}
		sec.Reset(st.table)
		for i := from; i < from+100; i++ {
			at, v := value(i)
			sec.AppendRow(ref, at, at, []telemetry.Value{float(v)})
		}
		commit(st.T, st.s, sec)
	}
	tn := st.s.tenant(telemetry.DefaultTenant)
	if _, err := st.s.compactLevel0(context.Background(), tn, true); err != nil {
		st.Fatal(err)
	}
	for merged := true; merged; {
		if merged, err = st.s.mergeOne(context.Background(), tn, false); err != nil {
			st.Fatal(err)
		}
	}
	if err := st.s.clean(); err != nil {
		st.Fatal(err)
	}
	if err := st.s.checkpoint(); err != nil {
		st.Fatal(err)
	}
	st.now = st.now.Add(10 * time.Minute)
}

// size is the bytes of all files, and their names.
func (st *steady) size() (bytes int64, files int) {
	st.Helper()
	err := filepath.WalkDir(st.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		bytes, files = bytes+info.Size(), files+1
		return err
	})
	if err != nil {
		st.Fatal(err)
	}
	return bytes, files
}

// stays runs steps, and compares the largest directory of the second half with that
// of the first.
func (st *steady) stays(steps int, step func(n int)) {
	st.Helper()
	var most [2]int64
	files := 0
	for n := range steps {
		step(n)
		bytes, f := st.size()
		most[2*n/steps] = max(most[2*n/steps], bytes)
		files = max(files, f)
		if wal := fileSize(st.s.catalogPath() + "-wal"); wal > 1<<20 {
			st.Errorf("step %d: the write-ahead log has %d bytes", n, wal)
		}
	}
	st.Logf("at most %d bytes in the first half, %d in the second, in %d files", most[0], most[1], files)
	if most[1] > most[0]*11/10 {
		st.Errorf("the directory grew from %d to %d bytes, and holds no more", most[0], most[1])
	}
	if files > 40 {
		st.Errorf("%d files", files)
	}
	if n := len(st.s.doomed); n > 0 {
		st.Errorf("%d frames wait to be deleted", n)
	}
}

// TestOverwritingForEverDoesNotGrowTheDisk writes the same keys again and again.
func TestOverwritingForEverDoesNotGrowTheDisk(t *testing.T) {
	st := newSteady(t, &telemetry.Table{
		Name: "last", Version: 1, Identity: telemetry.IdentityTime, TimeInPayload: true, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}},
	})
	st.stays(80, func(n int) {
		st.step(300, func(i int) (int64, float64) { return int64(i), float64(n) })
	})
	if rows := scanAll(t, st.s, "last"); len(rows) != 300 {
		t.Errorf("%d rows, want 300", len(rows))
	}
	keys := 0
	for _, g := range st.s.tenant(telemetry.DefaultTenant).segs {
		keys += len(g.replaced)
	}
	if keys > 4*300 {
		t.Errorf("%d overwritten keys are kept, of 300", keys)
	}
}

// TestDeletingForEverDoesNotGrowTheDisk stores new rows and deletes those of an hour
// ago, one by one.
func TestDeletingForEverDoesNotGrowTheDisk(t *testing.T) {
	st := newSteady(t, small(0))
	st.stays(100, func(n int) {
		st.step(300, func(i int) (int64, float64) { return st.now.UnixNano() + int64(i)*1e6, float64(n*1000 + i) })
		if err := deleteTimes(context.Background(), st.s, st.table.Name, minTime, st.now.Add(-time.Hour).UnixNano()); err != nil {
			t.Fatal(err)
		}
	})
	if rows := scanAll(t, st.s, "small0"); len(rows) > 7*300 || len(rows) < 5*300 {
		t.Errorf("%d rows, want about 1800", len(rows))
	}
	if st.s.Stats().DeletedKept > 30*300 {
		t.Errorf("%d deleted rows are on the disk", st.s.Stats().DeletedKept)
	}
}
