package query_test

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The differential test draws tables and statements and runs each statement in
// the executor and in SQLite. SQLite is right.

var (
	diffFloats = []float64{0, 1, 1.5, -2.25, 3, 0.1, 1e18, -7, 2.5, 1e-3}
	diffInts   = []int64{0, 1, -1, 2, 5, 7, -3, 1 << 53, math.MaxInt64, math.MinInt64}
	diffTexts  = []string{"", "a", "A", "ab", "5", "5.0", " 5", "1e1", "é", "%", "b_c", "NULL", "12abc", "2025-06-15"}
	diffV1     = &telemetry.Table{Name: "m", Version: 1, Tags: []string{"dev", "site"}, Identity: telemetry.IdentityTimeValues, Columns: []telemetry.Column{
		{Name: "f", Type: telemetry.Float}, {Name: "w", Type: telemetry.Int}, {Name: "s", Type: telemetry.String}, {Name: "b", Type: telemetry.Bool},
	}}
	diffV2 = &telemetry.Table{Name: "m", Version: 2, Tags: []string{"dev", "site"}, Identity: telemetry.IdentityTimeValues, Columns: []telemetry.Column{
		{Name: "f", Type: telemetry.Float},
		{Name: "w", Type: telemetry.Float},
		{Name: "s", Type: telemetry.String},
		{Name: "b", Type: telemetry.Bool},
		{Name: "i", Type: telemetry.Int},
		{Name: "j", Type: telemetry.JSON},
	}}
)

const diffStart = 1_749_999_990_000_000_000 // ten seconds before a full hour and a bit

func drawStore(t *rapid.T) *fakeStore {
	tab := &fakeTable{versions: []*telemetry.Table{diffV1, diffV2}, columns: diffV2.Columns, tags: diffV2.Tags}
	nSeries := rapid.IntRange(1, 4).Draw(t, "series")
	for i := range nSeries {
		tags := []store.Tag{{Value: rapid.SampledFrom([]string{"d1", "d2", "5", ""}).Draw(t, "dev")}, {Null: true}}
		if rapid.Bool().Draw(t, "site") {
			tags[1] = store.Tag{Value: "x"}
		}
		tab.series = append(tab.series, store.SeriesInfo{Topic: fmt.Sprint("t/", i), Tags: tags})
	}
	for range rapid.IntRange(0, 4).Draw(t, "units") {
		version := rapid.SampledFrom(tab.versions).Draw(t, "version")
		sorted := rapid.Bool().Draw(t, "sorted")
		n := rapid.IntRange(0, 12).Draw(t, "rows")
		type row struct {
			ref  telemetry.SeriesRef
			time int64
			vals []telemetry.Value
		}
		rows := make([]row, n)
		for i := range rows {
			r := &rows[i]
			r.ref = telemetry.SeriesRef(rapid.IntRange(0, nSeries-1).Draw(t, "ref"))
			r.time = diffStart + int64(rapid.IntRange(0, 40).Draw(t, "t"))*500e6
			for _, c := range tab.columns {
				v := telemetry.Value{Null: version.ColumnIndex(c.Name) < 0 || rapid.IntRange(0, 3).Draw(t, "null") == 0}
				if !v.Null {
					switch c.Type {
					case telemetry.Float:
						v.Bits = math.Float64bits(rapid.SampledFrom(diffFloats).Draw(t, "f"))
					case telemetry.Int:
						v.Bits = uint64(rapid.SampledFrom(diffInts).Draw(t, "i"))
					case telemetry.Bool:
						v.Bits = uint64(rapid.IntRange(0, 1).Draw(t, "b"))
					default:
						v.Text = []byte(rapid.SampledFrom(diffTexts).Draw(t, "s"))
					}
				}
				r.vals = append(r.vals, v)
			}
		}
		if sorted {
			sort.SliceStable(rows, func(i, j int) bool {
				if rows[i].ref != rows[j].ref {
					return rows[i].ref < rows[j].ref
				}
				return rows[i].time < rows[j].time
			})
		}
		u := &fakeUnit{table: version, columns: tab.columns}
		u.section.Reset(&telemetry.Table{Columns: tab.columns})
		for _, r := range rows {
			u.section.AppendRow(r.ref, r.time, r.time+int64(r.ref)*1e6, r.vals)
		}
		u.finish(sorted)
		tab.units = append(tab.units, u)
	}
	return &fakeStore{tables: map[string]*fakeTable{"m": tab}}
}

