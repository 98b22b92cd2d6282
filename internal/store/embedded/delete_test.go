package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// deletes is a store with two tables and a model of what they hold: "mix" has two
// versions, the second with a widened and an added column, and rows that are equal
// in time and values are one; in "last" the newest row of a time wins.
type deletes struct {
	*testing.T
	rng       *rand.Rand
	dir       string
	opt       Options
	now       time.Time
	s         *Store
	mix       [2]*telemetry.Table
	last      *telemetry.Table
	rows      map[string]int64 // of mix, by text: the time
	ever      map[string]bool  // that was stored in mix
	lasts     map[int64]float64
	physical  map[int64]float64 // of last: the newest that was stored, deleted or not
	delivered []func()          // to deliver a row again
}

func newDeletes(t *testing.T, rng *rand.Rand) *deletes {
	one := &telemetry.Table{
		Name: "mix", Version: 1, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{{Name: "a", Type: telemetry.Int}, {Name: "s", Type: telemetry.String}},
	}
	two := *one
	two.Version = 2
	two.Columns = []telemetry.Column{{Name: "a", Type: telemetry.Float}, {Name: "s", Type: telemetry.String}, {Name: "b", Type: telemetry.Bool}}
	d := &deletes{
		T: t, rng: rng, dir: t.TempDir(), now: time.Unix(0, sampleClock), mix: [2]*telemetry.Table{one, &two},
		last: &telemetry.Table{
			Name: "last", Version: 1, Identity: telemetry.IdentityTime, TimeInPayload: true, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}},
		},
		rows: map[string]int64{}, ever: map[string]bool{}, lasts: map[int64]float64{}, physical: map[int64]float64{},
	}
	d.opt = Options{Dir: d.dir, ManualCompaction: true, CarryRows: 8, MergeFanIn: 2, Partition: 50, Now: func() time.Time { return d.now }}
	d.open()
	return d
}

func (d *deletes) open() {
	d.Helper()
	if d.s != nil {
		if err := d.s.Close(); err != nil {
			d.Fatal(err)
		}
	}
	d.s = open(d.T, d.opt)
	for _, t := range []*telemetry.Table{d.mix[0], d.mix[1], d.last} {
		if err := d.s.PutTable(context.Background(), telemetry.DefaultTenant, t, nil); err != nil {
			d.Fatal(err)
		}
	}
}

// commit stores some rows, some of them again.
func (d *deletes) commit() {
	for range 1 + d.rng.IntN(12) {
		if n := len(d.delivered); n > 0 && d.rng.IntN(4) == 0 {
			d.delivered[d.rng.IntN(n)]()
			continue
		}
		series, at := d.rng.IntN(4), int64(d.rng.IntN(200))
		if d.rng.IntN(3) == 0 {
			d.putLast(at, float64(d.rng.IntN(3)))
		} else {
			d.putMix(d.rng.IntN(2), series, at, d.rng.IntN(5))
		}
	}
}

func (d *deletes) put(t *telemetry.Table, topic string, at int64, values []telemetry.Value) {
	d.Helper()
	ref, err := d.s.Series(telemetry.DefaultTenant, t, []byte(topic), nil)
	if err != nil {
		d.Fatal(err)
	}
	sec := &telemetry.Section{}
	sec.Reset(t)
	sec.AppendRow(ref, at, at, values)
	commit(d.T, d.s, sec)
}

func (d *deletes) putMix(version, series int, at int64, a int) {
	topic := fmt.Sprintf("mix/%d", series)
	text := fmt.Sprintf("%s v%d %d %d", topic, version+1, at, a)
	deliver := func() {
		if version == 0 {
			d.put(d.mix[0], topic, at, []telemetry.Value{{Bits: uint64(a)}, {Text: []byte("x")}})
		} else {
			d.put(d.mix[1], topic, at, []telemetry.Value{float(float64(a)), {Text: []byte("x")}, {Bits: uint64(a & 1)}})
		}
	}
	deliver()
	if !d.ever[text] {
		d.ever[text], d.rows[text] = true, at
		d.delivered = append(d.delivered, deliver)
	}
}

func (d *deletes) putLast(at int64, v float64) {
	d.put(d.last, "last", at, []telemetry.Value{float(v)})
	if old, ok := d.physical[at]; !ok || old != v {
		d.physical[at], d.lasts[at] = v, v
	}
}

// deleteWhere deletes what keep is false for, by time and first column.
func (d *deletes) deleteWhere(table string, gone func(at int64, v float64) bool) store.Deleted {
	d.Helper()
	out, err := d.s.Delete(context.Background(), store.DeleteRequest{
		ScanRequest: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: minTime, To: maxTime},
		Select: func(_ context.Context, sc store.Scan, u store.Unit, yield func([]int32) error) error {
			var sec telemetry.Section
			if _, err := u.Read(&sec, []string{sc.Columns()[0].Name}, false); err != nil {
				return err
			}
			var rows []int32
			for i, at := range sec.Time {
				if gone(at, sec.Columns[0].Float(i)) {
					rows = append(rows, int32(i))
				}
			}
			return yield(rows)
		},
	})
	if err != nil {
		d.Fatal(err)
	}
	return out
}

