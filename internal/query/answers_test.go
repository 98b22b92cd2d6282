package query_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// text renders a small result on one line: values by spaces, rows by slashes.
func text(rows [][]query.Value) string {
	var lines []string
	for _, r := range rows {
		var vals []string
		for _, v := range r {
			vals = append(vals, v.String())
		}
		lines = append(lines, strings.Join(vals, " "))
	}
	return strings.Join(lines, " / ")
}

// oneTable is a store of one table m(f) with the rows given as series, seconds
// and value; every slice is a unit. Units whose rows are in order have runs.
func oneTable(units ...[][3]float64) *fakeStore {
	tab := &telemetry.Table{Name: "m", Version: 1, Tags: []string{"dev"}, Identity: telemetry.IdentityTimeValues, Columns: []telemetry.Column{{Name: "f", Type: telemetry.Float}}}
	t := &fakeTable{versions: []*telemetry.Table{tab}, columns: tab.Columns, tags: tab.Tags}
	for i := range 3 {
		t.series = append(t.series, store.SeriesInfo{Topic: fmt.Sprint("t/", i), Tags: []store.Tag{{Value: fmt.Sprint("d", i)}}})
	}
	for _, rows := range units {
		u := &fakeUnit{table: tab, columns: tab.Columns}
		u.section.Reset(tab)
		sorted := true
		for i, r := range rows {
			at := int64(r[1] * 1e9)
			if i > 0 && (r[0] < rows[i-1][0] || r[0] == rows[i-1][0] && r[1] < rows[i-1][1]) {
				sorted = false
			}
			u.section.AppendRow(telemetry.SeriesRef(r[0]), at, at+int64(len(t.units)), []telemetry.Value{{Bits: math.Float64bits(r[2])}})
		}
		u.finish(sorted)
		t.units = append(t.units, u)
	}
	return &fakeStore{tables: map[string]*fakeTable{"m": t}}
}

// TestAnswers checks answers that were worked out by hand, on both paths.
func TestAnswers(t *testing.T) {
	st := oneTable(
		[][3]float64{{0, 10, 1}, {0, 20, 3}, {0, 30, 2}, {1, 10, 5}},
		[][3]float64{{0, 40, 4}, {1, 20, 7}},
		[][3]float64{{2, 5, 9}, {0, 25, 2.5}}, // unsorted, and within the time of the first
	)
	for sql, want := range map[string]string{
		"select count(*), sum(f), avg(f), min(f), max(f) from m":                                 "8 33.5 4.1875 1.0 9.0",
		"select dev, first(f), last(f) from m group by dev":                                      "d0 1.0 4.0 / d1 5.0 7.0 / d2 9.0 9.0",
		"select dev, rate(f) from m where dev <> 'd2' group by dev":                              "d0 0.2833333333333333 / d1 0.2",
		"select rate(f) from m":                                                                  "0.48333333333333334",
		"select dev, f from m_latest":                                                            "d0 4.0 / d1 7.0 / d2 9.0",
		"select dev from m_latest where time < '1970-01-01T00:00:20Z'":                           "d2",
		"select bucket('20s', time), count(*) from m group by 1":                                 "1970-01-01T00:00:00Z 3 / 1970-01-01T00:00:20Z 4 / 1970-01-01T00:00:40Z 1",
		"select count(*) from m where time >= '1970-01-01T00:00:20'":                             "5",
		"select count(*) from m where time > '1970-01-01T01:00:20+01:00'":                        "3",
		"select count(*) from m where time = '1970-01-01 00:00:20'":                              "2",
		"select count(*) from m where time = '1970-01-01T00:00:19.999999999Z'":                   "0",
		"select count(*) from m where not time between null and '1970-01-01T01:00:30+01:00'":     "1",
		"select (-9223372036854775807 - 1) / -1, (-9223372036854775807 - 1) % -1 from m limit 1": "9.223372036854776e+18 0",
		"select count(*) from m where time < '1971'":                                             "8",
		"select count(*) from m where time > '1971'":                                             "0",
		"select count(*) from m where '1970-01-01T00:00:20Z' <= time":                            "5",
		"select 7 / 2, -7 / 2, 7 % -3, 7 / 0, 7 / 2.0 from m limit 1":                            "3 -3 1 NULL 3.5",
		"select 9223372036854775807 + 1, 1 = 1.0, '1' = 1 from m limit 1":                        "9.223372036854776e+18 1 0",
		"select count(*) from m where f > '4'":                                                   "3",
		"select count(*) from m where dev in ('d0', null)":                                       "5",
		"select count(*) from m where dev not in ('d0', null)":                                   "0",
		"select f from m order by f desc limit 2 offset 1":                                       "7.0 / 5.0",
		"select distinct dev from m order by dev desc":                                           "d2 / d1 / d0",
		"select count(*), sum(f), total(f), max(time) from m where f > 100":                      "0 NULL 0.0 NULL",
		"select dev, count(*) from m where f > 100 group by dev":                                 "",
		"select stddev(f) from m where dev = 'd1'":                                               fmt.Sprint(math.Sqrt2),
		"select round(2.5), round(-2.5), round(1.005, 2), round(0.125, 2) from m limit 1":        "3.0 -3.0 1.0 0.13",
		"select max(time) from m":                                                                "1970-01-01T00:00:40.000000000Z",
		"select count(distinct bucket('1m', time)) from m":                                       "1",
		"select ago('1h'), now(), ago('1mo') from m limit 1":                                     "2025-06-15T14:00:00.000000000Z 2025-06-15T15:00:00.000000000Z 2025-05-15T15:00:00.000000000Z",
		"select dev d, count(*) n from m group by d having n > 1 order by n, d":                  "d1 2 / d0 5",
	} {
		for _, o := range []query.Options{{}, {SQLiteOnly: true}} {
			o.Now = func() time.Time { return time.Date(2025, 6, 15, 15, 0, 0, 0, time.UTC) }
			rows, err := run(t, query.New(st, o), sql)
			if err != nil {
				t.Errorf("%s (SQLite only: %v): %v", sql, o.SQLiteOnly, err)
				continue
			}
			if got := text(rows); got != want {
				t.Errorf("%s (SQLite only: %v)\ngot  %s\nwant %s", sql, o.SQLiteOnly, got, want)
			}
		}
	}
}

