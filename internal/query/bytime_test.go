package query_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestOrderByTime compares the order by columns with SQLite's, where the rows of
// several devices interleave and where those of one follow each other.
func TestOrderByTime(t *testing.T) {
	st := loadW1(t, 20, 1500, 300)
	for _, sql := range []string{
		"select time, temperature, humidity from env where device = 'd00007' order by time",
		"select time, device, status, temperature from env where device = 'd00007' order by time desc",
		"select time from env where device = 'd00003' order by time limit 700 offset 600",
		"select time, status, battery + 1 from env where device = 'd00003' order by time desc limit 10",
		"select temperature, _topic from env where device = 'd00003' and humidity > 45 order by time limit 50",
		"select time from env order by time limit 3000",
		"select time from env order by time desc limit 100 offset 7",
		"select received_at from env where device = 'd00001' order by received_at desc limit 40",
		"select time from env where device = 'd00001' order by time limit 0",
		"select time from env where device = 'no such' order by time",
	} {
		got, err := run(t, query.New(st, query.Options{}), sql)
		want, err2 := run(t, query.New(st, query.Options{SQLiteOnly: true}), sql)
		if err != nil || err2 != nil {
			t.Fatal(sql, err, err2)
		}
		if d := difference(got, want, true); d != "" {
			t.Errorf("%s\n%s", sql, d)
		}
	}
	// Whole rows, where equal times may come in any order.
	got, err := run(t, query.New(st, query.Options{}), "select time, device, temperature, status from env order by time")
	want, err2 := run(t, query.New(st, query.Options{SQLiteOnly: true}), "select time, device, temperature, status from env order by time")
	if err != nil || err2 != nil || len(got) != 30_000 {
		t.Fatal(len(got), err, err2)
	}
	if !slices.IsSortedFunc(got, func(a, b []query.Value) int { return strings.Compare(a[0].Text(), b[0].Text()) }) {
		t.Error("the rows are not in the order of time")
	}
	if d := difference(got, want, false); d != "" {
		t.Error(d)
	}
}

func TestOrderByTimeIsBoundedInMemory(t *testing.T) {
	e := query.New(small(), query.Options{MemoryLimit: 1 << 20})
	if _, err := run(t, e, "select * from env order by time"); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("all rows in 1 MB: %v", err)
	}
	if rows, err := run(t, e, "select * from env order by time desc limit 20"); err != nil || len(rows) != 20 {
		t.Errorf("%d of the last rows: %v", len(rows), err)
	}
}

// TestExplainSaysWhatSegmentsDid holds explain to the store: which segments were
// left out, which answered by their totals, what was decoded.
func TestExplainSaysWhatSegmentsDid(t *testing.T) {
	st := loadW1(t, 20, 1500, 0)
	e := query.New(st, query.Options{})
	for sql, want := range map[string]map[string]string{
		"select min(temperature), max(humidity), avg(pressure), count(*) from env": {
			"segments": "1: 0 skipped, 1 answered by their totals, 0 read", "bytes decoded": "0", "rows": "30000 read, 30000 of them by statistics, 1 returned",
		},
		"select device, avg(temperature) from env group by device": {
			"segments": "1: 0 skipped, 0 answered by their totals, 1 read", "bytes decoded": "0", "rows": "30000 read, 30000 of them by statistics, 20 returned",
		},
		// What a condition says of a whole run, its statistics know.
		"select avg(temperature) from env where battery >= 3.71 and humidity > 1": {"bytes decoded": "0", "rows": "30000 read, 30000 of them by statistics, 1 returned"},
		"select avg(temperature) from env where battery > 3.71 and humidity > 1":  {"bytes decoded": "0", "rows": "0 read, 0 of them by statistics, 1 returned"},
		"select count(*) from env where time > '2026-01-01'":                      {"segments": "1: 1 skipped, 0 answered by their totals, 0 read", "bytes decoded": "0"},
		"select max(status) from env":                                             {"segments": "1: 0 skipped, 0 answered by their totals, 1 read"},
	} {
		rows, err := run(t, e, "explain "+sql)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, r := range rows {
			got[r[0].Text()] = r[1].Text()
		}
		for what, text := range want {
			if got[what] != text {
				t.Errorf("%s\n%s: %q, want %q", sql, what, got[what], text)
			}
		}
		if sql == "select max(status) from env" && got["bytes decoded"] == "0" {
			t.Errorf("%s decoded nothing", sql)
		}
	}
}

