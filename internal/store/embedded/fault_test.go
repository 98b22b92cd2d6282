package embedded

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// filled opens a store with the rows of some commits of the standard workload.
func filled(t *testing.T, opt Options, commits, rows int) (*Store, *fleet) {
	t.Helper()
	s := open(t, opt)
	f := newFleet(t, s, 100)
	for range commits {
		commit(t, s, f.section(rows))
	}
	return s, f
}

func sorted(rows []string) []string {
	sort.Strings(rows)
	return rows
}

// readable scans what can be read, and returns the errors of the units that cannot.
func readable(t *testing.T, s *Store) (rows []string, errs []error) {
	t.Helper()
	return readableOf(t, s, "env")
}

func readableOf(t *testing.T, s *Store, table string) (rows []string, errs []error) {
	t.Helper()
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: minTime, To: maxTime})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	var sec telemetry.Section
	for _, u := range sc.Units() {
		u.Runs()
		u.RunStats("temperature")
		if _, err := u.Read(&sec, []string{"temperature"}, true); err != nil {
			errs = append(errs, err)
			continue
		}
		for i := range sec.Rows() {
			rows = append(rows, fmt.Sprint(sc.Series(sec.Series[i]), " ", sec.Time[i], " ", sec.Columns[0].Float(i)))
		}
	}
	return sorted(rows), errs
}

func TestAFullDiskRefusesForAWhileAndLosesNothing(t *testing.T) {
	s, f := filled(t, Options{ManualCompaction: true, PageSize: 4096}, 2, 1000)
	limit := func(pages int) {
		t.Helper()
		if err := s.w.query(fmt.Sprintf("PRAGMA max_page_count=%d", pages), func([]driver.Value) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // SQLite takes it as the present size
	st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{f.section(20_000)}}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := st.Commit(context.Background()); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
			t.Fatalf("commit on a full disk: %v", err)
		}
		if err := s.Health(); err == nil || !strings.Contains(err.Error(), "full") {
			t.Fatalf("health on a full disk: %v", err)
		}
	}
	if rows, _ := readable(t, s); len(rows) != 2000 {
		t.Fatalf("%d rows can be read while the disk is full", len(rows))
	}
	limit(1 << 30)
	if err := st.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Health(); err != nil {
		t.Fatal(err)
	}
	if rows, _ := readable(t, s); len(rows) != 22_000 || len(slices.Compact(rows)) != 22_000 {
		t.Fatalf("%d rows after there was room again", len(rows))
	}
}

