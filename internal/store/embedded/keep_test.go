package embedded

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// aging is a store whose clock the test sets.
type aging struct {
	*testing.T
	clock *fakeClock
	opt   Options
	s     *Store
	table *telemetry.Table
}

func newAging(t *testing.T, p store.Policy) *aging {
	t.Helper()
	a := &aging{T: t, clock: newFakeClock(), table: counted()}
	a.opt = Options{
		Dir: t.TempDir(), ManualCompaction: true, CarryRows: 20, MergeFanIn: 3, RollupRows: 1, RollupFactor: 2,
		Clock: a.clock.read, Now: func() time.Time { return a.clock.wall },
	}
	a.start(p)
	t.Cleanup(func() { _ = a.s.Close() })
	return a
}

// start opens the store again, with a policy.
func (a *aging) start(p store.Policy) {
	a.Helper()
	if a.s != nil {
		if err := a.s.Close(); err != nil {
			a.Fatal(err)
		}
		a.clock.mono = 0
	}
	a.s = open(a.T, a.opt)
	if err := a.s.PutTable(context.Background(), telemetry.DefaultTenant, a.table, nil); err != nil {
		a.Fatal(err)
	}
	a.policy(p)
}

func (a *aging) policy(p store.Policy) {
	a.Helper()
	if err := a.s.SetPolicy(telemetry.DefaultTenant, a.table.Name, p); err != nil {
		a.Fatal(err)
	}
}

// put commits n readings of some series from a time on, about a second apart.
func (a *aging) put(from time.Time, n, series int) {
	a.Helper()
	sec := &telemetry.Section{}
	sec.Reset(a.table)
	for i := range n {
		ref, err := a.s.Series(telemetry.DefaultTenant, a.table, fmt.Appendf(nil, "d/%d", i%series), [][]byte{fmt.Appendf(nil, "%d", i%series)})
		if err != nil {
			a.Fatal(err)
		}
		noise := uint64(i) * 0x9e3779b97f4a7c15 >> 40
		at := from.Add(time.Duration(i)*time.Second + time.Duration(noise%997)*time.Millisecond).UnixNano()
		sec.AppendRow(ref, at, at, []telemetry.Value{{Bits: noise % 100_000}})
	}
	commit(a.T, a.s, sec)
}

func (a *aging) compact() {
	a.Helper()
	if err := a.s.Compact(context.Background()); err != nil {
		a.Fatal(err)
	}
}

// pass lets time go by, with the node running.
func (a *aging) pass(d time.Duration) {
	a.clock.wall, a.clock.mono = a.clock.wall.Add(d), a.clock.mono+d
}

// readings counts the readings by day, and all that rollups and readings know.
func (a *aging) readings() (byDay map[string]int, all int64) {
	a.Helper()
	sc := scanOf(a.T, a.s, a.table.Name)
	defer sc.Close()
	byDay = map[string]int{}
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, nil, false); err != nil {
			a.Fatal(err)
		}
		for _, at := range sec.Time {
			byDay[stampOf(at)[:10]]++
		}
	}
	for _, b := range sumsOf(a.T, a.s, int64(24*time.Hour)) {
		all += b.count
	}
	return byDay, all
}

// rolled lists the rollups as "width partition rows", sorted.
func (a *aging) rolled() (out []string) {
	tn := a.s.tenant(telemetry.DefaultTenant)
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for _, g := range tn.rollups {
		what := "of readings"
		if g.rollup.final {
			what = "final"
		}
		out = append(out, fmt.Sprintf("%s %d rows %s", time.Duration(g.rollup.width), g.rows, what))
	}
	slices.Sort(out)
	return out
}

var (
	byHour    = store.Policy{Rollups: []store.Rollup{{Every: time.Hour}}}
	thirtyOf  = store.Policy{Retention: 30 * aDay, Rollups: byHour.Rollups}
	sampleDay = time.Unix(0, sampleClock).UTC().Truncate(aDay)
)

func TestRetentionDropsWholeDaysAndKeepsTheirRollups(t *testing.T) {
	a := newAging(t, thirtyOf)
	for d := -29; d <= 0; d++ {
		a.put(sampleDay.Add(time.Duration(d)*aDay), 600, 2)
	}
	a.compact()
	if byDay, all := a.readings(); len(byDay) != 30 || all != 30*600 {
		t.Fatalf("%d days, %d readings", len(byDay), all)
	}
	a.pass(10 * aDay) // 2026-03-11T12:00: older than 2026-02-09T12:00 is too old
	a.compact()
	byDay, all := a.readings()
	if len(byDay) != 21 || byDay["2026-02-09"] != 600 || byDay["2026-02-08"] != 0 {
		t.Errorf("the days that are left: %v", byDay)
	}
	if all != 30*600 {
		t.Errorf("rollups and readings know %d", all)
	}
	if st := a.s.Stats(); st.RetiredRows != 9*600 || st.RetiredBytes <= 0 {
		t.Errorf("%d readings of %d bytes were counted", st.RetiredRows, st.RetiredBytes)
	}
	a.start(thirtyOf)
	if _, all := a.readings(); all != 30*600 {
		t.Errorf("after a start rollups and readings know %d", all)
	}
}