// generator draws statements. Its expressions are of the columns of m.
type generator struct{ t *rapid.T }

func (g generator) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(g.t, label)
}
func (g generator) chance(n int) bool { return rapid.IntRange(1, n).Draw(g.t, "chance") == 1 }

func (g generator) literal() string {
	return g.pick("literal", "0", "1", "2", "-1", "5", "1.5", "0.1", "-2.25", "7", "null", "'5'", "'a'", "'A'", "''", "'d1'", "'x'", "'5.0'", "'1e1'",
		"9223372036854775807", "true", "1e18", "'2025-06-15T15:06:35Z'", "'2025-06-15'")
}

func (g generator) timeLiteral() string {
	return g.pick("time", "'2025-06-15T15:06:30Z'", "'2025-06-15T15:06:35Z'", "'2025-06-15T15:06:35.5Z'", "'2025-06-15T17:06:36+02:00'", "'2025-06-15 15:06:40'",
		"'2025-06-15T15:06'", "'2025-06-15'", "'2025'", "'2025-06-15T15:06:45.000000000Z'", "'zzz'", "null", "5")
}

func (g generator) column() string {
	return g.pick("column", "f", "f", "w", "i", "i", "b", "s", "j", "dev", "site", "time", "received_at", "_topic", "_version")
}

func (g generator) number(depth int) string {
	if depth <= 0 || g.chance(3) {
		return g.pick("number", "f", "w", "i", "b", "_version", "1", "2", "1.5", "-3", "0", "i", "f")
	}
	switch rapid.IntRange(0, 8).Draw(g.t, "op") {
	case 0, 1, 2:
		return "(" + g.number(depth-1) + g.pick("arith", " + ", " - ", " * ", " / ", " % ", " & ", " | ", " << ", " >> ") + g.number(depth-1) + ")"
	case 3:
		return "(- " + g.number(depth-1) + ")"
	case 4:
		return g.pick("fn", "abs", "round", "floor", "ceil") + "(coalesce(" + g.pick("safe", "f", "w", "b", "f * 2", "i / 4") + ", " + g.number(0) + " / 8))"
	case 5:
		return "coalesce(" + g.number(depth-1) + ", " + g.number(depth-1) + ")"
	case 6:
		return "case when " + g.condition(depth-1) + " then " + g.number(depth-1) + " else " + g.number(depth-1) + " end"
	case 7:
		return "round(" + g.pick("roundable", "f", "w", "f / 3", "f * 1.15") + ", " + g.pick("places", "0", "1", "2") + ")"
	}
	return g.pick("cast", "cast(", "~(", "+(") + g.pick("castable", "f", "i", "w") + g.pick("as", " as integer)", " as real)")
}

func (g generator) value(depth int) string {
	if depth <= 0 || g.chance(2) {
		if g.chance(4) {
			return g.literal()
		}
		return g.column()
	}
	switch rapid.IntRange(0, 4).Draw(g.t, "value") {
	case 0:
		return "case " + g.column() + " when " + g.literal() + " then " + g.value(depth-1) + " when " + g.literal() + " then " + g.value(depth-1) + " end"
	case 1:
		return g.pick("fn2", "coalesce", "ifnull", "nullif", "min", "max") + "(" + g.value(depth-1) + ", " + g.value(depth-1) + ")"
	case 2:
		return "bucket('" + g.pick("width", "1s", "5s", "10s", "1m", "1h", "1d", "300ms", "1mo", "1w") + "', " + g.pick("of", "time", "time", "received_at") +
			g.pick("zone", "", "", ", 'Europe/Berlin'") + ")"
	}
	return g.number(depth)
}

