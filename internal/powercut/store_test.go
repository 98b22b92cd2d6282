package powercut

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The recorded program commits batches of two tables to an embedded store that
// compacts often, so that their small segments share packs, and now and then deletes
// the rows of two commits of one table. It reports each commit and deletion over a
// socket when it has returned.

var cutTable = &telemetry.Table{
	Name: "env", Version: 1, Tags: []string{"device"},
	Columns:  []telemetry.Column{{Name: "n", Type: telemetry.Int}, {Name: "note", Type: telemetry.String}},
	Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
}

// logTable gets the same readings; nothing of it is deleted.
var logTable = &telemetry.Table{
	Name: "log", Version: 1, Columns: []telemetry.Column{{Name: "n", Type: telemetry.Int}},
	Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
}

// cutDeletes says which commits' readings the deletion after commit c takes, from
// and to, counted from 0; none where from is negative.
func cutDeletes(c int) (from, to int) {
	if c%10 != 0 || c < 10 {
		return -1, -1
	}
	return c - 8, c - 6
}

// deletedReport is set in the report of a deletion.
const deletedReport = 1 << 31

const (
	cutCommits = 45
	cutRows    = 40 // a commit
	cutDevices = 7
)

func cutOptions(dir string) embedded.Options {
	o := embedded.Options{Dir: dir, CompactRows: 500, MergeFanIn: 2, DeletedAge: 50 * time.Millisecond, CompactAge: time.Hour, WALBytes: 64 << 10}
	if os.Getenv(sealedCut) != "" {
		m, err := seal.ParseMaster([]byte(strings.Repeat("5e", seal.KeyBytes)))
		if err != nil {
			panic(err)
		}
		o.Sealing = seal.Holding(m)
	}
	return o
}

// sealedCut is set where the store is encrypted.
const sealedCut = "WEIR_TEST_CUT_SEALED"

// cutTime is the time of reading n: two days, so that compaction cuts partitions.
func cutTime(n int) int64 {
	return time.Date(2026, 1, 1, 20, 0, 0, 0, time.UTC).UnixNano() + int64(n)*int64(10*time.Second)
}

func storeChild(dir, address string, _ bool) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	conn, err := net.Dial("tcp", address)
	check(err)
	s, err := embedded.Open(ctx, cutOptions(dir))
	check(err)
	check(s.PutTable(ctx, telemetry.DefaultTenant, cutTable, []byte("name: env")))
	check(s.PutTable(ctx, telemetry.DefaultTenant, logTable, []byte("name: log")))
	all, err := s.Series(telemetry.DefaultTenant, logTable, []byte("log"), nil)
	check(err)
	session, _, err := s.OpenSession(ctx, "mqtt:test")
	check(err)
	n := 0
	for c := range cutCommits {
		var sec telemetry.Section
		sec.Reset(cutTable)
		var log telemetry.Section
		log.Reset(logTable)
		for range cutRows {
			log.AppendRow(all, cutTime(n), cutTime(n), []telemetry.Value{{Bits: uint64(n)}})
			device := []byte("d" + strconv.Itoa(n%cutDevices))
			ref, err := s.Series(telemetry.DefaultTenant, cutTable, append([]byte("plants/"), device...), [][]byte{device})
			check(err)
			sec.AppendRow(ref, cutTime(n), cutTime(n), []telemetry.Value{{Bits: uint64(n)}, {Text: []byte(fmt.Sprintf("reading %d", n))}})
			n++
		}
		commit := &telemetry.Commit{
			Batches: []*telemetry.Batch{{
				Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec, &log},
				Quarantine: []telemetry.Quarantined{{Topic: "bad", Payload: []byte(strconv.Itoa(c)), Reason: telemetry.ReasonMalformed, Offset: -1}},
			}},
			Ledger: []telemetry.LedgerOp{{Session: session, PacketID: uint16(c + 1), QoS: 1, Kind: telemetry.LedgerPut, Hash: uint64(c)}},
		}
		staged, err := s.Stage(ctx, commit)
		check(err)
		check(staged.Commit(ctx))
		_, err = conn.Write(binary.BigEndian.AppendUint32(nil, uint32(c+1)))
		check(err)
		if c%14 == 13 {
			check(s.Compact(ctx)) // merges too, which a busy store puts off
		}
		if from, to := cutDeletes(c + 1); from >= 0 {
			deleteCommits(ctx, s, from, to, check)
			_, err = conn.Write(binary.BigEndian.AppendUint32(nil, deletedReport|uint32(c+1)))
			check(err)
		}
	}
	check(s.Close())
}

