package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"go.uber.org/goleak"
)

func TestNewerReadingsNeedNoLookUpAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s, f := filled(t, Options{Dir: dir, ManualCompaction: true}, 3, 1000)
	if n := s.Stats().Lookups; n != 0 {
		t.Errorf("%d look-ups for ascending times", n)
	}
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, f.section(1000))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir, ManualCompaction: true})
	if err := s.PutTable(context.Background(), telemetry.DefaultTenant, f.table, nil); err != nil {
		t.Fatal(err)
	}
	commit(t, s, f.section(1000))
	if st := s.Stats(); st.Lookups != 0 || st.Duplicates != 0 {
		t.Errorf("after a restart: %d look-ups, %d duplicates", st.Lookups, st.Duplicates)
	}
	f.next -= 1500
	f.rng = rand.New(rand.NewPCG(9, 9)) // other values
	sec := f.section(1500)
	commit(t, s, sec)
	if st := s.Stats(); st.Lookups != 1500 {
		t.Errorf("%d look-ups for 1500 late rows", st.Lookups)
	}
}

func TestLateRowsMakeFewSegments(t *testing.T) {
	s := open(t, Options{ManualCompaction: true})
	f := newFleet(t, s, 100)
	rng := rand.New(rand.NewPCG(5, 5))
	const rounds = 40
	for range rounds {
		sec := f.section(2000)
		for i := range sec.Time {
			if i%20 == 0 {
				sec.Time[i] -= rng.Int64N(60 * 24 * 3600 * 1e9)
			}
		}
		commit(t, s, sec)
		if _, err := s.compactLevel0(context.Background(), s.tenant(telemetry.DefaultTenant), true); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Segments; n > 3*rounds {
		t.Errorf("%d segments after %d compactions", n, rounds)
	}
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Segments; n > 16 {
		t.Errorf("%d segments after merges", n)
	}
	if rows := scanAll(t, s, "env"); len(rows) != rounds*2000 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestTheLogStaysBoundedBesideAReader(t *testing.T) {
	const wal = 512 << 10
	s := open(t, Options{WALBytes: wal, CompactRows: 5000})
	f := newFleet(t, s, 1000)
	commit(t, s, f.section(1000))
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	var sec telemetry.Section
	most := int64(0)
	for range 300 {
		commit(t, s, f.section(1000))
		for _, u := range sc.Units() {
			if _, err := u.Read(&sec, []string{"temperature"}, false); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, s.Stats().WALSize)
	}
	if most > 8*wal {
		t.Errorf("the log grew to %d bytes with checkpoints at %d", most, wal)
	}
	if sec.Rows() != 1000 {
		t.Errorf("the pinned scan has %d rows", sec.Rows())
	}
}

func TestTheSessionLedgerDoesNotGrowOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, ManualCompaction: true})
	id, _, err := s.OpenSession(context.Background(), "a")
	if err != nil {
		t.Fatal(err)
	}
	packet := uint16(1)
	for range 300 {
		var ops []telemetry.LedgerOp
		for range 1000 {
			ops = append(ops, telemetry.LedgerOp{Session: id, PacketID: packet, QoS: 1, Kind: telemetry.LedgerPut, Hash: uint64(packet)})
			ops = append(ops, telemetry.LedgerOp{Session: id, PacketID: packet - 500, Kind: telemetry.LedgerDrop})
			packet++
		}
		st, err := s.Stage(context.Background(), &telemetry.Commit{Ledger: ops})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	var rows, size int64
	err = s.w.query("SELECT count(*), sum(length(data)) FROM ledger", func(row []driver.Value) error {
		rows, size = asInt(row[0]), asInt(row[1])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 4*ledgerLogBytes {
		t.Errorf("the log has %d rows of %d bytes", rows, size)
	}
	_, before, err := s.OpenSession(context.Background(), "a")
	if err != nil || len(before) < 500 {
		t.Fatal(len(before), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir, ManualCompaction: true})
	if _, after, err := s.OpenSession(context.Background(), "a"); err != nil || !slices.Equal(before, after) {
		t.Errorf("%d entries before, %d after a restart: %v", len(before), len(after), err)
	}
}

func TestQuarantineKeepsTheNewestWithinItsBudget(t *testing.T) {
	s := open(t, Options{ManualCompaction: true, QuarantineRecords: 10, QuarantineBytes: 100_000})
	put := func(n, payload int) {
		t.Helper()
		b := &telemetry.Batch{Tenant: telemetry.DefaultTenant}
		for range n {
			b.Quarantine = append(b.Quarantine, telemetry.Quarantined{Topic: "t", Payload: make([]byte, payload), Offset: -1})
		}
		st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{b}})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for range 25 {
		put(1, 10)
	}
	if st := s.Stats(); st.Quarantined != 10 || st.QuarantineLost != 15 {
		t.Errorf("kept %d, lost %d", st.Quarantined, st.QuarantineLost)
	}
	put(1, 95_000)
	put(1, 5_000)
	if st := s.Stats(); st.QuarantineSize > 100_000 || st.Quarantined != 1 {
		t.Errorf("kept %d records of %d bytes", st.Quarantined, st.QuarantineSize)
	}
	put(30, 1)
	if st := s.Stats(); st.Quarantined != 10 {
		t.Errorf("kept %d of one commit", st.Quarantined)
	}
}

func TestAMillionSeriesTakeFewBytesEach(t *testing.T) {
	n := 200_000
	if os.Getenv("WEIR_SOAK") != "" {
		n = 1_000_000
	}
	s := open(t, Options{ManualCompaction: true})
	table := env()
	if err := s.PutTable(context.Background(), telemetry.DefaultTenant, table, nil); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		topic := fmt.Appendf(nil, "plants/p%02d/lines/l%d/devices/dev%08d/env/x", i%7, i%3, i)
		tags := [][]byte{topic[7:10], topic[17:19], topic[28:39]}
		if _, err := s.Series(telemetry.DefaultTenant, table, topic, tags); err != nil {
			t.Fatal(err)
		}
	}
	s.tenant(telemetry.DefaultTenant).marks.grow(uint32(n), minTime)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
	t.Logf("%.1f bytes a series, watermark included; Stats says %d", each, s.Stats().SeriesMemory/int64(n))
	if each > 130 {
		t.Errorf("%.1f bytes a series", each)
	}
	if objects := after.HeapObjects - before.HeapObjects; objects > uint64(n/100) {
		t.Errorf("%d heap objects for %d series", objects, n)
	}
}

