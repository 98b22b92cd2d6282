package embedded

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Scans that run beside commits, rollups and retention see each reading once, in a
// rollup or as itself.
func TestScansBesideRollupsAndRetentionSeeEachReadingOnce(t *testing.T) {
	var told atomic.Int64 // readings that were sent: the clock goes by them
	opt := Options{
		Dir: t.TempDir(), ManualCompaction: true, CarryRows: 20, MergeFanIn: 3, Partition: 10 * time.Second, RollupRows: 1, RollupFactor: 1,
		Now: func() time.Time { return time.Unix(0, sampleClock+told.Load()*killStep) },
		Clock: func() (time.Time, time.Duration) {
			n := told.Load() * killStep
			return time.Unix(0, sampleClock+n), time.Duration(n)
		},
	}
	s := open(t, opt)
	table := counted()
	if err := s.PutTable(context.Background(), telemetry.DefaultTenant, table, nil); err != nil {
		t.Fatal(err)
	}
	policy := store.Policy{Retention: killRetention, Rollups: []store.Rollup{{Every: time.Second}, {Every: 5 * time.Second}}}
	if err := s.SetPolicy(telemetry.DefaultTenant, table.Name, policy); err != nil {
		t.Fatal(err)
	}
	var committed atomic.Int64 // readings that are durable
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for n := 0; n < 30_000; {
			sec := &telemetry.Section{}
			sec.Reset(table)
			for end := n + 500; n < end; n++ {
				ref, err := s.Series(telemetry.DefaultTenant, table, fmt.Appendf(nil, "d/%d", n%5), [][]byte{fmt.Appendf(nil, "%d", n%5)})
				if err != nil {
					t.Error(err)
					return
				}
				sec.AppendRow(ref, killTime(n), killTime(n), []telemetry.Value{{Bits: uint64(n)}})
			}
			told.Store(int64(n))
			commit(t, s, sec)
			committed.Store(int64(n))
		}
	})
	wg.Go(func() {
		for !done.Load() {
			if err := s.Compact(context.Background()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for scans := 0; !done.Load() || scans < 3; scans++ {
		before, total := committed.Load(), int64(0)
		for _, b := range sumsOf(t, s, int64(5*time.Second)) {
			total += b.count
		}
		if after := told.Load(); total < before || total > after {
			t.Errorf("a scan sees %d readings; %d were there before it, %d after", total, before, after)
			break
		}
	}
	wg.Wait()
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.RetiredRows == 0 || st.RollupsMade == 0 {
		t.Errorf("%d readings were deleted, %d rollups made", st.RetiredRows, st.RollupsMade)
	}
}
