package embedded

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/seal"
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

func TestEachRollupHasItsOwnAge(t *testing.T) {
	p := store.Policy{Retention: 2 * aDay, Rollups: []store.Rollup{{Every: time.Minute, Keep: 5 * aDay}, {Every: time.Hour, Keep: 20 * aDay}, {Every: aDay}}}
	a := newAging(t, p)
	a.put(sampleDay, 7200, 2)
	a.compact()
	want := func(when string, want ...string) {
		t.Helper()
		if got := a.rolled(); !slices.Equal(got, want) {
			t.Errorf("%s: %q", when, got)
		}
	}
	want("with the readings", "1h0m0s 4 rows of readings", "1m0s 240 rows of readings", "24h0m0s 2 rows of readings")
	a.pass(3 * aDay)
	a.compact()
	want("without", "1h0m0s 4 rows final", "1m0s 240 rows final", "24h0m0s 2 rows final")
	a.pass(3 * aDay)
	a.compact()
	want("later", "1h0m0s 4 rows final", "24h0m0s 2 rows final")
	a.policy(store.Policy{Retention: 2 * aDay}) // no rollups any more: what is final stays
	a.pass(30 * aDay)
	a.compact()
	want("when nobody asks for them", "1h0m0s 4 rows final", "24h0m0s 2 rows final")
	a.policy(p)
	a.compact()
	want("at last", "24h0m0s 2 rows final")
	if n := a.s.Stats().RetiredRollups; n != 2 {
		t.Errorf("%d rollups were counted", n)
	}
	if _, all := a.readings(); all != 7200 {
		t.Errorf("a day's rollup knows %d readings", all)
	}
	files, err := filepath.Glob(filepath.Join(a.opt.Dir, segmentDir, "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("the files that are left: %v, %v", files, err)
	}
}

// A row of a rollup for each reading would only be more to keep: such rollups are
// made when the readings go.
func TestRollupsThatDoNotPayAreNotMade(t *testing.T) {
	series := 3000
	if os.Getenv("WEIR_SOAK") != "" {
		series = 1_000_000
	}
	a := newAging(t, thirtyOf)
	a.put(sampleDay, series, series)
	a.compact()
	if got := a.rolled(); len(got) != 0 {
		t.Errorf("rollups of one reading for each series: %q", got)
	}
	if n := a.s.Stats().RollupDebt; n != 0 {
		t.Errorf("%d partitions count as debt", n)
	}
	readings := a.s.Stats().SegmentSize
	a.pass(60 * aDay)
	a.compact()
	if byDay, all := a.readings(); len(byDay) != 0 || all != int64(series) {
		t.Errorf("%d days are left, rollups know %d", len(byDay), all)
	}
	rollups := a.s.Stats().RollupSize
	t.Logf("%d readings took %d bytes, their rollup %d", series, readings, rollups)
	if rollups > 2*readings+2000 {
		t.Errorf("%d readings took %d bytes, their rollup %d", series, readings, rollups)
	}
}

func TestARollupIsMadeOnceThePartitionIsQuiet(t *testing.T) {
	a := newAging(t, byHour)
	a.put(sampleDay, 600, 2)
	ctx, tn := context.Background(), a.s.tenant(telemetry.DefaultTenant)
	if _, err := a.s.compactLevel0(ctx, tn, true); err != nil {
		t.Fatal(err)
	}
	keep := func() []string {
		t.Helper()
		if err := a.s.keepAll(ctx, tn, false); err != nil {
			t.Fatal(err)
		}
		return a.rolled()
	}
	if got := keep(); len(got) != 0 {
		t.Errorf("at once: %q", got)
	}
	if n := a.s.Stats().RollupDebt; n != 1 {
		t.Errorf("%d partitions are debt", n)
	}
	a.pass(time.Hour)
	if got := keep(); len(got) != 1 {
		t.Errorf("after an hour: %q", got)
	}
	if n := a.s.Stats().RollupDebt; n != 0 {
		t.Errorf("%d partitions are debt", n)
	}
	// A late reading makes it void, and after another hour it is made anew.
	made := a.s.Stats().RollupsMade
	a.put(sampleDay.Add(5*time.Hour), 1, 1)
	if _, err := a.s.compactLevel0(ctx, tn, true); err != nil {
		t.Fatal(err)
	}
	if _, all := a.readings(); all != 601 {
		t.Errorf("%d readings", all)
	}
	keep()
	if n := a.s.Stats().RollupsMade; n != made {
		t.Error("it was made anew at once")
	}
	a.pass(time.Hour)
	keep()
	if n := a.s.Stats().RollupsMade; n != made+1 {
		t.Errorf("%d rollups were made", n)
	}
	if _, all := a.readings(); all != 601 {
		t.Errorf("%d readings", all)
	}
}

// What cannot be read of a rollup is answered by the readings, as long as they are
// there, and the rollup is made anew.
func TestADamagedRollup(t *testing.T) {
	damage := func(t *testing.T, a *aging) {
		t.Helper()
		tn := a.s.tenant(telemetry.DefaultTenant)
		path := a.s.segmentPath(tn.rollups[0].id)
		if p := tn.rollups[0].pack; p != nil {
			path = p.file.path
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b[:len(b)/2], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("WithItsReadings", func(t *testing.T) {
		a := newAging(t, byHour)
		a.put(sampleDay, 600, 2)
		a.compact()
		damage(t, a)
		a.start(byHour)
		if _, all := a.readings(); all != 600 {
			t.Errorf("%d readings", all)
		}
		found := 0
		if err := a.s.Verify(context.Background(), func(Damage) { found++ }, nil); err != nil || found != 1 {
			t.Errorf("verify found %d, %v", found, err)
		}
		a.compact()
		if err := a.s.Verify(context.Background(), func(d Damage) { t.Error(d.String()) }, nil); err != nil {
			t.Error(err)
		}
		if n := a.s.Stats().RollupsMade; n != 1 {
			t.Errorf("%d rollups were made anew", n)
		}
	})
	t.Run("WithoutThem", func(t *testing.T) {
		a := newAging(t, thirtyOf)
		a.put(sampleDay, 600, 2)
		a.compact()
		a.pass(40 * aDay)
		a.compact()
		damage(t, a)
		a.start(thirtyOf)
		_, err := a.s.Scan(context.Background(), store.ScanRequest{
			Tenant: telemetry.DefaultTenant, Table: a.table.Name, From: minTime, To: maxTime, Rollups: &store.RollupRequest{},
		})
		if telemetry.CodeOf(err) != telemetry.CodeDamaged {
			t.Errorf("the scan says %v", err)
		}
		if byDay, _ := scanDays(a); len(byDay) != 0 {
			t.Errorf("%v", byDay)
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

func TestASnapshotHasTheRollups(t *testing.T) {
	a := newAging(t, byHour)
	a.put(sampleDay, 600, 2)
	a.compact()
	snap, err := a.s.Snapshot(context.Background(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if len(snap.Segments) != 2 || len(snap.Missing) != 0 || snap.Rows != 600 {
		t.Errorf("%+v, missing %v, %d rows", snap.Segments, snap.Missing, snap.Rows)
	}
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

// A sealed store shows nothing of what its rollups hold, while they are made and
// when they stand alone.
func TestRollupsAreSealed(t *testing.T) {
	const marker = "a word that must not be seen"
	for _, sealed := range []bool{false, true} {
		a := newAging(t, thirtyOf)
		if err := a.s.Close(); err != nil {
			t.Fatal(err)
		}
		a.s, a.opt.Dir = nil, t.TempDir()
		if sealed {
			a.opt.Sealing = seal.Holding(seal.NewMaster())
		}
		a.table = &telemetry.Table{
			Name: "counted", Version: 1, Tags: []string{"device"}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
			Columns: []telemetry.Column{{Name: "n", Type: telemetry.Int}, {Name: "word", Type: telemetry.String}},
		}
		a.start(thirtyOf)
		sec := &telemetry.Section{}
		sec.Reset(a.table)
		ref, err := a.s.Series(telemetry.DefaultTenant, a.table, []byte("some/topic/of/mine"), [][]byte{[]byte("a device")})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			at := sampleDay.Add(time.Duration(i) * time.Second).UnixNano()
			sec.AppendRow(ref, at, at, []telemetry.Value{{Bits: uint64(i)}, {Text: fmt.Appendf(nil, "%s %d", marker, i)}})
		}
		commit(t, a.s, sec)
		a.compact()
		a.pass(40 * aDay)
		a.compact()
		if got := a.rolled(); len(got) != 1 || !strings.HasSuffix(got[0], "final") {
			t.Fatalf("rollups: %q", got)
		}
		if err := a.s.Close(); err != nil {
			t.Fatal(err)
		}
		a.s = nil
		for _, secret := range []string{marker, "counted", "some/topic/of/mine", "a device", "sketch:n"} {
			seen := ""
			for path, data := range tree(t, a.opt.Dir) {
				if strings.Contains(data, secret) {
					seen = path
				}
			}
			if sealed && seen != "" {
				t.Errorf("%q stands in clear in %s", secret, seen)
			}
			if !sealed && seen == "" {
				t.Errorf("%q is not found in a store that is not sealed: the test looks for nothing", secret)
			}
		}
		a.start(thirtyOf)
		if _, all := a.readings(); all != 100 {
			t.Errorf("rollups know %d readings", all)
		}
		if sealed { // a row that is taken away is noticed
			if err := a.s.w.exec("DELETE FROM rollups"); err != nil {
				t.Fatal(err)
			}
			if err := a.s.Close(); err != nil {
				t.Fatal(err)
			}
			a.s = nil
			a.start(thirtyOf)
			found := 0
			if err := a.s.Verify(context.Background(), func(Damage) { found++ }, nil); err != nil || found == 0 {
				t.Errorf("verify found %d, %v, after rollups were taken away", found, err)
			}
		}
	}
}
