package render_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/query/render"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is what the schemas of the tests fill: a column of each type.
var table = &telemetry.Table{
	Name: "env", Version: 1, Tags: []string{"device"}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
	Columns: []telemetry.Column{
		{Name: "f", Type: telemetry.Float},
		{Name: "i", Type: telemetry.Int},
		{Name: "b", Type: telemetry.Bool},
		{Name: "s", Type: telemetry.String},
		{Name: "j", Type: telemetry.JSON},
	},
}

// row is one reading of the device d1.
type row struct {
	f    float64
	i    int64
	b    bool
	s, j string
	null bool // all of them
}

func (r row) values() []telemetry.Value {
	if r.null {
		return []telemetry.Value{{Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}}
	}
	on := uint64(0)
	if r.b {
		on = 1
	}
	return []telemetry.Value{{Bits: math.Float64bits(r.f)}, {Bits: uint64(r.i)}, {Bits: on}, {Text: []byte(r.s)}, {Text: []byte(r.j)}}
}

// engine answers over these readings, a second apart from 1970 on.
func engine(t *testing.T, rows []row) *query.Engine {
	t.Helper()
	st, ctx := storetest.NewMemory(), t.Context()
	if err := st.PutTable(ctx, telemetry.DefaultTenant, table, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	ref, err := st.Series(telemetry.DefaultTenant, table, []byte("t/d1"), [][]byte{[]byte("d1")})
	if err != nil {
		t.Fatal(err)
	}
	var sec telemetry.Section
	sec.Reset(table)
	for n, r := range rows {
		sec.AppendRow(ref, int64(n)*1e9, 0, r.values())
	}
	staged, err := st.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
	if err == nil {
		err = staged.Commit(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return query.New(st, query.Options{})
}

func write(t *testing.T, e *query.Engine, f render.Format, sql string) (string, error) {
	t.Helper()
	rows, err := e.Query(t.Context(), telemetry.DefaultTenant, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out bytes.Buffer
	err = render.Write(&out, f, rows)
	return out.String(), err
}

var trouble = []row{
	{f: 21.53, i: 7, b: true, s: "plain", j: `{"a":[1,2]}`},
	{null: true},
	{f: -1e300, i: math.MinInt64, s: `comma, "quote"`, j: "{\n \"a\": 1\r\n}"},
	{f: 3, i: math.MaxInt64, s: "line\r\nend\ttab", j: `"text"`},
	{f: 0.1, s: "\x1b[31mred\x00\x7f", j: `null`},
	{f: 1e-7, s: "", j: `[]`},
	{s: "東京 ü e\u0301 🌡", j: `"ü"`},
}

const everything = "select time, f, i, b, s, j from env order by time"

// TestGoldens compares with testdata, which -update writes.
func TestGoldens(t *testing.T) {
	e := engine(t, trouble)
	for name, sql := range map[string]string{
		"types":   everything,
		"untyped": `select null as n, 1 as "a ""b"", c", 2.5 as r, x'00ff' as blob, 'text' as "wide 名前", 9e999 as inf union all select 1, null, -9e999, x'', '', 'x'`,
		"one":     "select count(*) from env",
		"empty":   "select time, f as \"a,b\" from env where i = 12345",
	} {
		for _, f := range render.Formats {
			t.Run(name+"."+string(f), func(t *testing.T) {
				got, err := write(t, e, f, sql)
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", name+"."+string(f))
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil || got != string(want) {
					t.Errorf("%v\n%s\nwant\n%s", err, got, want)
				}
			})
		}
	}
}

func TestEveryJSONLineReadsBack(t *testing.T) {
	e := engine(t, trouble)
	array, err := write(t, e, render.JSON, everything)
	var objects, lines []map[string]any
	if err2 := json.Unmarshal([]byte(array), &objects); err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	text, err := write(t, e, render.NDJSON, everything)
	for line := range strings.Lines(text) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		lines = append(lines, o)
	}
	if err != nil || len(lines) != len(trouble) || !reflect.DeepEqual(lines, objects) {
		t.Errorf("%v: %v and %v differ", err, lines, objects)
	}
	for i, r := range trouble {
		if got := objects[i]["s"]; r.null && got != nil || !r.null && got != r.s {
			t.Errorf("row %d: s is %q, want %q", i, got, r.s)
		}
	}
}

func TestEveryCSVFieldReadsBack(t *testing.T) {
	got, err := write(t, engine(t, trouble), render.CSV, everything)
	records, err2 := csv.NewReader(strings.NewReader(strings.ReplaceAll(got, "\r\nend", "\nend"))).ReadAll()
	if err != nil || err2 != nil || len(records) != len(trouble)+1 {
		t.Fatal(err, err2, records)
	}
	for i, r := range trouble {
		// encoding/csv itself turns \r\n inside quotes into \n.
		if want := strings.ReplaceAll(r.s, "\r\n", "\n"); records[i+1][4] != want {
			t.Errorf("row %d: s is %q, want %q", i, records[i+1][4], want)
		}
	}
	if !strings.Contains(got, `,"",[]`) {
		t.Errorf("an empty text looks like NULL:\n%s", got)
	}
}

func TestTextThatIsNoUTF8BreaksNothing(t *testing.T) {
	e := engine(t, []row{{s: "a\xff\xc3z", j: "not JSON\n"}})
	text, err := write(t, e, render.JSON, everything)
	var objects []map[string]any
	if err2 := json.Unmarshal([]byte(text), &objects); err != nil || err2 != nil || objects[0]["s"] != "a\ufffd\ufffdz" || objects[0]["j"] != "not JSON\n" {
		t.Errorf("%v, %v: %s", err, err2, text)
	}
	if text, err = write(t, e, render.Table, everything); err != nil || !strings.Contains(text, `a\xff\xc3z`) {
		t.Errorf("%v: %s", err, text)
	}
}

func TestBothPathsOfTheEnginePrintTheSame(t *testing.T) {
	e := engine(t, trouble)
	for _, f := range render.Formats {
		a, err := write(t, e, f, everything)
		b, err2 := write(t, e, f, "with e as (select * from env) select time, f, i, b, s, j from e order by time")
		if err != nil || err2 != nil || a != b {
			t.Errorf("%s: %v %v\n%s\n%s", f, err, err2, a, b)
		}
	}
}

// fails answers n rows and then an error.
const fails = "with recursive c(x) as (select 1 union all select x + 1 from c where x < %d) " +
	"select abs(case when x = %d then -9223372036854775807 - 1 else x end) as n from c"

func TestRowsThatFailAreNotAShortResult(t *testing.T) {
	e := engine(t, nil)
	for _, f := range render.Formats {
		for _, at := range []int{1, 50_000} {
			got, err := write(t, e, f, fmt.Sprintf(fails, at, at))
			if telemetry.CodeOf(err) != telemetry.CodeInvalid {
				t.Errorf("%s: failing at row %d: %v", f, at, err)
			}
			if at == 1 && got != "" {
				t.Errorf("%s: the first row failed after %q", f, got)
			}
			if at > 1 && len(got) < 10_000 {
				t.Errorf("%s: only %d bytes came before row %d failed", f, len(got), at)
			}
			if strings.HasSuffix(got, "]\n") || strings.HasSuffix(got, "rows)\n") {
				t.Errorf("%s: the end looks whole: %q", f, got[max(0, len(got)-50):])
			}
		}
	}
}

// broken fails after some bytes.
type broken struct{ left int }

var errBroken = errors.New("the reader is gone")

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestAWriterThatFailsEndsTheStatement(t *testing.T) {
	e := engine(t, nil)
	for _, f := range render.Formats {
		rows, err := e.Query(t.Context(), telemetry.DefaultTenant, "with recursive c(x) as (select 1 union all select x + 1 from c) select x from c")
		if err != nil {
			t.Fatal(err)
		}
		if err := render.Write(&broken{100_000}, f, rows); !errors.Is(err, errBroken) { // it is endless otherwise
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestAColumnThatGrowsAfterTheFirstScreenPushesItsLineAside(t *testing.T) {
	got, err := write(t, engine(t, nil), render.Table,
		"with recursive c(x) as (select 1 union all select x + 1 from c where x < 601) select case when x < 601 then 7 else 1125899906842624 end as x, 'end' as y from c")
	if err != nil || !strings.Contains(got, "\n1125899906842624  end\n(601 rows)\n") {
		t.Errorf("%v: %s", err, got[max(0, len(got)-200):])
	}
}

func TestFormatsHaveNames(t *testing.T) {
	for _, f := range render.Formats {
		if got, err := render.Parse(string(f)); err != nil || got != f {
			t.Errorf("%s is read as %s, %v", f, got, err)
		}
	}
	if f, err := render.Parse(""); err != nil || f != render.Table {
		t.Errorf("no name is %s, %v", f, err)
	}
	if _, err := render.Parse("xml"); telemetry.CodeOf(err) != telemetry.CodeInvalid {
		t.Errorf("xml: %v", err)
	}
}
