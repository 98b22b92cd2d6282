package embedded

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestAShareOfAPackIsGivenUpAlone damages one of the segments that stand in one file.
func TestAShareOfAPackIsGivenUpAlone(t *testing.T) {
	for _, keys := range []*seal.Credentials{nil, seal.Holding(seal.NewMaster())} {
		dir := t.TempDir()
		opt := Options{Dir: dir, ManualCompaction: true, CarryRows: 1000, Sealing: keys}
		s, err := Open(context.Background(), opt)
		if err != nil {
			t.Fatal(err)
		}
		f := newFleet(t, s, 5)
		other := env()
		other.Name = "pumps"
		if err := s.PutTable(context.Background(), telemetry.DefaultTenant, other, nil); err != nil {
			t.Fatal(err)
		}
		sec := f.section(300)
		pumps := &telemetry.Section{}
		pumps.Reset(other)
		topic, tags := deviceKey(1)
		ref, err := s.Series(telemetry.DefaultTenant, other, topic, tags)
		if err != nil {
			t.Fatal(err)
		}
		appendRows(pumps, sec, 0, sec.Rows())
		for i := range pumps.Series {
			pumps.Series[i], pumps.Time[i] = ref, int64(i)
		}
		commit(t, s, sec, pumps)
		if _, err := s.compactLevel0(context.Background(), s.tenant(telemetry.DefaultTenant), true); err != nil {
			t.Fatal(err)
		}
		var hit *segment
		for _, g := range s.tenant(telemetry.DefaultTenant).segs {
			if g.v.name.name == "env" {
				hit = g
			}
		}
		if hit == nil || hit.pack == nil {
			t.Fatal("there is no pack")
		}
		path := hit.pack.file.path
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		flip(t, path, int(hit.start+hit.size)-20) // the trailer
		if s, err = Open(context.Background(), opt); err != nil {
			t.Fatal(err)
		}
		lost := accept(t, s)
		if len(lost) != 1 || lost[0].Kind != LossSegment || lost[0].Table != "env" || lost[0].Rows != 300 {
			t.Fatalf("given up: %+v", lost)
		}
		for _, when := range []string{"given up", "opened again"} {
			if env, pumps := len(scanAll(t, s, "env")), len(scanAll(t, s, "pumps")); env != 0 || pumps != 300 {
				t.Errorf("%s: %d and %d readings", when, env, pumps)
			}
			if found := damages(t, s); len(found) > 0 {
				t.Errorf("%s: %v", when, found)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(context.Background(), opt); err != nil {
				t.Fatal(err)
			}
		}
		aside, err := os.ReadDir(dir + "/damaged")
		if err != nil || len(aside) != 1 {
			t.Errorf("set aside: %v, %v", aside, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFinalRollupIsGivenUpAndTheOthersAnswer loses the file of aggregates whose
// readings are gone by age.
func TestAFinalRollupIsGivenUpAndTheOthersAnswer(t *testing.T) {
	a := newAging(t, thirtyOf)
	for d := range 4 {
		a.put(sampleDay.Add(-27*aDay).AddDate(0, 0, d*8), 600, 2)
	}
	a.compact()
	a.pass(10 * aDay)
	a.compact()
	var final *segment
	for _, g := range a.s.tenant(telemetry.DefaultTenant).rollups {
		if g.rollup.final {
			final = g
		}
	}
	if final == nil {
		t.Fatal("there is no final rollup")
	}
	path := a.s.pathOf(final)
	if err := a.s.Close(); err != nil {
		t.Fatal(err)
	}
	a.s = nil
	if final.pack != nil {
		flip(t, path, int(final.start+final.size)-20)
	} else if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	a.start(thirtyOf)
	ask := func() error {
		sc, err := a.s.Scan(t.Context(), store.ScanRequest{
			Tenant: telemetry.DefaultTenant, Table: a.table.Name, From: minTime, To: maxTime, Rollups: &store.RollupRequest{Width: int64(aDay)},
		})
		if err == nil {
			sc.Close()
		}
		return err
	}
	if err := ask(); telemetry.CodeOf(err) != telemetry.CodeDamaged || !strings.Contains(err.Error(), "aggregates of "+a.table.Name+" from") {
		t.Fatalf("a query of the aggregates says %v", err)
	}
	if _, err := a.s.Scan(t.Context(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: a.table.Name, From: minTime, To: maxTime}); err != nil {
		t.Errorf("the readings that are there: %v", err)
	}
	lost := accept(t, a.s)
	if len(lost) != 1 || lost[0].Kind != LossRollup || lost[0].Rows != final.rows || lost[0].Table != a.table.Name {
		t.Fatalf("given up: %+v", lost)
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
	if _, all := a.readings(); all != 3*600 {
		t.Errorf("rollups and readings know %d", all)
	}
	if found := damages(t, a.s); len(found) > 0 {
		t.Error(found)
	}
}