func (d *deletes) delete() {
	d.Helper()
	from := int64(d.rng.IntN(200))
	to, value, byValue := from+int64(d.rng.IntN(60)), float64(d.rng.IntN(5)), d.rng.IntN(2) == 0
	if d.rng.IntN(12) == 0 {
		from, to = 0, 1000
	}
	gone := func(at int64, v float64) bool { return at >= from && at < to && (!byValue || v == value) }
	var want int64
	if d.rng.IntN(3) == 0 {
		for at, v := range d.lasts {
			if gone(at, v) {
				delete(d.lasts, at)
				want++
			}
		}
		if got := d.deleteWhere("last", gone); got.Rows != want {
			d.Fatalf("%d rows of last were deleted, want %d", got.Rows, want)
		}
		return
	}
	for text, at := range d.rows {
		f := strings.Fields(text)
		var v float64
		if _, err := fmt.Sscan(f[3], &v); err != nil {
			d.Fatal(err)
		}
		if gone(at, v) {
			delete(d.rows, text)
			want++
		}
	}
	if got := d.deleteWhere("mix", gone); got.Rows != want {
		d.Fatalf("%d rows of mix were deleted, want %d", got.Rows, want)
	}
}

func (d *deletes) check(when string) {
	d.Helper()
	var got []string
	sc := scanOf(d.T, d.s, "mix")
	defer sc.Close()
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, []string{"a", "s", "b"}, true); err != nil {
			d.Fatal(err)
		}
		if u.Rows() != sec.Rows() {
			d.Fatalf("%s: a unit of %d rows gave %d", when, u.Rows(), sec.Rows())
		}
		for i := range sec.Rows() {
			got = append(got, fmt.Sprintf("%s v%d %d %g", sc.Series(sec.Series[i]).Topic, u.Table().Version, sec.Time[i], sec.Columns[0].Float(i)))
			if v2 := u.Table().Version == 2; sec.Columns[2].Nulls.Get(i) == v2 {
				d.Fatalf("%s: the added column of %s is null: %t", when, got[len(got)-1], v2)
			}
		}
	}
	var want []string
	for text := range d.rows {
		want = append(want, text)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		d.Fatalf("%s: mix has %d rows, want %d\n%v\n%v", when, len(got), len(want), got, want)
	}
	got, want = sorted(scanAll(d.T, d.s, "last")), nil
	ref, err := d.s.Series(telemetry.DefaultTenant, d.last, []byte("last"), nil)
	if err != nil {
		d.Fatal(err)
	}
	for at, v := range d.lasts {
		want = append(want, fmt.Sprint(ref, " ", at, " ", v))
	}
	if !slices.Equal(got, sorted(want)) {
		d.Fatalf("%s: last has\n%v, want\n%v", when, got, want)
	}
}

func (d *deletes) step() {
	d.Helper()
	tn := d.s.tenant(telemetry.DefaultTenant)
	if tn == nil {
		return
	}
	if _, err := d.s.compactLevel0(context.Background(), tn, d.rng.IntN(2) == 0); err != nil {
		d.Fatal(err)
	}
	if _, err := d.s.mergeOne(context.Background(), tn, d.rng.IntN(2) == 0); err != nil {
		d.Fatal(err)
	}
}

// TestDeletedRowsAreGoneAndStayGone deletes at random between commits, redeliveries,
// compactions, merges and restarts, over rows of two versions of a table, and
// compares with a model after each step.
func TestDeletedRowsAreGoneAndStayGone(t *testing.T) {
	rng, rounds := testkit.Random(t), 3
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 400
	}
	for range rounds {
		d := newDeletes(t, rng)
		for i := range 60 {
			what := ""
			switch rng.IntN(6) {
			case 0, 1:
				what = "commit"
				d.commit()
			case 2:
				what = "delete"
				d.delete()
			case 3, 4:
				what = "compact"
				d.step()
			case 5:
				what = "reopen"
				d.open()
			}
			d.check(fmt.Sprintf("step %d, %s", i, what))
		}
		// When redelivery is no longer looked for, nothing of the rows is left.
		d.now = d.now.Add(2 * d.s.opt.DeletedAge)
		if err := d.s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		d.check("an hour later")
		if st := d.s.Stats(); st.DeletedKept != 0 || d.s.deletionBytes.Load() != 0 {
			t.Fatalf("%d deleted rows are still on the disk, %d bytes in memory", st.DeletedKept, d.s.deletionBytes.Load())
		}
		err := d.s.w.query("SELECT id FROM deletions", func(row []driver.Value) error {
			t.Errorf("segment %d is gone, and the list of its deleted rows is not", row[0])
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		d.open()
		d.check("an hour later, opened again")
	}
}

func TestADeletedReadingThatIsDeliveredAgainStaysDeletedForAnHour(t *testing.T) {
	d := newDeletes(t, testkit.Random(t))
	d.putMix(0, 1, 100, 7)
	d.deleteWhere("mix", func(int64, float64) bool { return true })
	for range 2 {
		d.delivered[0]()
		d.open()
		if err := d.s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		if rows := scanAll(t, d.s, "mix"); len(rows) != 0 {
			t.Fatalf("it came back: %v", rows)
		}
		d.now = d.now.Add(d.s.opt.DeletedAge * 2 / 5)
	}
	d.now = d.now.Add(d.s.opt.DeletedAge)
	if err := d.s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	d.delivered[0]()
	if rows := scanAll(t, d.s, "mix"); len(rows) != 1 {
		t.Fatalf("an hour later it is a new reading, and the store has %v", rows)
	}
}

func TestADamagedListOfDeletedRowsDoesNotBringThemBack(t *testing.T) {
	d := newDeletes(t, testkit.Random(t))
	for i := range 20 {
		d.putMix(0, 1, int64(i), 7)
	}
	d.deleteWhere("mix", func(at int64, _ float64) bool { return at < 5 })
	if err := d.s.w.exec("UPDATE deletions SET rows = rows - 1"); err != nil {
		t.Fatal(err)
	}
	d.open()
	if err := d.s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	sc := scanOf(t, d.s, "mix")
	defer sc.Close()
	failed := false
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, nil, false); err != nil {
			failed = telemetry.CodeOf(err) == telemetry.CodeDamaged && strings.Contains(err.Error(), "deletions")
			continue
		}
		for _, at := range sec.Time {
			if at < 5 {
				t.Errorf("the deleted row of %d came back", at)
			}
		}
	}
	if !failed {
		t.Error("the scan does not say that rows cannot be read")
	}
}

