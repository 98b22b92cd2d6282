package embedded

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
)

// whenAsked runs a step the first time that somebody asks whether the context has
// ended: a snapshot does so when the catalog is copied, and before it has the
// segments that the copy names.
type whenAsked struct {
	context.Context
	step func()
}

func (w *whenAsked) Err() error {
	if step := w.step; step != nil {
		w.step = nil
		step()
	}
	return w.Context.Err()
}

// TestRetentionDuringASnapshotTakesNothingFromIt lets days go by age, and rollups
// become final, while a snapshot is made: after the catalog was copied and before its
// segments are known, and while they are copied. The snapshot is the state of before,
// whole, and retention goes on in the store that is made of it.
func TestRetentionDuringASnapshotTakesNothingFromIt(t *testing.T) {
	const days, perDay = 6, 600
	p := store.Policy{Retention: 30 * aDay, Rollups: byHour.Rollups}
	for _, when := range []string{"before its segments are known", "while its files are copied"} {
		t.Run(when, func(t *testing.T) {
			a := newAging(t, p)
			for d := range days {
				a.put(sampleDay.Add(-time.Duration(d)*aDay), perDay, 2)
			}
			a.compact()
			want, known := a.readings()
			age := func() {
				t.Helper()
				a.pass(32 * aDay)
				a.compact()
				if a.s.Stats().RetiredRows == 0 {
					t.Fatal("nothing was retired")
				}
			}
			ctx := &whenAsked{Context: t.Context()}
			if when == "before its segments are known" {
				ctx.step = age
			}
			dir := t.TempDir()
			snap, err := a.s.Snapshot(ctx, filepath.Join(dir, catalogFile))
			if err != nil || len(snap.Missing) > 0 {
				t.Fatal(snap, err)
			}
			if when != "before its segments are known" {
				age()
			}
			if ctx.step != nil {
				t.Fatal("the snapshot did not ask")
			}
			for _, f := range snap.Segments {
				to := filepath.Join(dir, filepath.FromSlash(f.Name))
				if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(f.Path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(to, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			snap.Close()
			checkNothingLeft(t, a.s)
			after, _ := a.readings()

			live := a.s
			a.s, a.opt.Dir = nil, dir
			a.start(p)
			defer live.Close()
			if err := a.s.Verify(t.Context(), func(d Damage) { t.Errorf("damage: %s", d.String()) }, nil); err != nil {
				t.Fatal(err)
			}
			if got, all := a.readings(); !maps.Equal(got, want) || all != known {
				t.Errorf("the snapshot has the days %v and knows of %d readings, want %v and %d", got, all, want, known)
			}
			a.pass(32 * aDay) // which the time that was restored has to catch up with
			a.compact()
			if got, all := a.readings(); !maps.Equal(got, after) || all != known {
				t.Errorf("after retention it has the days %v and knows of %d readings, want %v and %d", got, all, after, known)
			}
		})
	}
}