// deleteCommits deletes the readings of env of some commits.
func deleteCommits(ctx context.Context, s *embedded.Store, from, to int, check func(error)) {
	lo, hi := cutTime(from*cutRows), cutTime(to*cutRows)
	_, err := s.Delete(ctx, store.DeleteRequest{
		ScanRequest: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: lo, To: hi},
		Select: func(_ context.Context, _ store.Scan, u store.Unit, yield func([]int32) error) error {
			var sec telemetry.Section
			if _, err := u.Read(&sec, nil, false); err != nil {
				return err
			}
			var rows []int32
			for i, at := range sec.Time {
				if at >= lo && at < hi {
					rows = append(rows, int32(i))
				}
			}
			return yield(rows)
		},
	})
	check(err)
}

// reports is what the program has reported before a cut.
type reports struct{ commits, deletes int }

func (r *reports) take(data []byte) {
	if n := binary.BigEndian.Uint32(data); n&deletedReport != 0 {
		r.deletes = int(n &^ deletedReport)
	} else {
		r.commits = int(n)
	}
}

// diskHolds opens the store on a disk and returns how it breaks the promises, or ""
// if what was reported is there, whole and once, and what was deleted is not.
func diskHolds(dir string, r reports) (problem string, found reports) {
	ctx := context.Background()
	opt := cutOptions(dir)
	opt.ManualCompaction = true
	s, err := embedded.Open(ctx, opt)
	if err != nil {
		return "open: " + err.Error(), found
	}
	defer s.Close()
	tables, err := s.Tables(ctx, telemetry.DefaultTenant)
	if err != nil {
		return "tables: " + err.Error(), found
	}
	env, log := map[uint64]int{}, map[uint64]int{}
	for _, t := range tables {
		count := map[string]map[uint64]int{"env": env, "log": log}[t.Table.Name]
		if problem := countReadings(ctx, s, t.Table.Name, count); problem != "" {
			return problem, found
		}
	}
	if len(log)%cutRows != 0 {
		return fmt.Sprintf("%d readings: a commit is there in part", len(log)), found
	}
	found.commits = len(log) / cutRows
	if found.commits < r.commits {
		return fmt.Sprintf("%d commits of %d reported ones are there", found.commits, r.commits), found
	}
	for n := range found.commits * cutRows {
		if log[uint64(n)] != 1 {
			return fmt.Sprintf("reading %d of log is there %d times", n, log[uint64(n)]), found
		}
	}
	if problem := found.checkDeleted(env, r); problem != "" {
		return problem, found
	}
	var damaged []error
	if err := s.Verify(ctx, func(d embedded.Damage) { damaged = append(damaged, d.Err) }, nil); err != nil || len(damaged) > 0 {
		return fmt.Sprintf("verify: %v, %v", err, damaged), found
	}
	return checkRest(ctx, s, found.commits), found
}

// checkDeleted compares the readings of env with the deletions: those that were
// reported took all their readings, and one that was under way all or none.
func (found *reports) checkDeleted(env map[uint64]int, r reports) string {
	gone := map[int]bool{}
	for c := 1; c <= found.commits; c++ {
		from, to := cutDeletes(c)
		if from < 0 {
			continue
		}
		left := 0
		for n := from * cutRows; n < to*cutRows; n++ {
			left += env[uint64(n)]
		}
		switch {
		case left == 0:
			found.deletes = c
			for n := from * cutRows; n < to*cutRows; n++ {
				gone[n] = true
			}
		case c <= r.deletes:
			return fmt.Sprintf("%d readings of the deletion after commit %d came back", left, c)
		case left != (to-from)*cutRows:
			return fmt.Sprintf("the deletion after commit %d is there in part: %d readings are left", c, left)
		}
	}
	for n := range found.commits * cutRows {
		if !gone[n] && env[uint64(n)] != 1 {
			return fmt.Sprintf("reading %d of env is there %d times", n, env[uint64(n)])
		}
	}
	return ""
}