// TestTheLatestOfEverySeriesLeavesOldSegmentsAlone asks after several compactions:
// the newest segment has a row of every series but one, and only what may hold that
// one is looked at besides.
func TestTheLatestOfEverySeriesLeavesOldSegmentsAlone(t *testing.T) {
	ctx := t.Context()
	s, err := embedded.Open(ctx, embedded.Options{Dir: t.TempDir(), ManualCompaction: true, MergeFanIn: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tab := &telemetry.Table{Name: "env", Version: 1, Tags: []string{"device"}, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Int}}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true}
	if err := s.PutTable(ctx, telemetry.DefaultTenant, tab, []byte("env")); err != nil {
		t.Fatal(err)
	}
	const devices, rounds = 300, 5
	for round := range rounds {
		var sec telemetry.Section
		sec.Reset(tab)
		for d := range devices {
			if d == 77 && round == rounds-1 {
				continue
			}
			name := deviceName(d)
			ref, err := s.Series(telemetry.DefaultTenant, tab, []byte("t/"+name), [][]byte{[]byte(name)})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				at := w1Start + int64(round*100+i)*1e9
				sec.AppendRow(ref, at, at, []telemetry.Value{{Bits: uint64(round*1000 + i)}})
			}
		}
		staged, err := s.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
		if err == nil {
			err = staged.Commit(ctx)
		}
		if err == nil {
			err = s.Compact(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rows, err := query.New(s, query.Options{}).Query(ctx, telemetry.DefaultTenant, "select device, v from env_latest")
	if err != nil {
		t.Fatal(err)
	}
	got, err := rows.All()
	if err != nil || len(got) != devices {
		t.Fatal(len(got), err)
	}
	for _, r := range got {
		want := int64((rounds-1)*1000 + 99)
		if r[0].Text() == deviceName(77) {
			want -= 1000
		}
		if r[1].Int() != want {
			t.Errorf("the latest of %s is %d, want %d", r[0].Text(), r[1].Int(), want)
		}
	}
	st := rows.Stats()
	// The newest segment has four blocks; device 77 stands in one of the one before.
	if st.Decoded != 5 || st.Skipped != 15 {
		t.Errorf("%d units were decoded, %d skipped", st.Decoded, st.Skipped)
	}
}

// FuzzReals holds the fast way to write decimals to the library's.
func FuzzReals(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, x := range []float64{0.1, -0.1, 21.53, 999999999.999999, 1e9, 1e-4, 0.00011, 1e-6, 123456.7, -5, 0.1 + 0.2, 1 << 53, math.SmallestNonzeroFloat64} {
		f.Add(x)
	}
	for range 200 {
		f.Add(float64(r.IntN(2_000_000)-1_000_000) / math.Pow10(r.IntN(8)))
	}
	f.Fuzz(func(t *testing.T, x float64) {
		if math.IsNaN(x) || math.IsInf(x, 0) || x == 0 {
			return
		}
		got := query.FloatValue(x).String()
		back, err := strconv.ParseFloat(got, 64)
		if err != nil || back != x {
			t.Fatalf("%v became %q", x, got)
		}
		if a := math.Abs(x); a >= 1e-4 && a < 1e15 {
			want := strconv.FormatFloat(x, 'f', -1, 64)
			if !strings.Contains(want, ".") {
				want += ".0"
			}
			if got != want {
				t.Fatalf("%v became %q, want %q", x, got, want)
			}
		}
	})
}

// TestWholeHoursNeedNoRows holds aggregates by hours to the rows: long runs are
// cut at full hours, so that statistics answer.
func TestWholeHoursNeedNoRows(t *testing.T) {
	st := loadW1(t, 3, 9000, 0)
	sql := "select bucket('1h', time), device, min(temperature), max(temperature), avg(temperature), count(*) from env group by 1, 2"
	rows, err := query.New(st, query.Options{}).Query(t.Context(), "default", sql)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rows.All()
	if err != nil {
		t.Fatal(err)
	}
	if s := rows.Stats(); s.Decoded != 0 || s.RowsByStats != 27_000 {
		t.Errorf("%d units were decoded, %d rows answered by statistics", s.Decoded, s.RowsByStats)
	}
	want, err := run(t, query.New(st, query.Options{SQLiteOnly: true}), sql)
	if err != nil || len(want) < 9 {
		t.Fatal(len(want), err)
	}
	if d := difference(got, want, false); d != "" {
		t.Error(d)
	}
}
