package rollup

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

var testFields = []telemetry.Column{
	{Name: "f", Type: telemetry.Float},
	{Name: "i", Type: telemetry.Int},
	{Name: "b", Type: telemetry.Bool},
	{Name: "s", Type: telemetry.String},
	{Name: "j", Type: telemetry.JSON},
}

type testRow struct {
	ref  telemetry.SeriesRef
	time int64
	vals []telemetry.Value
}

func drawRows(t *rapid.T) []testRow {
	rows := make([]testRow, rapid.IntRange(0, 60).Draw(t, "rows"))
	for i := range rows {
		r := &rows[i]
		r.ref = telemetry.SeriesRef(rapid.IntRange(0, 2).Draw(t, "series"))
		r.time = int64(rapid.IntRange(-5000, 9000).Draw(t, "time")) * 1e9
		for _, c := range testFields {
			v := telemetry.Value{Null: rapid.IntRange(0, 4).Draw(t, "null") == 0}
			if v.Null {
				r.vals = append(r.vals, v)
				continue
			}
			switch c.Type {
			case telemetry.Float:
				v.Bits = math.Float64bits(rapid.SampledFrom([]float64{1, 1.5, -2, 1e17, 0.1, math.NaN(), 0}).Draw(t, "f"))
			case telemetry.Int:
				v.Bits = uint64(rapid.SampledFrom([]int64{0, 1, -5, math.MaxInt64, math.MinInt64}).Draw(t, "i"))
			case telemetry.Bool:
				v.Bits = uint64(rapid.IntRange(0, 1).Draw(t, "b"))
			default:
				v.Text = []byte(rapid.SampledFrom([]string{"", "ok", "warn", "a\x00b"}).Draw(t, "s"))
			}
			r.vals = append(r.vals, v)
		}
	}
	sort.SliceStable(rows, func(i, j int) bool {
		return rows[i].ref < rows[j].ref || rows[i].ref == rows[j].ref && rows[i].time < rows[j].time
	})
	return rows
}

// build returns what a builder makes of rows, as a map of texts.
func build(t *rapid.T, rows []testRow, widths []int64) map[string]string {
	got := map[string]string{}
	b := NewBuilder("t", testFields, widths, func(width int64, sec *telemetry.Section) error {
		for i := range sec.Rows() {
			k := fmt.Sprintf("%d/%d/%d/", width, sec.Series[i], sec.Time[i])
			if _, dup := got[k+"rows"]; dup {
				t.Fatalf("%s stands twice", k)
			}
			for c, col := range sec.Table.Columns {
				if v := &sec.Columns[c]; !v.Nulls.Get(i) {
					if col.Type.Textual() {
						got[k+col.Name] = fmt.Sprintf("%q", v.Text(i))
					} else {
						got[k+col.Name] = fmt.Sprint(v.Bits[i])
					}
				}
			}
		}
		return nil
	})
	table := &telemetry.Table{Name: "t", Columns: testFields}
	for len(rows) > 0 {
		n := rapid.IntRange(1, len(rows)).Draw(t, "section")
		var sec telemetry.Section
		sec.Reset(table)
		for _, r := range rows[:n] {
			sec.AppendRow(r.ref, r.time, r.time, r.vals)
		}
		if err := b.Add(&sec); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return got
}

// expect is what the definition gives, bucket by bucket.
func expect(rows []testRow, widths []int64) map[string]string {
	want := map[string]string{}
	for _, w := range widths {
		groups := map[string][]testRow{}
		for _, r := range rows {
			start := int64(math.Floor(float64(r.time)/float64(w))) * w
			k := fmt.Sprintf("%d/%d/%d/", w, r.ref, start)
			groups[k] = append(groups[k], r)
			want[k+"first"] = fmt.Sprint(uint64(groups[k][0].time - start))
			want[k+"last"] = fmt.Sprint(uint64(r.time - start))
		}
		for k, g := range groups {
			want[k+"rows"] = fmt.Sprint(len(g))
			for c, col := range testFields {
				expectField(want, k, g, c, col)
			}
		}
	}
	return want
}

func expectField(want map[string]string, k string, g []testRow, c int, col telemetry.Column) {
	var some []testRow
	for _, r := range g {
		if !r.vals[c].Null && !(col.Type == telemetry.Float && math.IsNaN(math.Float64frombits(r.vals[c].Bits))) {
			some = append(some, r)
		}
	}
	want[k+"n:"+col.Name] = fmt.Sprint(len(some))
	if len(some) == 0 || col.Type == telemetry.JSON {
		return
	}
	less := func(a, b testRow) bool {
		return compare(col.Type, value{a.vals[c].Bits, a.vals[c].Text}, value{b.vals[c].Bits, b.vals[c].Text}) < 0
	}
	show := func(r testRow) string {
		if col.Type.Textual() {
			return fmt.Sprintf("%q", r.vals[c].Text)
		}
		return fmt.Sprint(r.vals[c].Bits)
	}
	first, last, low, high := some[0], some[0], some[0], some[0]
	exact := new(big.Float).SetPrec(2200)
	total := new(big.Int)
	var sk Sketch
	for _, r := range some {
		if r.time == first.time && less(r, first) {
			first = r
		}
		if r.time > last.time || r.time == last.time && less(last, r) {
			last = r
		}
		if less(r, low) {
			low = r
		}
		if less(high, r) {
			high = r
		}
		switch col.Type {
		case telemetry.Float:
			exact.Add(exact, big.NewFloat(math.Float64frombits(r.vals[c].Bits)))
			sk.Add(math.Float64frombits(r.vals[c].Bits))
		case telemetry.Int, telemetry.Bool:
			total.Add(total, big.NewInt(int64(r.vals[c].Bits)))
			sk.Add(float64(int64(r.vals[c].Bits)))
		}
	}
	want[k+"first:"+col.Name] = show(first)
	want[k+"first_at:"+col.Name] = fmt.Sprint(uint64(first.time - g[0].time))
	if len(some) == 1 {
		return
	}
	want[k+"last:"+col.Name] = show(last)
	want[k+"last_at:"+col.Name] = fmt.Sprint(uint64(g[len(g)-1].time - last.time))
	if col.Type.Textual() {
		return
	}
	want[k+"min:"+col.Name], want[k+"max:"+col.Name] = show(low), show(high)
	want[k+"sketch:"+col.Name] = fmt.Sprintf("%q", sk.Append(nil))
	if col.Type == telemetry.Float {
		f, _ := exact.Float64()
		want[k+"sum:"+col.Name] = fmt.Sprint(math.Float64bits(f))
		return
	}
	low64 := new(big.Int).And(total, new(big.Int).SetUint64(math.MaxUint64))
	high64 := new(big.Int).Rsh(total, 64)
	want[k+"sum:"+col.Name] = fmt.Sprint(low64.Uint64())
	want[k+"sum_hi:"+col.Name] = fmt.Sprint(uint64(high64.Int64()))
}

func TestBuilderGivesWhatTheDefinitionSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t)
		widths := rapid.SampledFrom([][]int64{{60e9}, {1e9, 60e9, 3600e9}, {60e9, 3600e9, 86400e9}, {40e9, 60e9, 120e9}}).Draw(t, "widths")
		got, want := build(t, rows, widths), expect(rows, widths)
		var diff []string
		for k, w := range want {
			if g := got[k]; g != w && !closeSum(k, g, w) {
				diff = append(diff, fmt.Sprintf("%s is %q instead of %q", k, g, w))
			}
		}
		for k := range got {
			if _, ok := want[k]; !ok {
				diff = append(diff, fmt.Sprintf("%s is %q and should not be", k, got[k]))
			}
		}
		if slices.Sort(diff); len(diff) > 0 {
			t.Fatalf("%d differences: %v", len(diff), diff[:min(len(diff), 5)])
		}
	})
}