// Rows of many days share a segment: old ones go, young ones stay, and what the
// rollups say stays whole.
func TestRetentionOfSegmentsOfManyDays(t *testing.T) {
	a := newAging(t, thirtyOf)
	a.put(sampleDay, 600, 2)
	for d := -29; d < 0; d++ { // late, a few each
		a.put(sampleDay.Add(time.Duration(d)*aDay), 3, 1)
	}
	a.put(time.Unix(5, 0), 2, 1)                  // 1970
	a.put(time.Unix(0, math.MaxInt64-1e12), 1, 1) // 2262
	if _, err := a.s.compactLevel0(context.Background(), a.s.tenant(telemetry.DefaultTenant), true); err != nil {
		t.Fatal(err)
	}
	total := int64(600 + 29*3 + 2 + 1)
	for step := range 50 {
		a.compact()
		byDay, all := a.readings()
		if all != total {
			t.Fatalf("day %d: rollups and readings know %d of %d", step, all, total)
		}
		cut := a.clock.wall.Add(-30 * aDay)
		for d := -29; d <= 0; d++ {
			day := sampleDay.Add(time.Duration(d) * aDay)
			n := byDay[day.Format("2006-01-02")]
			want := 3
			if d == 0 {
				want = 600
			}
			if day.Add(aDay).After(cut) && n != want {
				t.Fatalf("day %d: %s has %d readings, and is within the retention", step, day, n)
			}
			if day.Add(aDay+30*aDay/8+aDay).Before(cut) && n != 0 {
				t.Fatalf("day %d: %s still has %d readings", step, day, n)
			}
		}
		if byDay["1970-01-01"] != 0 || byDay["2262-04-11"] != 1 {
			t.Fatalf("day %d: 1970 has %d readings, 2262 has %d", step, byDay["1970-01-01"], byDay["2262-04-11"])
		}
		a.pass(aDay)
	}
}

func TestAClockThatJumpsDeletesNothing(t *testing.T) {
	for _, how := range []string{"running", "stopped"} {
		t.Run(how, func(t *testing.T) {
			a := newAging(t, thirtyOf)
			for d := -25; d <= 0; d++ {
				a.put(sampleDay.Add(time.Duration(d)*aDay), 60, 2)
			}
			a.compact()
			a.clock.wall = a.clock.wall.Add(365 * aDay)
			if how == "stopped" {
				a.start(thirtyOf)
			}
			a.compact()
			if byDay, _ := a.readings(); len(byDay) != 26 {
				t.Errorf("%d days are left of 26", len(byDay))
			}
			if st := a.s.Stats(); st.RetentionAhead != 365*aDay || st.RetiredRows != 0 {
				t.Errorf("ahead %s, %d readings deleted", st.RetentionAhead, st.RetiredRows)
			}
			// Another start with the wrong clock changes nothing either.
			a.start(thirtyOf)
			a.compact()
			if byDay, _ := a.readings(); len(byDay) != 26 {
				t.Errorf("%d days are left of 26 after a start", len(byDay))
			}
			if _, err := a.s.ConfirmTime(); err != nil {
				t.Fatal(err)
			}
			a.compact()
			if byDay, all := a.readings(); len(byDay) != 0 || all != 26*60 {
				t.Errorf("%d days are left when the clock was confirmed; rollups know %d", len(byDay), all)
			}
		})
	}
	t.Run("BackADay", func(t *testing.T) {
		a := newAging(t, thirtyOf)
		for d := -29; d <= 0; d++ {
			a.put(sampleDay.Add(time.Duration(d)*aDay), 60, 2)
		}
		a.compact()
		a.clock.wall = a.clock.wall.Add(-aDay)
		a.start(thirtyOf)
		a.compact()
		if byDay, _ := a.readings(); len(byDay) != 30 {
			t.Errorf("%d days are left of 30", len(byDay))
		}
	})
	t.Run("AStoreThatWasWrittenWithAWrongClock", func(t *testing.T) { // and knows no time yet
		a := newAging(t, store.Policy{})
		a.clock.wall = a.clock.wall.Add(365 * aDay)
		a.put(sampleDay, 60, 2)
		a.compact()
		if err := a.s.w.exec("DELETE FROM counters"); err != nil {
			t.Fatal(err)
		}
		a.clock.wall = a.clock.wall.Add(-365 * aDay)
		a.start(thirtyOf)
		a.compact()
		if byDay, _ := a.readings(); len(byDay) != 1 {
			t.Error("the readings are gone")
		}
	})
	t.Run("AStoreOfAnOlderFormat", func(t *testing.T) { // knows no time yet
		a := newAging(t, store.Policy{})
		a.put(sampleDay, 60, 2)
		a.compact()
		if err := a.s.w.exec("DELETE FROM counters"); err != nil {
			t.Fatal(err)
		}
		a.clock.wall = a.clock.wall.Add(365 * aDay)
		a.start(thirtyOf)
		a.compact()
		if byDay, _ := a.readings(); len(byDay) != 1 {
			t.Error("the readings are gone")
		}
	})
}

func scanDays(a *aging) (map[string]int, error) {
	sc := scanOf(a.T, a.s, a.table.Name)
	defer sc.Close()
	out := map[string]int{}
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, nil, false); err != nil {
			return nil, err
		}
		out["rows"] += sec.Rows()
	}
	return out, nil
}

func TestPoliciesThatCannotBe(t *testing.T) {
	a := newAging(t, byHour)
	for _, w := range []time.Duration{0, time.Millisecond, 7 * time.Minute, 48 * time.Hour} {
		err := a.s.SetPolicy(telemetry.DefaultTenant, a.table.Name, store.Policy{Rollups: []store.Rollup{{Every: w}}})
		if telemetry.CodeOf(err) != telemetry.CodeInvalid || !strings.Contains(err.Error(), "divide") {
			t.Errorf("%s: %v", w, err)
		}
	}
	if rollup.StartOf(-1, int64(time.Hour)) != -int64(time.Hour) {
		t.Error("buckets before 1970 begin before their readings")
	}
}