func (g generator) condition(depth int) string {
	if depth > 0 && g.chance(2) {
		switch rapid.IntRange(0, 2).Draw(g.t, "logic") {
		case 0:
			return "not (" + g.condition(depth-1) + ")"
		default:
			return "(" + g.condition(depth-1) + g.pick("andor", " and ", " or ") + g.condition(depth-1) + ")"
		}
	}
	cmp := g.pick("cmp", " = ", " <> ", " < ", " <= ", " > ", " >= ", " is ", " is not ")
	switch rapid.IntRange(0, 9).Draw(g.t, "cond") {
	case 0:
		return g.pick("t", "time", "received_at") + cmp + g.timeLiteral()
	case 1:
		return "time between " + g.timeLiteral() + " and " + g.timeLiteral()
	case 2:
		if g.chance(4) {
			return "time in (" + g.timeLiteral() + ", " + g.timeLiteral() + ")"
		}
		return g.column() + g.pick("in", " in (", " not in (") + g.literal() + ", " + g.literal() + ")"
	case 3:
		return g.pick("text", "s", "j", "dev", "site", "_topic") + g.pick("like", " like ", " not like ", " glob ", " not glob ") +
			g.pick("pattern", "'a%'", "'%5%'", "'_'", "'A_'", "'*b'", "'[a-b]*'", "''", "'t/?'", "null", "'%'")
	case 4:
		return g.column() + g.pick("isnull", " is null", " is not null", " isnull", " notnull")
	case 5:
		return g.value(1) + g.pick("between", " between ", " not between ") + g.literal() + " and " + g.literal()
	case 6:
		return g.column() + cmp + g.column()
	case 7:
		return g.number(depth)
	}
	return g.column() + cmp + g.literal()
}

func (g generator) aggregate() string {
	switch rapid.IntRange(0, 9).Draw(g.t, "agg") {
	case 0:
		return "count(*)"
	case 1:
		return "count(distinct " + g.value(1) + ")"
	case 2, 3:
		return g.pick("minmax", "min", "max") + "(" + g.value(1) + ")"
	case 4:
		return g.pick("edge", "first", "last") + "(" + g.column() + ")"
	case 5:
		return g.pick("stat", "stddev", "rate") + "(" + g.pick("small", "b", "_version", "f / 1e18", "i / 1000000000000000000.0") + ")"
	case 6:
		return "count(" + g.value(1) + ")"
	case 7:
		return g.pick("quantile", "median(", "quantile(") + g.pick("quantilable", "f", "w", "b", "i / 8", "f * 2", "s") + g.pick("p", ")", ", 0.25)", ", 1)", ", b)")
	}
	return g.pick("sums", "sum", "avg", "total") + "(" + g.pick("summable", "f", "w", "b", "i / 8", "f", "w * 2", "_version") + ")"
}

// statement draws a select; total reports that its order is complete.
func (g generator) statement() (sql string, ordered bool) {
	where := ""
	if !g.chance(3) {
		where = " where " + g.condition(2)
	}
	from := g.pick("from", " from m", " from m", " from m_latest", " from m as x")
	if g.chance(2) {
		var outs []string
		for range rapid.IntRange(1, 3).Draw(g.t, "outs") {
			outs = append(outs, g.value(2))
		}
		if g.chance(6) {
			outs = []string{"*"}
		}
		sql = "select " + g.pick("distinct", "", "", "distinct ") + strings.Join(outs, ", ") + from + where
		if outs[0] != "*" && g.chance(2) {
			var by []string
			for i := range outs {
				by = append(by, fmt.Sprint(i+1, g.pick("dir", "", " desc", " desc nulls first", " nulls last")))
			}
			return sql + " order by " + strings.Join(by, ", ") + g.pick("limit", "", " limit 3", " limit 2 offset 1", " limit -1 offset 2"), true
		}
		return sql, false
	}
	var keys []string
	for range rapid.IntRange(0, 2).Draw(g.t, "keys") {
		keys = append(keys, g.pick("key", "dev", "site", "_topic", "_version", "b", "s", "w", "bucket('5s', time)", "bucket('1d', time, 'Europe/Berlin')", "f > 1", "i", "dev like 'd%'", "time"))
	}
	outs := append([]string{}, keys...)
	for range rapid.IntRange(1, 3).Draw(g.t, "aggs") {
		outs = append(outs, g.aggregate())
	}
	if g.chance(4) {
		outs = append(outs, g.aggregate()+" + "+g.pick("plus", "1", "count(*)"))
	}
	sql = "select " + strings.Join(outs, ", ") + from + where
	if len(keys) > 0 {
		sql += " group by " + strings.Join(keys, ", ")
	}
	if g.chance(4) {
		sql += " having " + g.aggregate() + g.pick("hcmp", " > ", " is not ", " <= ") + g.pick("hlit", "0", "1", "null", "2.5")
	}
	if len(keys) > 0 && g.chance(2) {
		var by []string
		for i := range keys {
			by = append(by, fmt.Sprint(i+1, g.pick("dir", "", " desc")))
		}
		return sql + " order by " + strings.Join(by, ", ") + g.pick("limit", "", " limit 2", " limit 3 offset 1"), true
	}
	return sql, false
}

