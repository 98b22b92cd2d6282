package embedded

import (
	"context"
	"slices"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestAnOverwrittenRowStaysGone overwrites a row by one of another version of
// its table, so that no merge sees both, and then lets the segment of the old row
// be merged with a newer one.
func TestAnOverwrittenRowStaysGone(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	opt := Options{Dir: dir, ManualCompaction: true, MergeFanIn: 2}
	s := open(t, opt)
	one := &telemetry.Table{
		Name: "last", Version: 1, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}},
		Identity: telemetry.IdentityTime, TimeInPayload: true,
	}
	two := *one
	two.Version = 2
	put := func(table *telemetry.Table, time int64, v float64) {
		t.Helper()
		if err := s.PutTable(ctx, telemetry.DefaultTenant, table, nil); err != nil {
			t.Fatal(err)
		}
		ref, err := s.Series(telemetry.DefaultTenant, table, []byte("a"), nil)
		if err != nil {
			t.Fatal(err)
		}
		sec := &telemetry.Section{}
		sec.Reset(table)
		sec.AppendRow(ref, time, time, []telemetry.Value{float(v)})
		commit(t, s, sec)
		if _, err := s.compactLevel0(ctx, s.tenant(telemetry.DefaultTenant), true); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		got := sorted(scanAll(t, s, "last"))
		if want := []string{"0 10 2", "0 20 3"}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	put(one, 10, 1)
	put(&two, 10, 2)
	put(one, 20, 3)
	check("before the merge")
	if merged, err := s.mergeOne(ctx, s.tenant(telemetry.DefaultTenant), false); err != nil || !merged {
		t.Fatal(merged, err)
	}
	check("after the merge")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, opt)
	check("after reopening")
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	check("after everything was rewritten")
	if keys, _ := s.pendingReplaced(s.tenant(telemetry.DefaultTenant)); len(keys) != 0 {
		t.Errorf("%d overwritten keys still wait", len(keys))
	}
}
