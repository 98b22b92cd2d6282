package pipeline

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// loaded is a section of env with these temperatures.
func loaded(r *rig, values ...float64) *telemetry.Section {
	r.t.Helper()
	table := r.schemas.Load().plans[0].table
	ref, err := r.st.Series(telemetry.DefaultTenant, table, []byte("env/d1"), [][]byte{[]byte("d1")})
	if err != nil {
		r.t.Fatal(err)
	}
	sec := &telemetry.Section{}
	sec.Reset(table)
	row := make([]telemetry.Value, len(table.Columns))
	for i := range row {
		row[i].Null = true
	}
	at := table.ColumnIndex("temperature")
	for _, v := range values {
		row[at] = telemetry.Value{Bits: math.Float64bits(v)}
		sec.AppendRow(ref, int64(v*1e6), 1, row)
	}
	return sec
}

func TestLoad(t *testing.T) {
	t.Run("StoresReadingsWithTheirMarkBesideMessages", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			id, _, err := st.OpenSession(t.Context(), "import:x")
			if err != nil {
				t.Fatal(err)
			}
			p.send(env(2, 1, 20))
			op := telemetry.LedgerOp{Session: id, PacketID: 1, QoS: 1, Kind: telemetry.LedgerPut, Hash: 77}
			sec := loaded(r, 1, 2, 3)
			if err := r.Load(t.Context(), []*telemetry.Section{sec}, []telemetry.LedgerOp{op}); err != nil {
				t.Fatal(err)
			}
			again := loaded(r, 2, 4)
			if err := r.Load(t.Context(), []*telemetry.Section{again}, nil); err != nil || len(again.Duplicates) != 1 {
				t.Errorf("%v, %d duplicates", err, len(again.Duplicates))
			}
			p.wait()
			if n := len(st.readings(t, "env")); n != 5 {
				t.Errorf("%d readings", n)
			}
			if _, entries, err := st.OpenSession(t.Context(), "import:x"); err != nil || len(entries) != 1 || entries[0].Hash != 77 {
				t.Errorf("the mark is %v, %v", entries, err)
			}
		})
	})
	t.Run("ReturnsARefusalAndTriesAgainWhatMayPass", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			var away atomic.Int32
			st.commit = func(c *seen) error {
				for _, v := range c.values {
					if v == 13 {
						return telemetry.Errorf(telemetry.CodeRefused, "commit", "13")
					}
				}
				if away.Add(1) < 3 {
					return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "the disk is away")
				}
				return nil
			}
			r := start(t, st, Config{}, envDoc)
			if err := r.Load(t.Context(), []*telemetry.Section{loaded(r, 1, 2)}, nil); err != nil {
				t.Error(err)
			}
			if err := r.Load(t.Context(), []*telemetry.Section{loaded(r, 12, 13)}, nil); telemetry.CodeOf(err) != telemetry.CodeRefused {
				t.Errorf("a refusal comes back as %v", err)
			}
			if err := r.Load(t.Context(), []*telemetry.Section{loaded(r, 14)}, nil); err != nil {
				t.Error(err)
			}
			if n := len(st.readings(t, "env")); n != 3 {
				t.Errorf("%d readings", n)
			}
		})
	})
	t.Run("TriesWithoutStoring", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.stage = func(c *telemetry.Commit) error {
				for _, s := range c.Batches[0].Sections {
					if slices.Contains(s.Time, 13e6) {
						return telemetry.Errorf(telemetry.CodeRefused, "stage", "13")
					}
				}
				return nil
			}
			r := start(t, st, Config{}, envDoc)
			if err := r.Try(t.Context(), []*telemetry.Section{loaded(r, 1, 2)}); err != nil {
				t.Error(err)
			}
			if err := r.Try(t.Context(), []*telemetry.Section{loaded(r, 12, 13)}); telemetry.CodeOf(err) != telemetry.CodeRefused {
				t.Errorf("a refusal comes back as %v", err)
			}
			if err := r.Load(t.Context(), []*telemetry.Section{loaded(r, 1)}, nil); err != nil {
				t.Error(err)
			}
			if n := len(st.readings(t, "env")); n != 1 {
				t.Errorf("%d readings", n)
			}
		})
	})
	t.Run("EndsWithItsContextAndWithThePipeline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.commit = func(*seen) error { return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "away") }
			r := start(t, st, Config{}, envDoc)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := r.Load(ctx, []*telemetry.Section{loaded(r, 1)}, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			ended := make(chan error, 1)
			go func() { ended <- r.Load(context.Background(), []*telemetry.Section{loaded(r, 2)}, nil) }()
			synctest.Wait()
			r.kill()
			if err := <-ended; err == nil {
				t.Error("a load that was abandoned counts as stored")
			}
			<-r.stopped
			if err := r.Load(t.Context(), []*telemetry.Section{loaded(r, 3)}, nil); err == nil {
				t.Error("a pipeline that has stopped takes a load")
			}
		})
	})
}
