package embedded

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// copySnapshot makes a data directory of a snapshot.
func copySnapshot(t *testing.T, s *Store) string {
	t.Helper()
	dir := t.TempDir()
	snap, err := s.Snapshot(t.Context(), filepath.Join(dir, catalogFile))
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if len(snap.Missing) > 0 {
		t.Errorf("missing: %v", snap.Missing)
	}
	if err := os.Mkdir(filepath.Join(dir, segmentDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range snap.Segments {
		in, err := os.Open(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(dir, filepath.FromSlash(f.Name)))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(out, in); err != nil || n != f.Size {
			t.Fatalf("%s: %d of %d bytes, %v", f.Name, n, f.Size, err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		_ = in.Close() // it was only read
	}
	return dir
}

// TestASnapshotIsOneStateWhileCommitsAndCompactionsGoOn takes snapshots of a store
// that is written to and compacted as fast as it goes: each holds the numbers from
// 0 to some n, n at least what was acknowledged before it began, each once.
func TestASnapshotIsOneStateWhileCommitsAndCompactionsGoOn(t *testing.T) {
	s := open(t, Options{CompactRows: 300, MergeFanIn: 3, WALBytes: 128 << 10, Partition: time.Second, CacheBytes: 64 << 10})
	table, pulses := env(), pulse()
	for _, tb := range []*telemetry.Table{table, pulses} {
		if err := s.PutTable(t.Context(), telemetry.DefaultTenant, tb, nil); err != nil {
			t.Fatal(err)
		}
	}
	session, _, err := s.OpenSession(t.Context(), "mqtt:test")
	if err != nil {
		t.Fatal(err)
	}
	var acked atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for n := 0; ctx.Err() == nil && n < 60_000; {
			c, next, err := killBatch(s, table, pulses, session, nil, n)
			if err != nil {
				t.Error(err)
				return
			}
			commitOnce(t, s, c)
			n = next
			acked.Store(int64(n))
		}
	})
	rounds := 6
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 60
	}
	for range rounds {
		before := int(acked.Load())
		for int(acked.Load()) < before+500 && ctx.Err() == nil && acked.Load() < 59_000 {
			time.Sleep(time.Millisecond)
		}
		before = int(acked.Load())
		dir := copySnapshot(t, s)
		n := countedUpTo(t, dir)
		if n < before {
			t.Errorf("the snapshot has %d readings; %d were acknowledged before it began", n, before)
		}
	}
	cancel()
	work.Wait()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkNothingLeft(t, s)
}

func commitOnce(t *testing.T, s *Store, c *telemetry.Commit) {
	st, err := s.Stage(context.Background(), c)
	if err == nil {
		err = st.Commit(context.Background())
	}
	if err != nil {
		t.Error(err)
	}
}

// countedUpTo checks that a store holds the numbers below n, each once, in both
// tables, and returns n.
func countedUpTo(t *testing.T, dir string) int {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: dir, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	counts := map[string]int{}
	for _, name := range []string{"env", "pulse"} {
		sc, err := s.Scan(t.Context(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: name, From: minTime, To: maxTime})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int]int{}
		var sec telemetry.Section
		for _, u := range sc.Units() {
			if _, err := u.Read(&sec, []string{sc.Columns()[0].Name}, false); err != nil {
				t.Fatal(err)
			}
			for _, bits := range sec.Columns[0].Bits {
				n := int(bits)
				if name == "env" {
					n = int(math.Float64frombits(bits))
				}
				seen[n]++
			}
		}
		sc.Close()
		for n := range len(seen) {
			if seen[n] != 1 {
				t.Fatalf("%s: number %d of %d stands there %d times", name, n, len(seen), seen[n])
			}
		}
		counts[name] = len(seen)
	}
	if counts["env"] != counts["pulse"] {
		t.Errorf("%v: the tables are of different states", counts)
	}
	err = s.Verify(t.Context(), func(d Damage) { t.Errorf("damage: %s", d.String()) }, nil)
	if err != nil {
		t.Error(err)
	}
	return counts["env"]
}

// checkNothingLeft checks that files which snapshots held back are gone.
func checkNothingLeft(t *testing.T, s *Store) {
	t.Helper()
	orphans, err := s.Orphans()
	if err != nil || len(orphans) > 0 {
		t.Errorf("left over: %v, %v", orphans, err)
	}
	if s.holds.count != 0 || len(s.holds.kept) != 0 {
		t.Errorf("%d snapshots hold %d segments", s.holds.count, len(s.holds.kept))
	}
}

func TestASnapshotKeepsItsSegmentsUntilItIsClosed(t *testing.T) {
	s := open(t, Options{ManualCompaction: true, CompactRows: 100, MergeFanIn: 2, CarryRows: 1})
	table := env()
	if err := s.PutTable(t.Context(), telemetry.DefaultTenant, table, nil); err != nil {
		t.Fatal(err)
	}
	write := func(from int) {
		var sec telemetry.Section
		sec.Reset(table)
		for i := range 50 {
			sec.AppendRow(device(t, s, table, i), int64(from+i), 1, []telemetry.Value{float(float64(from + i)), float(2), float(3), float(4), {Text: []byte("ok")}})
		}
		commit(t, s, &sec)
		if _, err := s.compactLevel0(t.Context(), s.tenant(telemetry.DefaultTenant), true); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	write(1000)
	// What Snapshot does, with a merge at the worst moment.
	catalog := filepath.Join(t.TempDir(), "copy.db")
	s.holdSegments()
	if err := s.copyCatalog(catalog); err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	named, err := namedSegments(catalog)
	if err != nil {
		t.Fatal(err)
	}
	snap := &Snapshot{s: s}
	snap.pins, _ = s.unholdSegments(named)
	if err := snap.files(named); err != nil || len(snap.Missing) > 0 || len(snap.Segments) == 0 {
		t.Fatalf("%d segments, missing: %v, %v", len(snap.Segments), snap.Missing, err)
	}
	for _, f := range snap.Segments {
		if _, err := os.Stat(f.Path); err != nil {
			t.Errorf("a segment of the snapshot went: %v", err)
		}
	}
	snap.Close()
	snap.Close()
	checkNothingLeft(t, s)
}
