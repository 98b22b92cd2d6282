package embedded

import "testing"

// TestDebtAndWriteAmplificationCountMergesAndCarriedRows: what waits for a merge is
// debt until it is merged, and everything that is written again is counted.
func TestDebtAndWriteAmplificationCountMergesAndCarriedRows(t *testing.T) {
	r := newPackRig(t, 10)
	r.step(5) // carried
	st := r.s.Stats()
	if st.CarriedBytes == 0 || st.SegmentBytes != 0 || st.MergeDebtBytes != 0 {
		t.Errorf("after a step that carries: %+v", st)
	}
	for range 3 {
		r.step(30)
		if debt := r.s.Stats().MergeDebtBytes; debt != 0 {
			t.Fatalf("%d bytes are due with fewer packs than the fan-in", debt)
		}
	}
	r.step(30)
	st = r.s.Stats()
	if st.MergeDebtBytes == 0 || st.MergeDebtBytes != st.SegmentSize {
		t.Errorf("four packs of %d bytes wait for a merge, and the debt is %d", st.SegmentSize, st.MergeDebtBytes)
	}
	before := st.WriteAmplification()
	if want := float64(2*st.FrameBytes+2*st.CarriedBytes+st.SegmentBytes) / float64(st.FrameBytes); before != want || before <= 2 {
		t.Errorf("the write amplification is %g, want %g", before, want)
	}
	if !r.merge() {
		t.Fatal("nothing was merged")
	}
	st = r.s.Stats()
	if st.MergeDebtBytes != 0 || st.MergedBytes != st.SegmentSize || st.WriteAmplification() <= before {
		t.Errorf("after the merge: %+v", st)
	}
}
