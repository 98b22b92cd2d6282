package embedded

import (
	"context"
	"slices"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestAMergeThatLeavesNothingKeepsItsOverwrittenKeys merges segments all rows of
// which were overwritten, and that note keys other segments still hold.
func TestAMergeThatLeavesNothingKeepsItsOverwrittenKeys(t *testing.T) {
	ctx, opt := context.Background(), Options{Dir: t.TempDir(), ManualCompaction: true, MergeFanIn: 2}
	s := open(t, opt)
	defer func() { _ = s.Close() }()
	one := &telemetry.Table{
		Name: "last", Version: 1, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}},
		Identity: telemetry.IdentityTime, TimeInPayload: true,
	}
	two, three := *one, *one
	two.Version, three.Version = 2, 3
	part := func(table *telemetry.Table, time int64, v float64) *telemetry.Section {
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
		return sec
	}
	put := func(secs ...*telemetry.Section) {
		t.Helper()
		commit(t, s, secs...)
		if _, err := s.compactLevel0(ctx, s.tenant(telemetry.DefaultTenant), true); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		got := sorted(scanAll(t, s, "last"))
		if want := []string{"0 10 3", "0 20 5", "0 30 5", "0 40 5"}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	put(part(&three, 10, 1))
	put(part(one, 20, 2), part(&two, 10, 3)) // the segment of version 1 notes the key of time 10
	put(part(one, 30, 4))
	put(part(one, 40, 4))
	put(part(&two, 20, 5), part(&two, 30, 5), part(&two, 40, 5)) // voids all of version 1
	check("before the merge")
	for {
		merged, err := s.mergeOne(ctx, s.tenant(telemetry.DefaultTenant), false)
		if err != nil {
			t.Fatal(err)
		}
		if !merged {
			break
		}
		check("after a merge")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, opt)
	check("after reopening")
}