// TestLatestTie has two readings at the newest time, in two units: the one
// received last counts.
func TestLatestTie(t *testing.T) {
	st := oneTable([][3]float64{{0, 10, 1}, {0, 40, 4}}, [][3]float64{{0, 40, 6}}, [][3]float64{{0, 20, 9}})
	rows, err := run(t, query.New(st, query.Options{}), "select f, count(*) from m_latest group by f")
	if err != nil || text(rows) != "6.0 1" {
		t.Errorf("got %s %v", text(rows), err)
	}
}

// TestDictionaries gives each unit another dictionary in the same memory.
func TestDictionaries(t *testing.T) {
	st := newW1(8, 10, 1)
	for i, u := range st.tables["env"].units {
		u.section.Columns[4].Dict = []string{fmt.Sprint("s", i), "x"}
		for r := range u.section.Columns[4].Bits {
			u.section.Columns[4].Bits[r] = 0
		}
	}
	e := query.New(st, query.Options{})
	for sql, want := range map[string]string{
		"select count(*) from env where status = 's5'":                              "10",
		"select count(*) from env where status like 'S_' and status not in ('s1')":  "70",
		"select status, count(*) from env where device >= 'd00006' group by status": "s6 10 / s7 10",
	} {
		if rows, err := run(t, e, sql); err != nil || text(rows) != want {
			t.Errorf("%s: got %s %v, want %s", sql, text(rows), err, want)
		}
	}
}

func TestUnion(t *testing.T) {
	st := oneTable([][3]float64{{0, 10, 1}, {1, 20, 2}})
	v2 := oneTable([][3]float64{{0, 30, 3}}).tables["m"]
	v2.versions = []*telemetry.Table{{Name: "m_v2", Version: 2, Tags: v2.tags, Columns: []telemetry.Column{{Name: "g", Type: telemetry.Float}}}}
	v2.columns = v2.versions[0].Columns
	for _, u := range v2.units {
		u.columns = v2.columns
	}
	st.tables["m_v2"] = v2
	rows, err := run(t, query.New(st, query.Options{}), "select dev, f, g from m_all order by time")
	if want := "d0 1.0 NULL / d1 2.0 NULL / d0 NULL 3.0"; err != nil || text(rows) != want {
		t.Errorf("got %s %v, want %s", text(rows), err, want)
	}
}

// TestBuckets follows the clocks of Berlin over the changes of 2025.
func TestBuckets(t *testing.T) {
	at := func(s string) float64 {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return float64(v.Unix())
	}
	for _, c := range []struct{ width, at, want string }{
		{"1d', time, 'Europe/Berlin", "2025-03-29T23:30:00Z", "2025-03-29T23:00:00Z"}, // a day of 23 hours
		{"1d', time, 'Europe/Berlin", "2025-03-30T21:59:59Z", "2025-03-29T23:00:00Z"},
		{"1d', time, 'Europe/Berlin", "2025-03-30T22:00:00Z", "2025-03-30T22:00:00Z"},
		{"1d', time, 'Europe/Berlin", "2025-10-26T22:59:59Z", "2025-10-25T22:00:00Z"}, // a day of 25 hours
		{"1h', time, 'Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-26T00:00:00Z"}, // the same hour twice
		{"1h', time, 'Europe/Berlin", "2025-10-26T01:30:00Z", "2025-10-26T01:00:00Z"},
		{"1h', time, 'Asia/Kolkata", "2025-01-01T00:45:00Z", "2025-01-01T00:30:00Z"},
		{"1w', time", "2025-06-15T12:00:00Z", "2025-06-09T00:00:00Z"},
		{"1mo', time", "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z"},
		{"1mo', time, 'Europe/Berlin", "2025-05-31T22:30:00Z", "2025-05-31T22:00:00Z"},
		{"1y', time", "2024-02-29T12:00:00Z", "2024-01-01T00:00:00Z"},
		{"90s', time", "1969-12-31T23:59:59Z", "1969-12-31T23:58:30Z"},
		{"500ms', time", "2025-01-01T00:00:01Z", "2025-01-01T00:00:01.000000000Z"},
	} {
		st := oneTable([][3]float64{{0, at(c.at), 1}})
		sql := "select bucket('" + c.width
		if !strings.Contains(sql, ", time,") {
			sql += "')"
			sql = strings.Replace(sql, "', time')", "', time)", 1)
		} else {
			sql += "')"
		}
		for _, suffix := range []string{" from m", " as b from m group by b"} {
			for _, only := range []bool{false, true} {
				rows, err := run(t, query.New(st, query.Options{SQLiteOnly: only}), sql+suffix)
				if err != nil || text(rows) != c.want {
					t.Errorf("%s at %s (SQLite only: %v): got %s %v, want %s", sql+suffix, c.at, only, text(rows), err, c.want)
				}
			}
		}
	}
}

