package embedded

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// Rollups and retention meet a full disk, at whatever point: nothing is lost or
// counted twice, and with room they go on.
func TestAFullDiskWhileReadingsAge(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	disk := testkit.SmallDisk(t, 16)
	a := newAging(t, byHour)
	if err := a.s.Close(); err != nil {
		t.Fatal(err)
	}
	a.s, a.opt.Dir = nil, filepath.Join(disk, "data")
	a.start(thirtyOf)
	ballast := filepath.Join(disk, "ballast")
	failures, total := 0, int64(0)
	for round := range 14 {
		for range 3 { // days whose readings come, and others that go
			a.put(a.clock.wall.Truncate(aDay), 2000, 3)
			total += 2000
			a.pass(3 * aDay)
		}
		if _, err := a.s.compactLevel0(context.Background(), a.s.tenant(telemetry.DefaultTenant), true); err != nil {
			t.Fatal(err)
		}
		testkit.FillDisk(t, ballast, rng.Int64N(96<<10))
		err := a.s.Compact(context.Background())
		if err != nil {
			failures++
		}
		if _, all := a.readings(); all != total {
			t.Fatalf("round %d: %d readings of %d are known on a full disk, after %v", round, all, total, err)
		}
		if rng.IntN(2) == 0 { // killed there
			if err := a.s.Close(); err != nil && telemetry.CodeOf(err) == telemetry.CodeDamaged {
				t.Fatal(err)
			}
			a.s, a.clock.mono = nil, 0
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if a.s == nil {
			a.start(thirtyOf)
		}
		a.compact()
		if _, all := a.readings(); all != total {
			t.Fatalf("round %d: %d readings of %d are known", round, all, total)
		}
	}
	if byDay, _ := a.readings(); failures == 0 || len(byDay) > 13 {
		t.Errorf("%d compactions failed, %d days are left", failures, len(byDay))
	}
	t.Logf("%d of 14 compactions found no room", failures)
}
