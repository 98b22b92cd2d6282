package embedded

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The readings of this test: number n is of time n * 10 ms, some of them late, in
// partitions of 10 s of which the oldest go after 30 s.
const (
	killStep      = int64(10 * time.Millisecond)
	killRetention = 30 * time.Second
)

func killTime(n int) int64 {
	at := sampleClock + int64(n)*killStep
	if n%17 == 0 && n > 1000 {
		at -= 5e9
	}
	return at
}

func counted() *telemetry.Table {
	return &telemetry.Table{
		Name: "counted", Version: 1, Tags: []string{"device"}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{{Name: "n", Type: telemetry.Int}},
	}
}

// agingOptions are those of the store whose clock goes by the number of readings.
func agingOptions(dir string, n *int, began int) Options {
	return Options{
		Dir: dir, ManualCompaction: true, CarryRows: 20, MergeFanIn: 3, Partition: 10 * time.Second, RollupRows: 1, RollupFactor: 1,
		Clock: func() (time.Time, time.Duration) {
			return time.Unix(0, sampleClock+int64(*n)*killStep), time.Duration(int64(*n-began) * killStep)
		},
		Now: func() time.Time { return time.Unix(0, sampleClock+int64(*n)*killStep) },
	}
}

// agingChild commits numbered readings, makes rollups and deletes by age until it
// is killed, and prints what is acknowledged.
func agingChild(dir string) error {
	n, err := strconv.Atoi(os.Getenv("WEIR_TEST_KILL_START"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := Open(ctx, agingOptions(dir, &n, n))
	if err != nil {
		return err
	}
	table := counted()
	if err := s.PutTable(ctx, telemetry.DefaultTenant, table, nil); err != nil {
		return err
	}
	policy := store.Policy{Retention: killRetention, Rollups: []store.Rollup{{Every: time.Second}, {Every: 5 * time.Second}}}
	if err := s.SetPolicy(telemetry.DefaultTenant, table.Name, policy); err != nil {
		return err
	}
	for {
		var sec telemetry.Section
		sec.Reset(table)
		for end := n + 150 + n%100; n < end; n++ {
			ref, err := s.Series(telemetry.DefaultTenant, table, fmt.Appendf(nil, "d/%d", n%5), [][]byte{fmt.Appendf(nil, "%d", n%5)})
			if err != nil {
				return err
			}
			sec.AppendRow(ref, killTime(n), killTime(n), []telemetry.Value{{Bits: uint64(n)}})
		}
		st, err := s.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
		if err != nil {
			return err
		}
		if err := st.Commit(ctx); err != nil {
			return err
		}
		fmt.Println("ack", n)
		if err := s.Compact(ctx); err != nil {
			return err
		}
		fmt.Println("kept", s.Stats().RollupsMade, s.Stats().RetiredRows)
	}
}

// killAging runs a child, kills it at a random moment and returns the last number
// that it acknowledged.
func killAging(t *testing.T, dir string, start int, rng *rand.Rand) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "WEIR_TEST_ROLLUP_DIR="+dir, "WEIR_TEST_KILL_START="+strconv.Itoa(start))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	afterLines, wait := 2+rng.IntN(60), time.Duration(rng.IntN(6000))*time.Microsecond
	acked, seen := start, 0
	for lines := bufio.NewScanner(out); lines.Scan(); seen++ {
		if rest, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
			if acked, err = strconv.Atoi(rest); err != nil {
				t.Fatal(err)
			}
		} else if !strings.HasPrefix(lines.Text(), "kept ") {
			t.Errorf("child: %s", lines.Text())
		}
		if seen == afterLines {
			time.Sleep(wait)
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return acked
}

// bucketSum is the count and sum of one bucket of one second.
type bucketSum struct{ count, sum int64 }

// sumsOf reads the readings and rollups of a store by buckets of a second, as a
// query would.
func sumsOf(t *testing.T, s *Store, width int64) map[int64]bucketSum {
	t.Helper()
	scanned, err := s.Scan(context.Background(), store.ScanRequest{
		Tenant: telemetry.DefaultTenant, Table: "counted", From: minTime, To: maxTime, Rollups: &store.RollupRequest{Width: width},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer scanned.Close()
	sums := map[int64]bucketSum{}
	add := func(at, count, sum int64) {
		b := sums[rollup.StartOf(at, width)]
		sums[rollup.StartOf(at, width)] = bucketSum{b.count + count, b.sum + sum}
	}
	var sec telemetry.Section
	for _, u := range scanned.Units() {
		if _, err := u.Read(&sec, []string{"n"}, false); err != nil {
			t.Fatal(err)
		}
		for i, at := range sec.Time {
			add(at, 1, int64(sec.Columns[0].Bits[i]))
		}
	}
	parts := []rollup.Ref{{Part: rollup.Count, Field: "n"}, {Part: rollup.First, Field: "n"}, {Part: rollup.Sum, Field: "n"}}
	for _, u := range scanned.(store.RollupScan).RollupUnits() {
		if _, err := u.Read(&sec, parts); err != nil {
			t.Fatal(err)
		}
		for i, at := range sec.Time {
			count, sum := int64(sec.Columns[0].Bits[i]), int64(sec.Columns[2].Bits[i])
			if count == 1 {
				sum = int64(sec.Columns[1].Bits[i])
			}
			add(at, count, sum)
		}
	}
	return sums
}

// checkAging compares what a store says of all its readings with those that were
// acknowledged: the first N, for one N.
func checkAging(t *testing.T, dir string, acked int, width int64) (rolled int) {
	t.Helper()
	n := acked
	s, err := Open(context.Background(), agingOptions(dir, &n, n))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if acked == 0 {
		return 0
	}
	got, total := sumsOf(t, s, width), int64(0)
	for _, b := range got {
		total += b.count
	}
	if total < int64(acked) {
		t.Errorf("%d readings are there of %d acknowledged", total, acked)
		return 0
	}
	want := map[int64]bucketSum{}
	for i := range int(total) {
		b := want[rollup.StartOf(killTime(i), width)]
		want[rollup.StartOf(killTime(i), width)] = bucketSum{b.count + 1, b.sum + int64(i)}
	}
	for at, b := range want {
		if got[at] != b {
			t.Errorf("the bucket of %s has %+v, want %+v", stampOf(at), got[at], b)
			return 0
		}
	}
	if err := s.Verify(context.Background(), func(d Damage) { t.Errorf("damage: %s", d.String()) }, nil); err != nil {
		t.Error(err)
	}
	return s.Stats().Rollups
}

// A process that makes rollups and deletes by age is killed again and again: what
// readings and rollups say together is each acknowledged reading once.
func TestKilledWhileReadingsAgeLosesAndDoublesNothing(t *testing.T) {
	rounds := 6
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 300
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEIR_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("WEIR_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir, acked, rolled := t.TempDir(), 0, 0
	for round := range rounds {
		// Redelivery goes back into what has not aged.
		start := max(0, acked-rng.IntN(300))
		acked = max(acked, killAging(t, dir, start, rng))
		width := int64(time.Second)
		if rng.IntN(2) == 0 {
			width = 5 * width
		}
		rolled = checkAging(t, dir, acked, width)
		if t.Failed() {
			t.Fatalf("round %d of %d, WEIR_SEED=%d", round, rounds, seed)
		}
	}
	t.Logf("%d readings acknowledged, %d rollups", acked, rolled)
	if rolled == 0 {
		t.Error("no rollups were made")
	}
}