func TestADeleteThatFailsDeletesNothing(t *testing.T) {
	d := newDeletes(t, testkit.Random(t))
	for i := range 200 {
		d.putMix(0, 1, int64(i), 7)
	}
	stop := telemetry.Errorf(telemetry.CodeLimit, "test", "enough")
	units := 0
	_, err := d.s.Delete(context.Background(), store.DeleteRequest{
		ScanRequest: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "mix", From: minTime, To: maxTime},
		Select: func(_ context.Context, _ store.Scan, _ store.Unit, yield func([]int32) error) error {
			if units++; units == 2 {
				return stop
			}
			return yield([]int32{0, 1})
		},
	})
	if telemetry.CodeOf(err) != telemetry.CodeLimit || units != 2 {
		t.Fatalf("%v after %d units", err, units)
	}
	d.check("after a delete that failed")
}

func TestRunsOfRows(t *testing.T) {
	rng := testkit.Random(t)
	for range 200 {
		n := uint32(1 + rng.IntN(300))
		gone := map[uint32]bool{}
		var a, b []rowRun
		for row := range n {
			switch rng.IntN(4) {
			case 0:
				a = addRow(a, row)
				gone[row] = true
			case 1:
				b = addRow(b, row)
				gone[row] = true
			}
		}
		all := joinRuns(a, b)
		back, ok := decodeRuns(encodeRuns(all))
		if !ok || !slices.Equal(back, all) || countRuns(all) != int64(len(gone)) {
			t.Fatal(all, back, ok)
		}
		from := uint32(rng.IntN(int(n)))
		to := from + uint32(rng.IntN(int(n-from)+1))
		seen := 0
		for _, r := range within(all, from, to) {
			for i := range r.n {
				if !gone[from+r.from+i] {
					t.Fatalf("row %d is not deleted", from+r.from+i)
				}
				seen++
			}
		}
		for row := from; row < to; row++ {
			if gone[row] {
				seen--
			}
		}
		if seen != 0 {
			t.Fatalf("%d rows more than there are", seen)
		}
	}
}

// thirdOf selects every third reading of a table, by its first column.
func thirdOf(table string) store.DeleteRequest {
	return store.DeleteRequest{
		ScanRequest: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: minTime, To: maxTime},
		Select: func(_ context.Context, sc store.Scan, u store.Unit, yield func([]int32) error) error {
			var sec telemetry.Section
			if _, err := u.Read(&sec, []string{sc.Columns()[0].Name}, false); err != nil {
				return err
			}
			var rows []int32
			for i := range sec.Time {
				if int64(sec.Columns[0].Float(i))%3 == 0 {
					rows = append(rows, int32(i))
				}
			}
			return yield(rows)
		},
	}
}

// deleteTimes deletes the readings of a table of a stretch of time.
func deleteTimes(ctx context.Context, s *Store, table string, lo, hi int64) error {
	_, err := s.Delete(ctx, store.DeleteRequest{
		ScanRequest: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: lo, To: hi},
		Select: func(_ context.Context, _ store.Scan, u store.Unit, yield func([]int32) error) error {
			var sec telemetry.Section
			if _, err := u.Read(&sec, nil, false); err != nil {
				return err
			}
			var rows []int32
			for i, at := range sec.Time {
				if at >= lo && at < hi {
					rows = append(rows, int32(i))
				}
			}
			return yield(rows)
		},
	})
	return err
}
