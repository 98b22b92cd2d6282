package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// The child of the test below commits numbered readings of three tables, whose small
// segments share packs, and deletes ranges of one. It prints what has returned.

const deletedOf = "small1"

// deletedRange says which readings are deleted after reading n; ok is false for none.
func deletedRange(n int) (from, to int, ok bool) {
	return n - 170, n - 130, n%200 == 0 && n >= 200
}

func deletingOptions(dir string) Options {
	o := Options{Dir: dir, CompactRows: 240, MergeFanIn: 3, WALBytes: 128 << 10, Partition: 100 * time.Millisecond, CarryRows: 64}
	if os.Getenv("WEIR_TEST_DELETED_AGE") != "" {
		o.DeletedAge = time.Nanosecond // deleted rows leave the disk at once
	}
	return o
}

func deletingChild(dir string) error {
	start, err := strconv.Atoi(os.Getenv("WEIR_TEST_KILL_START"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := Open(ctx, deletingOptions(dir))
	if err != nil {
		return err
	}
	for i := range 3 {
		if err := s.PutTable(ctx, telemetry.DefaultTenant, small(i), nil); err != nil {
			return err
		}
	}
	fmt.Println("open")
	for n := start; ; {
		c := &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant}}}
		for i := range 3 {
			tab := small(i)
			ref, err := s.Series(telemetry.DefaultTenant, tab, []byte(tab.Name), nil)
			if err != nil {
				return err
			}
			sec := &telemetry.Section{}
			sec.Reset(tab)
			for k := n; k < n+20; k++ {
				sec.AppendRow(ref, int64(k)*1e6, int64(k)*1e6, []telemetry.Value{float(float64(k))})
			}
			c.Batches[0].Sections = append(c.Batches[0].Sections, sec)
		}
		st, err := s.Stage(ctx, c)
		if err != nil {
			return err
		}
		if err := st.Commit(ctx); err != nil {
			return err
		}
		n += 20
		fmt.Println("ack", n)
		if from, to, ok := deletedRange(n); ok {
			if err := deleteNumbers(ctx, s, from, to); err != nil {
				return err
			}
			fmt.Println("deleted", n)
		}
		if n%500 == 0 {
			if err := s.Compact(ctx); err != nil {
				return err
			}
		}
	}
}

func deleteNumbers(ctx context.Context, s *Store, from, to int) error {
	return deleteTimes(ctx, s, deletedOf, int64(from)*1e6, int64(to)*1e6)
}

// TestKilledWhileItDeletesAndMergesPacks kills the child again and again: what it
// acknowledged is there once, what it deleted is not, and stays gone when it is
// delivered again; a deletion that was under way took all of its rows or none.
func TestKilledWhileItDeletesAndMergesPacks(t *testing.T) {
	for _, mode := range []string{"", "at once"} {
		t.Run("leaves the disk "+map[string]string{"": "later", "at once": mode}[mode], func(t *testing.T) {
			rng, rounds := testkit.Random(t), 8
			if os.Getenv("WEIR_SOAK") != "" {
				rounds = 200
			}
			t.Setenv("WEIR_TEST_DELETED_AGE", mode)
			dir, acked, deletions := t.TempDir(), 0, map[int]bool{}
			for range rounds {
				start := acked
				if mode == "" { // else a redelivery is a new reading
					start = max(0, acked-rng.IntN(400)/20*20)
				}
				cmd := exec.Command(os.Args[0], "-test.run=^$")
				cmd.Env = append(os.Environ(), "WEIR_TEST_DELETE_DIR="+dir, "WEIR_TEST_KILL_START="+strconv.Itoa(start))
				lines, _ := testkit.KilledAtRandom(t, rng, cmd, 60, 4*time.Millisecond)
				for _, line := range lines {
					var n int
					if _, err := fmt.Sscanf(line, "ack %d", &n); err == nil {
						acked = max(acked, n)
					} else if _, err := fmt.Sscanf(line, "deleted %d", &n); err == nil {
						deletions[n] = true
					} else if line != "open" {
						t.Fatalf("the child: %s", line)
					}
				}
				acked = checkDeleting(t, dir, acked, deletions)
			}
			t.Logf("%d readings, %d deletions", acked, len(deletions))
		})
	}
}

// checkDeleting compares the store with what was reported, and returns how many
// readings there are. A deletion that turns out to be done is noted.
func checkDeleting(t *testing.T, dir string, acked int, deletions map[int]bool) int {
	t.Helper()
	opt := deletingOptions(dir)
	opt.ManualCompaction = true
	s, err := Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if s.tenant(telemetry.DefaultTenant) == nil {
		return acked
	}
	there := 0
	for i := range 3 {
		name := small(i).Name
		if s.tenant(telemetry.DefaultTenant).tableName(name) == nil {
			return acked // killed before the tables were recorded
		}
		seen := map[int]int{}
		for _, row := range scanAll(t, s, name) {
			var series, at int
			if _, err := fmt.Sscan(row, &series, &at); err != nil {
				t.Fatal(err)
			}
			seen[at/1e6]++
		}
		gone := map[int]bool{}
		if name == deletedOf {
			gone = checkRanges(t, seen, there, deletions)
		} else {
			there = len(seen)
		}
		if there < acked {
			t.Fatalf("%s: %d readings of %d are there", name, there, acked)
		}
		for n := range there {
			if want := map[bool]int{false: 1}[gone[n]]; seen[n] != want {
				t.Fatalf("%s: reading %d of %d is there %d times, want %d", name, n, there, seen[n], want)
			}
		}
	}
	return there
}

// checkRanges returns the numbers that are deleted.
func checkRanges(t *testing.T, seen map[int]int, there int, deletions map[int]bool) map[int]bool {
	t.Helper()
	gone := map[int]bool{}
	for n := 20; n <= there; n += 20 {
		from, to, ok := deletedRange(n)
		if !ok {
			continue
		}
		left := 0
		for k := from; k < to; k++ {
			left += seen[k]
		}
		if deletions[n] && left > 0 {
			t.Fatalf("%d readings of the deletion after %d came back", left, n)
		} else if left != 0 && left != to-from {
			t.Fatalf("the deletion after %d is there in part: %d readings are left", n, left)
		}
		for k := from; k < to && left == 0; k++ {
			gone[k], deletions[n] = true, true
		}
	}
	return gone
}