// TestRefused holds that statements only read, and that errors help.
func TestRefused(t *testing.T) {
	e := query.New(small(), query.Options{})
	for sql, want := range map[string]string{
		"":                                     "empty",
		";":                                    ";",
		"delete from env":                      "DELETE is not allowed",
		"insert into env values (1)":           "INSERT is not allowed",
		"pragma temp_store":                    "PRAGMA is not allowed",
		"attach 'x.db' as x":                   "ATTACH is not allowed",
		"create table x(a)":                    "CREATE is not allowed",
		"with x as (select 1) delete from env": "DELETE is not allowed",
		"with x as (select 1) insert into env select 1":      "INSERT is not allowed",
		"select 1 returning 2":                               "RETURNING is not allowed",
		"select 1; select 2":                                 "more than one statement",
		"select * from pragma_table_list":                    "",
		"select load_extension('x')":                         "",
		"select ?":                                           "has no value",
		"select temprature from env":                         `did you mean "temperature"`,
		"select e.temprature from env e":                     `did you mean "temperature"`,
		"select * from enw":                                  `did you mean "env"`,
		"select * from env join evn using (time)":            `did you mean "env"`,
		"select 'abc":                                        "line 1, column 8",
		"select \x00":                                        "NUL",
		"select * from env where":                            "incomplete",
		"select bucket('5 parsecs', time) from env":          "no duration",
		"select bucket('1d', time, 'Mars/Olympus') from env": "no time zone",
		"select weir_sink.c0 from weir_sink":                 "",
		"select * from sqlite_master where nosuch":           "",
	} {
		_, err := run(t, e, sql)
		var te *telemetry.Error
		if !errors.As(err, &te) || !strings.Contains(te.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", sql, err, want)
			continue
		}
		if c := te.Code; c != telemetry.CodeInvalid && c != telemetry.CodeNotFound {
			t.Errorf("%q: the code is %q", sql, c)
		}
	}
}

// TestExplain reads what was skipped, answered by statistics and decoded.
func TestExplain(t *testing.T) {
	for sql, want := range map[string][]string{
		"select count(*), avg(temperature), max(time) from env":                                                 {"vectorised", "10: 0 skipped, 10 answered by statistics, 0 decoded"},
		"select device, min(humidity) from env group by device":                                                 {"10 answered by statistics"},
		"select count(*) from env where device = 'd00007'":                                                      {"9 skipped, 1 answered"},
		"select count(*) from env where time > '2030'":                                                          {"10 skipped", "0 decoded"},
		"select count(*) from env where temperature > 1000":                                                     {"10 skipped", "0 decoded"},
		"select avg(temperature) from env where status = 'ok'":                                                  {"10 decoded", "columns time, series, status, temperature"},
		"select bucket('100s', time), avg(temperature) from env group by 1":                                     {"10 decoded"},
		"select avg(x) from (select temperature x from env)":                                                    {"sqlite", "a subquery in FROM"},
		"select device, max(f) from (select device, temperature f from env where device = 'd00007') group by 1": {"9 skipped", "1 decoded"},
	} {
		rows, err := run(t, query.New(small(), query.Options{}), "explain "+sql)
		got := text(rows)
		for _, w := range want {
			if err != nil || !strings.Contains(got, w) {
				t.Errorf("%s: %v %s\nwant %q", sql, err, got, w)
			}
		}
	}
}

// TestReadsNeedNoAllocationPerRow counts allocations of a select over 50,000 rows.
func TestReadsNeedNoAllocationPerRow(t *testing.T) {
	for _, sql := range []string{
		"select device, avg(temperature) from env where humidity > 1 group by device",
		"select status, count(*) from env group by status",
		"select bucket('10s', time), avg(temperature * 2) from env group by 1",
	} {
		e := query.New(small(), query.Options{})
		n := testing.AllocsPerRun(3, func() {
			if _, err := run(t, e, sql); err != nil {
				t.Fatal(err)
			}
		})
		if n > 5000 {
			t.Errorf("%s: %v allocations for 50,000 rows", sql, n)
		}
	}
}
