package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

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
