package query_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

const rollupStart = 1_749_945_600_000_000_000 // 2025-06-15, midnight

// rollupAggregates are aggregates that rollups answer, of the columns of m.
var rollupAggregates = []string{
	"count(*)", "count(f)", "count(s)", "count(j)", "count(time)", "min(time)", "max(time)",
	"min(f)", "max(f)", "sum(f)", "avg(f)", "total(f)", "first(f)", "last(f)", "median(f)", "quantile(f, 0.99)", "quantile(f, 0)",
	"min(w)", "max(w)", "total(w)", "avg(w)", "first(w)", "last(w)", "quantile(w, 0.25)",
	"total(i)", "min(i)", "max(i)", "last(i)", "median(i)", "sum(b)", "avg(b)", "max(b)", "first(b)", "median(b)", "first(s)", "last(s)",
}

// drawRollupStatement draws a select that rollups of some width answer.
func drawRollupStatement(t *rapid.T) string {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	var keys []string
	if rapid.Bool().Draw(t, "by tag") {
		keys = append(keys, pick("tag", "dev", "site", "_topic"))
	}
	if rapid.Bool().Draw(t, "by time") {
		keys = append(keys, pick("bucket", "bucket('1m', time)", "bucket('5m', time)", "bucket('1h', time)", "bucket('90m', time)",
			"bucket('1d', time)", "bucket('1w', time)", "bucket('1mo', time)", "bucket('1d', time, 'Europe/Berlin')"))
	}
	outs := append([]string{}, keys...)
	for range rapid.IntRange(1, 4).Draw(t, "aggs") {
		outs = append(outs, rapid.SampledFrom(rollupAggregates).Draw(t, "agg"))
	}
	var where []string
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		where = append(where, pick("where", "dev = 'd1'", "site is null", "time >= '2025-06-14'", "time < '2025-06-17'", "time >= '2025-06-15T03:00:00Z'",
			"time < '2025-06-16T12:34:00Z'", "time >= '2025-06-15T01:02:03Z'", "time < '2025-06-16T07:08:09.5Z'", "_topic like 't/%'"))
	}
	sql := "select " + strings.Join(outs, ", ") + " from m"
	if len(where) > 0 {
		sql += " where " + strings.Join(where, " and ")
	}
	if len(keys) > 0 {
		sql += " group by " + strings.Join(keys, ", ")
	}
	return sql
}

// The values of floats, and of ints that become floats, add without rounding, so
// that sums may be compared exactly.
var rollupFloats = []float64{0, 1, 1.5, -2.25, 3, 0.125, 1 << 20, -7, 2.5, math.NaN()}

// drawReading draws a value for each column of a version.
func drawReading(t *rapid.T, v *telemetry.Table) []telemetry.Value {
	var vals []telemetry.Value
	for _, c := range v.Columns {
		val := telemetry.Value{Null: rapid.IntRange(0, 4).Draw(t, "null") == 0}
		if !val.Null {
			switch c.Type {
			case telemetry.Float:
				val.Bits = math.Float64bits(rapid.SampledFrom(rollupFloats).Draw(t, "f"))
			case telemetry.Int:
				ints := diffInts
				if c.Name == "w" {
					ints = diffInts[:7]
				}
				val.Bits = uint64(rapid.SampledFrom(ints).Draw(t, "i"))
			case telemetry.Bool:
				val.Bits = uint64(rapid.IntRange(0, 1).Draw(t, "b"))
			default:
				val.Text = []byte(rapid.SampledFrom(diffTexts).Draw(t, "s"))
			}
		}
		vals = append(vals, val)
	}
	return vals
}

// differs compares the answer from rollups with that from readings alone.
func differs(ctx context.Context, st store.Store, sql string) (diff, rollups string) {
	run := func(o query.Options) ([][]query.Value, query.Stats, error) {
		rows, err := query.New(st, o).Query(ctx, telemetry.DefaultTenant, sql)
		if err != nil {
			return nil, query.Stats{}, err
		}
		all, err := rows.All()
		return all, rows.Stats(), err
	}
	got, stats, err := run(query.Options{})
	want, _, werr := run(query.Options{RawOnly: true})
	if err != nil || werr != nil {
		return fmt.Sprintf("with rollups: %v, without: %v", err, werr), ""
	}
	d := difference(numbersAlike(got), numbersAlike(want), false)
	if d != "" {
		d = fmt.Sprintf("%s\n%s\nrollups %v\nreadings %v", sql, d, got, want)
	}
	return d, stats.Rollups
}

// The model of a store aggregates the days before a midnight; every answer must
// be what the readings give.
func TestRollupsAnswerAsReadingsDo(t *testing.T) {
	ctx := context.Background()
	used, total := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		st := storetest.NewMemory()
		st.RollupsUntil = rollupStart + int64(rapid.IntRange(-1, 2).Draw(t, "days"))*int64(24*time.Hour)
		policy := store.Policy{}
		for _, w := range rapid.SampledFrom([][]time.Duration{{time.Minute, time.Hour, 24 * time.Hour}, {time.Hour}, {30 * time.Minute}, {24 * time.Hour}}).Draw(t, "widths") {
			policy.Rollups = append(policy.Rollups, store.Rollup{Every: w})
		}
		if err := st.SetPolicy(telemetry.DefaultTenant, "m", policy); err != nil {
			t.Fatal(err)
		}
		var secs []*telemetry.Section
		for _, v := range []*telemetry.Table{diffV1, diffV2} {
			if err := st.PutTable(ctx, telemetry.DefaultTenant, v, nil); err != nil {
				t.Fatal(err)
			}
			sec := &telemetry.Section{}
			sec.Reset(v)
			for range rapid.IntRange(0, 30).Draw(t, "rows") {
				s := rapid.IntRange(0, 3).Draw(t, "series")
				tags := [][]byte{[]byte(fmt.Sprint("d", s%3)), nil}
				ref, err := st.Series(telemetry.DefaultTenant, v, []byte(fmt.Sprint("t/", s)), tags)
				if err != nil {
					t.Fatal(err)
				}
				at := rollupStart + int64(rapid.IntRange(-3000, 6000).Draw(t, "minutes"))*int64(time.Minute) + int64(rapid.IntRange(0, 3).Draw(t, "seconds"))*int64(time.Second)
				sec.AppendRow(ref, at, at, drawReading(t, v))
			}
			secs = append(secs, sec)
		}
		staged, err := st.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: secs}}})
		if err == nil {
			err = staged.Commit(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			d, by := differs(ctx, st, drawRollupStatement(t))
			if d != "" {
				t.Fatal(d)
			}
			if total++; by != "" {
				used++
			}
		}
	})
	t.Logf("rollups had a part in %d of %d answers", used, total)
	if used*3 < total {
		t.Errorf("rollups had a part in %d of %d answers only", used, total)
	}
}
