package embedded

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// shapes is a store that gets readings in a shape that is hard on it.
type shapes struct {
	*testing.T
	s     *Store
	opt   Options
	table *telemetry.Table
	rows  int64
	times int64 // sum of all times, as a checksum
}

func newShapes(t *testing.T) *shapes {
	h := &shapes{T: t, opt: Options{Dir: t.TempDir(), ManualCompaction: true, CompactRows: 200_000, CarryRows: 1000}, table: small(0)}
	h.open()
	return h
}

func (h *shapes) open() {
	h.Helper()
	if h.s != nil {
		if err := h.s.Close(); err != nil {
			h.Fatal(err)
		}
	}
	h.s = open(h.T, h.opt)
	if err := h.s.PutTable(context.Background(), telemetry.DefaultTenant, h.table, nil); err != nil {
		h.Fatal(err)
	}
}

// put commits n rows: row i is of the series and at the time that at gives.
func (h *shapes) put(n int, at func(i int) (series int, time int64)) {
	h.Helper()
	const batch = 20_000
	var sec telemetry.Section
	for from := 0; from < n; from += batch {
		sec.Reset(h.table)
		for i := from; i < min(n, from+batch); i++ {
			series, at := at(i)
			ref, err := h.s.Series(telemetry.DefaultTenant, h.table, strconv.AppendInt([]byte("series/"), int64(series), 10), nil)
			if err != nil {
				h.Fatal(err)
			}
			sec.AppendRow(ref, at, at, []telemetry.Value{float(float64(i))})
			h.times += at
		}
		h.rows += int64(sec.Rows())
		commit(h.T, h.s, &sec)
		if h.s.due(h.s.tenant(telemetry.DefaultTenant)) {
			h.compact()
		}
	}
}

// compact is a step of the background work.
func (h *shapes) compact() {
	h.Helper()
	tn := h.s.tenant(telemetry.DefaultTenant)
	if _, err := h.s.compactLevel0(context.Background(), tn, true); err != nil {
		h.Fatal(err)
	}
	for merged := true; merged; {
		var err error
		if merged, err = h.s.mergeOne(context.Background(), tn, true); err != nil {
			h.Fatal(err)
		}
	}
}

// check counts the rows, and again after a restart.
func (h *shapes) check() {
	h.Helper()
	for range 2 {
		sc := scanOf(h.T, h.s, h.table.Name)
		var rows, times int64
		var sec telemetry.Section
		for _, u := range sc.Units() {
			if _, err := u.Read(&sec, nil, false); err != nil {
				h.Fatal(err)
			}
			rows += int64(sec.Rows())
			for _, at := range sec.Time {
				times += at
			}
		}
		sc.Close()
		if rows != h.rows || times != h.times {
			h.Fatalf("%d rows with times of %d, want %d with %d", rows, times, h.rows, h.times)
		}
		h.open()
	}
}

// soak is n, or the number of a long run.
func soak(n, long int) int {
	if os.Getenv("WEIR_SOAK") != "" {
		return long
	}
	return n
}

// TestOneReadingOfEachSeriesOnly: every row is a run of its own.
func TestOneReadingOfEachSeriesOnly(t *testing.T) {
	h := newShapes(t)
	n := soak(60_000, 1_000_000)
	h.put(n, func(i int) (int, int64) { return i, sampleClock + int64(i)*1e6 })
	h.compact()
	h.check()
	if got := h.s.Stats().Series; got != n {
		t.Errorf("%d series, want %d", got, n)
	}
	sc, err := h.s.Scan(context.Background(), store.ScanRequest{
		Tenant: telemetry.DefaultTenant, Table: h.table.Name, From: minTime, To: maxTime,
		Match: func(topic string, _ []store.Tag) bool { return topic == "series/777" },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	if units := len(sc.Units()); units != 1 {
		t.Errorf("one series is looked for in %d units", units)
	}
}

// TestOneSeriesWithAllReadings: all blocks are of one series.
func TestOneSeriesWithAllReadings(t *testing.T) {
	h := newShapes(t)
	n := soak(400_000, 100_000_000)
	h.put(n, func(i int) (int, int64) { return 0, sampleClock + int64(i)*1e6 })
	h.compact()
	h.check()
	sc, err := h.s.Scan(context.Background(), store.ScanRequest{
		Tenant: telemetry.DefaultTenant, Table: h.table.Name, From: sampleClock + int64(n/2)*1e6, To: sampleClock + int64(n/2+100)*1e6,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	if units := len(sc.Units()); units > 2 {
		t.Errorf("100 ms are looked for in %d units", units)
	}
}

// TestReadingsTenYearsLateMakeFewFiles scatters late readings over ten years and back
// to 1970 among timely ones: neither files nor what merges write may grow with the
// number of days.
func TestReadingsTenYearsLateMakeFewFiles(t *testing.T) {
	rng := testkit.Random(t)
	h := newShapes(t)
	const day = int64(24 * time.Hour)
	rounds := soak(40, 400)
	for round := range rounds {
		h.put(2000, func(i int) (int, int64) {
			at := sampleClock + int64(round*2000+i)*1e6
			switch rng.IntN(20) {
			case 0:
				at -= rng.Int64N(3650) * day
			case 1:
				at = rng.Int64N(20_000) * day // since 1970
			}
			return i % 50, at + rng.Int64N(1e6)
		})
		h.compact()
	}
	st := h.s.Stats()
	h.check()
	t.Logf("%d rows in %d segments, %d bytes, merges wrote %d", h.rows, st.Segments, st.SegmentSize, st.MergedBytes)
	if st.Segments > 40 {
		t.Errorf("%d segments", st.Segments)
	}
	if written := st.SegmentBytes + st.MergedBytes; st.MergedBytes == 0 || written > 8*st.SegmentSize {
		t.Errorf("%d bytes were written for the %d that are there", written, st.SegmentSize)
	}
}

// TestAClockThatJumpsHarmsNothing sets the clock back a day and forward a year among
// commits, compactions, merges and deletions.
func TestAClockThatJumpsHarmsNothing(t *testing.T) {
	d := newDeletes(t, testkit.Random(t))
	// Without the hour of redelivery: deleted readings are not delivered again here.
	start := d.now
	for i, jump := range []time.Duration{0, -24 * time.Hour, time.Hour, 365 * 24 * time.Hour, -24 * time.Hour, 0} {
		d.now = start.Add(jump)
		for k := range 30 {
			d.putMix(k%2, k%3, int64(i*40+k), k%5)
			d.putLast(int64(k), float64(i))
		}
		d.delivered = nil
		tn := d.s.tenant(telemetry.DefaultTenant)
		d.now = d.now.Add(d.s.opt.CompactAge)
		if !d.s.due(tn) {
			t.Errorf("jump %v: rows that are older than CompactAge are not due", jump)
		}
		d.step()
		d.check("after a jump of " + jump.String())
		d.delete()
		d.step()
		d.check("after a deletion and a jump of " + jump.String())
		d.open()
		d.check("opened after a jump of " + jump.String())
	}
	for merged := true; merged; {
		var err error
		if merged, err = d.s.mergeOne(context.Background(), d.s.tenant(telemetry.DefaultTenant), true); err != nil {
			t.Fatal(err)
		}
	}
	d.check("merged")
	// A frame of the future, from a clock that was wrong, is compacted by age too.
	d.now = start.Add(365 * 24 * time.Hour)
	d.putMix(0, 0, 5000, 1)
	d.now = start
	if !d.s.due(d.s.tenant(telemetry.DefaultTenant)) {
		t.Error("a frame that a wrong clock made in a year waits for a year")
	}
}