// closeSum allows a sum of floats the last digit: the compensated sum is within
// one rounding of the exact one. Zero may have either sign.
func closeSum(k, got, want string) bool {
	var a, b uint64
	if !isFloat(k) {
		return false
	}
	if _, err := fmt.Sscan(got, &a); err != nil {
		return false
	}
	if _, err := fmt.Sscan(want, &b); err != nil {
		return false
	}
	x, y := math.Float64frombits(a), math.Float64frombits(b)
	return math.Abs(x-y) <= math.Abs(y)*0x1p-52
}

func isFloat(k string) bool {
	for _, p := range []string{"sum:f", "min:f", "max:f", "first:f", "last:f"} {
		if len(k) > len(p) && k[len(k)-len(p):] == p {
			return true
		}
	}
	return false
}

func TestFieldsBeyondWhatASegmentHoldsAreLeftOut(t *testing.T) {
	var columns []telemetry.Column
	for i := range 1000 {
		columns = append(columns, telemetry.Column{Name: fmt.Sprint("c", i), Type: telemetry.Int})
	}
	fields := Fields(columns)
	if n := len(TableOf("t", fields).Columns); n > maxColumns || len(fields) != 409 {
		t.Errorf("%d fields in %d columns", len(fields), n)
	}
	if n := len(Fields(testFields)); n != len(testFields) {
		t.Errorf("%d of %d fields", n, len(testFields))
	}
}

func BenchmarkBuilder(b *testing.B) {
	table := &telemetry.Table{Name: "t", Columns: []telemetry.Column{{Name: "f", Type: telemetry.Float}}}
	var sec telemetry.Section
	sec.Reset(table)
	for i := range 8192 {
		sec.AppendRow(0, int64(i)*1e9, 0, []telemetry.Value{{Bits: math.Float64bits(20 + float64(i%100)/100)}})
	}
	bd := NewBuilder("t", table.Columns, []int64{60e9, 3600e9, 86400e9}, func(int64, *telemetry.Section) error { return nil })
	b.ReportAllocs()
	for range b.N {
		if err := bd.Add(&sec); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8192, "ns/row")
}