func TestAKnownSeriesIsFoundWithoutAllocation(t *testing.T) {
	s := open(t, Options{ManualCompaction: true})
	f := newFleet(t, s, 1000)
	topic, tags := deviceKey(77)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := s.Series(telemetry.DefaultTenant, f.table, topic, tags); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestACommitAllocatesNothingForEachRow(t *testing.T) {
	s := open(t, Options{ManualCompaction: true})
	f := newFleet(t, s, 1000)
	allocs := testing.AllocsPerRun(20, func() { commit(t, s, f.section(5000)) })
	if allocs > 100 {
		t.Errorf("%v allocations for a commit of 5000 rows", allocs)
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := Open(context.Background(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, s, 10)
	commit(t, s, f.section(100))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if err := s.Health(); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
		t.Errorf("health of a closed store: %v", err)
	}
}

// TestCommitsScansAndCompactionsRunTogether is for the race detector.
func TestCommitsScansAndCompactionsRunTogether(t *testing.T) {
	s := open(t, Options{CompactRows: 2000, MergeFanIn: 2, WALBytes: 64 << 10, CacheBytes: 1 << 16})
	f := newFleet(t, s, 50)
	stop, done := make(chan struct{}), make(chan error, 3)
	for worker := range 2 {
		go func() {
			var sec telemetry.Section
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				topic, tags := deviceKey(worker*1000 + sec.Rows()%500)
				if _, err := s.Series(telemetry.DefaultTenant, f.table, topic, tags); err != nil {
					done <- err
					return
				}
				sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime})
				if err != nil {
					done <- err
					return
				}
				rows := 0
				for _, u := range sc.Units() {
					if _, err := u.Read(&sec, []string{"temperature", "status"}, true); err != nil {
						done <- err
						return
					}
					rows += sec.Rows()
				}
				sc.Close()
				if rows%500 != 0 {
					done <- fmt.Errorf("a scan saw %d rows of commits of 500", rows)
					return
				}
				s.Stats()
			}
		}()
	}
	for i := range 60 {
		sec := f.section(500)
		if i%5 == 4 {
			for j := range sec.Time {
				sec.Time[j] -= 3e9 + int64(i) // late: look-ups run too
			}
		}
		commit(t, s, sec)
	}
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for s.Stats().Compactions == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if rows := scanAll(t, s, "env"); len(rows) != 30_000 {
		t.Errorf("%d rows", len(rows))
	}
}
