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
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The recorded program commits batches to an embedded store that compacts
// often, and reports each commit over a socket when it has returned.

var cutTable = &telemetry.Table{
	Name: "env", Version: 1, Tags: []string{"device"},
	Columns:  []telemetry.Column{{Name: "n", Type: telemetry.Int}, {Name: "note", Type: telemetry.String}},
	Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
}

const (
	cutCommits = 60
	cutRows    = 40 // a commit
	cutDevices = 7
)

func cutOptions(dir string) embedded.Options {
	return embedded.Options{Dir: dir, CompactRows: 500, MergeFanIn: 2, CompactAge: time.Hour, WALBytes: 64 << 10}
}

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
	session, _, err := s.OpenSession(ctx, "mqtt:test")
	check(err)
	n := 0
	for c := range cutCommits {
		var sec telemetry.Section
		sec.Reset(cutTable)
		for range cutRows {
			device := []byte("d" + strconv.Itoa(n%cutDevices))
			ref, err := s.Series(telemetry.DefaultTenant, cutTable, append([]byte("plants/"), device...), [][]byte{device})
			check(err)
			sec.AppendRow(ref, cutTime(n), cutTime(n), []telemetry.Value{{Bits: uint64(n)}, {Text: []byte(fmt.Sprintf("reading %d", n))}})
			n++
		}
		commit := &telemetry.Commit{
			Batches: []*telemetry.Batch{{
				Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec},
				Quarantine: []telemetry.Quarantined{{Topic: "bad", Payload: []byte(strconv.Itoa(c)), Reason: telemetry.ReasonMalformed, Offset: -1}},
			}},
			Ledger: []telemetry.LedgerOp{{Session: session, PacketID: uint16(c + 1), QoS: 1, Kind: telemetry.LedgerPut, Hash: uint64(c)}},
		}
		staged, err := s.Stage(ctx, commit)
		check(err)
		check(staged.Commit(ctx))
		_, err = conn.Write(binary.BigEndian.AppendUint32(nil, uint32(c+1)))
		check(err)
	}
	check(s.Close())
}

// diskHolds opens the store on a disk and returns how it breaks the promises,
// or "" if the first commits are there, whole and once.
func diskHolds(dir string, commits int) (problem string, found int) {
	ctx := context.Background()
	opt := cutOptions(dir)
	opt.ManualCompaction = true
	s, err := embedded.Open(ctx, opt)
	if err != nil {
		return "open: " + err.Error(), 0
	}
	defer s.Close()
	tables, err := s.Tables(ctx, telemetry.DefaultTenant)
	if err != nil {
		return "tables: " + err.Error(), 0
	}
	count := map[uint64]int{}
	if len(tables) > 0 {
		scan, err := s.Scan(ctx, store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: math.MinInt64, To: math.MaxInt64})
		if err != nil {
			return "scan: " + err.Error(), 0
		}
		defer scan.Close()
		var sec telemetry.Section
		for _, u := range scan.Units() {
			if _, err := u.Read(&sec, []string{"n", "note"}, true); err != nil {
				return "read: " + err.Error(), 0
			}
			for i := range sec.Series {
				n := sec.Columns[0].Bits[i]
				count[n]++
				device := "d" + strconv.Itoa(int(n)%cutDevices)
				if sec.Time[i] != cutTime(int(n)) || string(sec.Columns[1].Text(i)) != fmt.Sprintf("reading %d", n) ||
					scan.Series(sec.Series[i]).Tags[0].Value != device {
					return fmt.Sprintf("reading %d came back as time %d, %q, %+v", n, sec.Time[i], sec.Columns[1].Text(i), scan.Series(sec.Series[i])), 0
				}
			}
		}
	}
	for n, c := range count {
		if c != 1 || n >= cutCommits*cutRows {
			return fmt.Sprintf("reading %d is stored %d times", n, c), 0
		}
	}
	for n := range commits * cutRows {
		if count[uint64(n)] == 0 {
			return fmt.Sprintf("reading %d of %d reported ones is missing", n, commits*cutRows), 0
		}
	}
	if len(count)%cutRows != 0 {
		return fmt.Sprintf("%d readings: a commit is there in part", len(count)), 0
	}
	quarantined := 0
	if err := s.Quarantined(ctx, telemetry.DefaultTenant, store.QuarantineFilter{}, func(*telemetry.Quarantined) bool {
		quarantined++
		return true
	}); err != nil {
		return "quarantine: " + err.Error(), 0
	}
	_, ledger, err := s.OpenSession(ctx, "mqtt:test")
	if err != nil {
		return "ledger: " + err.Error(), 0
	}
	if whole := len(count) / cutRows; quarantined != whole || len(ledger) != whole {
		return fmt.Sprintf("%d commits, but %d quarantine records and %d ledger entries", whole, quarantined, len(ledger)), 0
	}
	return "", len(count) / cutRows
}

func TestAStoreSurvivesAPowerCutAtAnyPoint(t *testing.T) {
	events, root := record(t, "store", false)
	seed := cutSeed()
	t.Logf("seed %d (WEIR_SEED=%d repeats it); %d events", seed, seed, len(events))
	segments, syncs, last := 0, 0, 0
	for i := range events {
		switch {
		case events[i].Kind == Sync:
			syncs++
		case events[i].Kind == Send:
			last = int(binary.BigEndian.Uint32(events[i].Data))
		case events[i].Kind == Unlink:
			segments++
		}
	}
	if last != cutCommits || syncs < cutCommits {
		t.Fatalf("recorded %d reports and %d syncs, want %d and at least as many", last, syncs, cutCommits)
	}
	t.Logf("%d syncs, %d files removed", syncs, segments)
	// Every position is cut once, with the kinds in turn; a longer run gives each
	// position every kind, and other choices of Mixed.
	disks := len(events)
	if os.Getenv("WEIR_SOAK") != "" {
		disks = 21 * len(events)
	}
	eachDisk(t, disks, func(d int) string {
		random := rand.New(rand.NewPCG(seed, uint64(d)))
		i := d % len(events)
		cut := Cut((uint64(i+d/len(events)) + seed) % 3)
		at := events[i].Start + 1
		reported := 0
		for j := range events {
			if events[j].Kind == Send && events[j].Start < at {
				reported = int(binary.BigEndian.Uint32(events[j].Data))
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
			return fmt.Sprintf("disk %d, cut %v before line %d (event %d: %s), %d commits reported: %s", d, cut, at, i, summary(&events[i]), reported, problem)
		}
		return ""
	})
	t.Logf("%d disks opened, at %d of %d positions", disks, min(disks, len(events)), len(events))
}

func summary(e *Event) string {
	return fmt.Sprintf("kind %d of %s at %d, %d bytes", e.Kind, e.Path, e.Offset, len(e.Data))
}