// countReadings counts the readings of a table by number, and looks at their values.
func countReadings(ctx context.Context, s *embedded.Store, table string, count map[uint64]int) string {
	scan, err := s.Scan(ctx, store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: math.MinInt64, To: math.MaxInt64})
	if err != nil {
		return "scan: " + err.Error()
	}
	defer scan.Close()
	columns := []string{"n", "note"}
	if table == "log" {
		columns = columns[:1]
	}
	var sec telemetry.Section
	for _, u := range scan.Units() {
		if _, err := u.Read(&sec, columns, true); err != nil {
			return "read: " + err.Error()
		}
		for i := range sec.Series {
			n := sec.Columns[0].Bits[i]
			count[n]++
			if sec.Time[i] != cutTime(int(n)) {
				return fmt.Sprintf("reading %d of %s came back as time %d", n, table, sec.Time[i])
			}
			if table == "log" {
				continue
			}
			device := "d" + strconv.Itoa(int(n)%cutDevices)
			if string(sec.Columns[1].Text(i)) != fmt.Sprintf("reading %d", n) || scan.Series(sec.Series[i]).Tags[0].Value != device {
				return fmt.Sprintf("reading %d came back as %q, %+v", n, sec.Columns[1].Text(i), scan.Series(sec.Series[i]))
			}
		}
	}
	return ""
}

// checkRest compares quarantine and ledger with the commits.
func checkRest(ctx context.Context, s *embedded.Store, commits int) string {
	quarantined := 0
	if err := s.Quarantined(ctx, telemetry.DefaultTenant, store.QuarantineFilter{}, func(*telemetry.Quarantined) bool {
		quarantined++
		return true
	}); err != nil {
		return "quarantine: " + err.Error()
	}
	_, ledger, err := s.OpenSession(ctx, "mqtt:test")
	if err != nil {
		return "ledger: " + err.Error()
	}
	if quarantined != commits || len(ledger) != commits {
		return fmt.Sprintf("%d commits, but %d quarantine records and %d ledger entries", commits, quarantined, len(ledger))
	}
	return ""
}

func TestAStoreSurvivesAPowerCutAtAnyPoint(t *testing.T) { cutStoreAnywhere(t, 1) }

// The key ring and the manifest must be as good as the rest at each moment.
func TestASealedStoreSurvivesAPowerCutAtAnyPoint(t *testing.T) {
	t.Setenv(sealedCut, "1")
	cutStoreAnywhere(t, 8)
}

// cutStoreAnywhere cuts the power at one of so many positions.
func cutStoreAnywhere(t *testing.T, oneOf int) {
	events, root := record(t, "store", false)
	seed := cutSeed()
	t.Logf("seed %d (WEIR_SEED=%d repeats it); %d events", seed, seed, len(events))
	segments, syncs, last := 0, 0, reports{}
	for i := range events {
		switch {
		case events[i].Kind == Sync:
			syncs++
		case events[i].Kind == Send:
			last.take(events[i].Data)
		case events[i].Kind == Unlink:
			segments++
		}
	}
	if last.commits != cutCommits || last.deletes == 0 || syncs < cutCommits {
		t.Fatalf("recorded %+v and %d syncs, want %d commits and at least as many", last, syncs, cutCommits)
	}
	t.Logf("%d syncs, %d files removed", syncs, segments)
	if segments < 8 {
		t.Errorf("%d files were removed: hardly anything was merged", segments)
	}
	// Every position is cut once, with the kinds in turn; a longer run gives each
	// position every kind, and other choices of Mixed.
	disks := len(events)
	if oneOf > 1 {
		disks = len(events) / oneOf
	}
	if os.Getenv("WEIR_SOAK") != "" {
		disks = 21 * len(events)
	}
	eachDisk(t, disks, func(d int) string {
		random := rand.New(rand.NewPCG(seed, uint64(d)))
		i := (d*oneOf + int(seed%uint64(oneOf))) % len(events)
		cut := Cut((uint64(i+d/len(events)) + seed) % 3)
		at := events[i].Start + 1
		var reported reports
		for j := range events {
			if events[j].Kind == Send && events[j].Start < at {
				reported.take(events[j].Data)
			}
		}
		dir, err := os.MkdirTemp("", "weir-cut-*")
		if err != nil {
			return err.Error()
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := Disk(events, root, dir, at, cut, random); err != nil {
			return err.Error()
		}
		problem, found := diskHolds(dir, reported)
		if problem == "" {
			// What recovery wrote must not hurt either.
			if problem, _ = diskHolds(dir, found); problem != "" {
				problem = "opened a second time: " + problem
			}
		}
		if problem != "" {
			return fmt.Sprintf("disk %d, cut %v before line %d (event %d: %s), reported %+v: %s", d, cut, at, i, summary(&events[i]), reported, problem)
		}
		return ""
	})
	t.Logf("%d disks opened, at %d of %d positions", disks, min(disks, len(events)), len(events))
}