func TestADamagedSegmentHidesNoOtherAndNamesItself(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	s, f := filled(t, Options{Dir: dir, ManualCompaction: true}, 2, 5000)
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		commit(t, s, f.section(5000))
	}
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, f.section(100))
	before, errs := readable(t, s)
	if len(errs) > 0 || len(before) != 20_100 {
		t.Fatal(len(before), errs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, segmentDir, "*.seg"))
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	intact, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for round := range 40 {
		damaged := slices.Clone(intact)
		what := "missing"
		switch {
		case round == 0:
			if err := os.Remove(names[0]); err != nil {
				t.Fatal(err)
			}
		case round < 10:
			damaged = damaged[:rng.IntN(len(damaged))]
			what = fmt.Sprintf("cut to %d of %d bytes", len(damaged), len(intact))
		default:
			at := rng.IntN(len(damaged))
			damaged[at] ^= 1 << rng.IntN(8)
			what = fmt.Sprintf("bit flipped in byte %d", at)
		}
		if round > 0 {
			if err := os.WriteFile(names[0], damaged, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		checkDamaged(t, dir, what, names[0], before, f)
		if err := os.WriteFile(names[0], intact, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// checkDamaged opens a store one of whose segments is damaged: what is read is
// right, what is not says so, and life goes on.
func checkDamaged(t *testing.T, dir, what, file string, before []string, f *fleet) {
	t.Helper()
	s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows, errs := readable(t, s)
	if len(errs) == 0 && !slices.Equal(rows, before) {
		t.Fatalf("%s: %d rows of %d were read without an error", what, len(rows), len(before))
	}
	if len(rows) < 10_100 {
		t.Errorf("%s: only %d rows can be read", what, len(rows))
	}
	for _, row := range rows {
		if _, found := slices.BinarySearch(before, row); !found {
			t.Fatalf("%s: row %q was never stored", what, row)
		}
	}
	for _, err := range errs {
		if telemetry.CodeOf(err) != telemetry.CodeDamaged || !strings.Contains(err.Error(), filepath.Base(file)) {
			t.Errorf("%s: the error does not name %s: %v", what, filepath.Base(file), err)
		}
	}
	// Late rows look into the damaged segment, and merges meet it.
	sec := f.section(100)
	for i := range sec.Time {
		sec.Time[i] = fleetStart*1e6 + int64(i)
	}
	st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{sec}}}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	st.Abort()
}

func TestADamagedFrameIsSetAsideAndTheRestStays(t *testing.T) {
	dir := t.TempDir()
	s, _ := filled(t, Options{Dir: dir, ManualCompaction: true}, 3, 1000)
	if err := s.w.exec("UPDATE frames SET data = CAST(substr(data, 1, 100) || zeroblob(length(data) - 100) AS BLOB) WHERE id = (SELECT min(id) FROM frames)"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir, ManualCompaction: true})
	rows, errs := readable(t, s)
	if len(rows) != 0 && len(rows) != 2000 || len(errs) != 1 || telemetry.CodeOf(errs[0]) != telemetry.CodeDamaged || !strings.Contains(errs[0].Error(), "frame") {
		t.Fatal(len(rows), errs)
	}
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if rows, errs := readable(t, s); len(rows) != 2000 || len(errs) != 0 {
		t.Fatal(len(rows), errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "damaged", "frame-2")); err != nil {
		t.Fatal(err)
	}
	if s.Stats().Damaged == 0 {
		t.Error("the damage was not counted")
	}
}

func TestADamagedCatalogIsAnErrorThatNamesIt(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	dir := t.TempDir()
	s, _ := filled(t, Options{Dir: dir, ManualCompaction: true, PageSize: 1024}, 3, 1000)
	before, _ := readable(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, catalogFile)
	intact, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		damaged := slices.Clone(intact)
		at := rng.IntN(len(damaged) - 100)
		what := fmt.Sprintf("100 bytes from %d", at)
		switch rng.IntN(3) {
		case 0:
			copy(damaged[at:at+100], bytes.Repeat([]byte{byte(rng.IntN(256))}, 100))
		case 1:
			damaged, what = damaged[:at], fmt.Sprintf("cut to %d bytes", at)
		default:
			damaged[at] ^= 1 << rng.IntN(8)
			what = fmt.Sprintf("bit flipped in byte %d", at)
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true})
		if err != nil {
			if !strings.Contains(err.Error(), catalogFile) {
				t.Errorf("%s: the error does not name the catalog: %v", what, err)
			}
			continue
		}
		if s.tenant(telemetry.DefaultTenant) != nil && s.tenant(telemetry.DefaultTenant).tableName("env") != nil {
			rows, _ := readable(t, s)
			for _, row := range rows {
				if _, found := slices.BinarySearch(before, row); !found {
					t.Fatalf("%s: row %q was never stored", what, row)
				}
			}
		}
		if err := s.Close(); err != nil && telemetry.CodeOf(err) == "" {
			t.Error(err)
		}
	}
}

func TestOneNodeAtATimeHoldsADirectory(t *testing.T) {
	dir := t.TempDir()
	s, _ := filled(t, Options{Dir: dir, ManualCompaction: true}, 1, 10)
	for _, readOnly := range []bool{false, true} {
		if _, err := Open(context.Background(), Options{Dir: dir, ReadOnly: readOnly}); telemetry.CodeOf(err) != telemetry.CodeConflict {
			t.Errorf("a second store, read-only %v: %v", readOnly, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := open(t, Options{Dir: dir, ReadOnly: true}), open(t, Options{Dir: dir, ReadOnly: true})
	for _, r := range []*Store{a, b} {
		if got := scanAll(t, r, "env"); len(got) != 10 {
			t.Errorf("a reader sees %d rows", len(got))
		}
		if _, err := r.Stage(context.Background(), &telemetry.Commit{}); telemetry.CodeOf(err) != telemetry.CodeInvalid {
			t.Errorf("stage on a reader: %v", err)
		}
	}
	if _, err := Open(context.Background(), Options{Dir: dir}); telemetry.CodeOf(err) != telemetry.CodeConflict {
		t.Errorf("a node beside readers: %v", err)
	}
	if _, err := Open(context.Background(), Options{Dir: t.TempDir(), ReadOnly: true}); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Errorf("a reader of nothing: %v", err)
	}
}

func TestWhatAnInterruptedCompactionLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	s, _ := filled(t, Options{Dir: dir, ManualCompaction: true}, 1, 1000)
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(dir, segmentDir, "00000000000000ff.seg")
	if err := os.WriteFile(orphan, []byte("half a segment"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir, ManualCompaction: true})
	if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the orphan is still there: %v", err)
	}
	if rows, errs := readable(t, s); len(rows) != 1000 || len(errs) > 0 {
		t.Error(len(rows), errs)
	}
}