func TestDifferential(t *testing.T) {
	now := func() time.Time { return time.Unix(0, diffStart+10e9).UTC() }
	ctx := context.Background()
	vectorised, total := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		st := drawStore(t)
		fast := query.New(st, query.Options{Now: now})
		slow := query.New(st, query.Options{Now: now, SQLiteOnly: true})
		for range 6 {
			sql, ordered := generator{t}.statement()
			total++
			rows, err := fast.Query(ctx, "default", sql)
			var got [][]query.Value
			if err == nil {
				if rows.Stats().Path == "vectorised" {
					vectorised++
				}
				got, err = rows.All()
			}
			srows, serr := slow.Query(ctx, "default", sql)
			var want [][]query.Value
			if serr == nil {
				want, serr = srows.All()
			}
			if (err == nil) != (serr == nil) {
				if serr != nil && strings.Contains(serr.Error(), "integer overflow") {
					continue // the order of additions decides
				}
				t.Fatalf("%s\nexecutor: %v\nSQLite:   %v", sql, err, serr)
			}
			if err != nil {
				continue
			}
			d := difference(got, want, false)
			if freeToChoose.MatchString(sql) {
				d = ""
			}
			if d == "" && (ordered || freeToChoose.MatchString(sql)) {
				d = difference(numbersAlike(got), numbersAlike(want), ordered)
			}
			if d != "" {
				t.Fatalf("%s\n%s\nexecutor: %v\nSQLite:   %v", sql, d, got, want)
			}
			for i, c := range rows.Columns() {
				if n := srows.Columns()[i].Name; n != c.Name {
					t.Fatalf("%s\ncolumn %d is called %q, in SQLite %q", sql, i, c.Name, n)
				}
			}
		}
	})
	t.Logf("%d of %d statements ran in the executor", vectorised, total)
	if vectorised*2 < total {
		t.Errorf("only %d of %d statements ran in the executor", vectorised, total)
	}
}

// difference compares two results; reals may differ in their last digits.
func difference(got, want [][]query.Value, ordered bool) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d rows instead of %d", len(got), len(want))
	}
	if !ordered {
		got, want = sortedRows(got), sortedRows(want)
	}
	for i := range got {
		for c := range got[i] {
			if !alike(got[i][c], want[i][c]) {
				return fmt.Sprintf("row %d, column %d: %v (%d) instead of %v (%d)", i, c, got[i][c], got[i][c].Kind, want[i][c], want[i][c].Kind)
			}
		}
	}
	return ""
}

// freeToChoose finds statements in which one of several values that compare
// equal, as 0 and 0.0, stands for all or comes first: which one is not promised.
var freeToChoose = regexp.MustCompile(`distinct |group by|limit|min\(|max\(|first\(|last\(`)

// numbersAlike makes integers reals.
func numbersAlike(rows [][]query.Value) [][]query.Value {
	out := make([][]query.Value, len(rows))
	for i, r := range rows {
		for _, v := range r {
			if v.Kind == query.Int {
				v = query.FloatValue(float64(v.Int()))
			}
			out[i] = append(out[i], v)
		}
	}
	return out
}

func sortedRows(rows [][]query.Value) [][]query.Value {
	key := func(r []query.Value) string {
		var b strings.Builder
		for _, v := range r {
			if v.Kind == query.Float {
				fmt.Fprintf(&b, "%d:%.9g|", v.Kind, v.Float()+0) // -0 is 0
				continue
			}
			fmt.Fprintf(&b, "%d:%v|", v.Kind, v)
		}
		return b.String()
	}
	out := append([][]query.Value{}, rows...)
	sort.SliceStable(out, func(i, j int) bool { return key(out[i]) < key(out[j]) })
	return out
}

func alike(a, b query.Value) bool {
	if a.Kind != b.Kind {
		return false
	}
	if a.Kind == query.Float {
		x, y := a.Float(), b.Float()
		return x == y || math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y), 1e-9)
	}
	return a == b
}
