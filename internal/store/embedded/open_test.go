package embedded

import (
	"context"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestOpenReadsFewOfManySegments bounds what a start reads of a store that has grown
// for years: the footers and block heads of the newest segments, and no rows.
func TestOpenReadsFewOfManySegments(t *testing.T) {
	const tables, steps = 50, 12
	r := newPackRig(t, tables)
	r.opt.CarryRows, r.opt.MergeFanIn = 1, 1000
	r.open()
	for range steps {
		r.step(2)
	}
	tn := r.s.tenant(telemetry.DefaultTenant)
	if len(tn.segs) != tables*steps {
		t.Fatalf("%d segments, want %d", len(tn.segs), tables*steps)
	}
	r.open()
	opened := 0
	tn = r.s.tenant(telemetry.DefaultTenant)
	for _, g := range tn.segs {
		if g.file != nil {
			opened++
		}
	}
	if most := restoreRuns/openedRuns + 1; opened == 0 || opened > most {
		t.Errorf("%d segments of %d were opened, %d are allowed", opened, len(tn.segs), most)
	}
	if tn.marksFloor == minTime || tn.marksFloor >= r.next {
		t.Errorf("rows up to %d need no look-up, the newest is of %d", tn.marksFloor, r.next)
	}
	r.check("opened")
	// What is older than the segments that were read is still recognised.
	sec := &telemetry.Section{}
	sec.Reset(r.tables[0])
	ref, err := r.s.Series(telemetry.DefaultTenant, r.tables[0], []byte(r.tables[0].Name), nil)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(1); at <= 2; at++ {
		sec.AppendRow(ref, at, at, []telemetry.Value{float(float64(at))})
	}
	st, err := r.s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{sec}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Abort()
	if len(sec.Duplicates) != 2 {
		t.Errorf("the oldest readings, delivered again, gave %d duplicates of 2", len(sec.Duplicates))
	}
}
