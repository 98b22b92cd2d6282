package transfer

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// bindAll gives each table the one that its proposed document makes.
func bindAll(t *testing.T, src ForeignSource) *Tables {
	t.Helper()
	var all []*telemetry.Table
	for _, f := range src.Tables() {
		doc, err := f.Document()
		if err != nil {
			t.Fatal(err)
		}
		p, problems := schema.Compile(f.Name+".yaml", doc)
		if len(problems) > 0 {
			t.Fatalf("the proposed document does not compile: %v\n%s", problems, doc)
		}
		all = append(all, p.Table())
		if err := f.Bind(p.Table()); err != nil {
			t.Fatal(err)
		}
	}
	return NewTables(all)
}

func foreignRows(t *testing.T, src ForeignSource, mark uint64) ([]Row, []Fault) {
	t.Helper()
	r, err := src.Open(bindAll(t, src))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return readAll(t, r, mark)
}

func TestPoint(t *testing.T) {
	for _, c := range []struct {
		line string
		want point
	}{
		{`m v=1 5`, point{"m", nil, []fieldValue{{"v", telemetry.Float, "1"}}, 5}},
		{`m\ x\,y,t\,a\=g=v\ 1\=2 f\ 1=-5i,g=T,h="a\"b\\c\d, e" -7`, point{
			"m x,y",
			[]pair{{"t,a=g", "v 1=2"}},
			[]fieldValue{{"f 1", telemetry.Int, "-5"}, {"g", telemetry.Bool, "true"}, {"h", telemetry.String, `a"b\c\d, e`}},
			-7,
		}},
		{`m,a=C:\path v=1e-3 1`, point{"m", []pair{{"a", `C:\path`}}, []fieldValue{{"v", telemetry.Float, "1e-3"}}, 1}},
	} {
		p, err := parsePoint(c.line)
		if err != nil || !reflect.DeepEqual(*p, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.line, p, err, c.want)
		}
	}
	for _, bad := range []string{"", "m", "m v=1", "m,a v=1 1", "m v=x 1", "m v= 1", `m v="x 1`, "m v=1 x", "m v=9223372036854775808i 1", ",a=b v=1 1", "m v=1\xff 1"} {
		if p, err := parsePoint(bad); err == nil {
			t.Errorf("%q is taken: %+v", bad, p)
		}
	}
}

func FuzzPoint(f *testing.F) {
	f.Add(`m\ x,t=v f=-5i,g=T,h="a\"b" -7`)
	f.Add(`m,a=\ v=1 1`)
	f.Fuzz(func(t *testing.T, line string) {
		p, err := parsePoint(line)
		if err == nil && (p.measurement == "" || len(p.fields) == 0) {
			t.Errorf("%q gives %+v", line, p)
		}
		if v, err := splitCopy(line, nil); err == nil && len(v) != strings.Count(line, "\t")+1 {
			t.Errorf("%q gives %d values", line, len(v))
		}
	})
}

// TestLinesOfOnePointAreJoinedWithBoundedMemory spreads the fields of points over a
// dump, as influx_inspect does, and sorts with little memory.
func TestLinesOfOnePointAreJoinedWithBoundedMemory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	var lines []string
	const points = 500
	for i := range points {
		key := fmt.Sprintf("m,host=h%d", i%7)
		for _, f := range []string{"a", "b", "c"} {
			lines = append(lines, fmt.Sprintf("%s %s=%di %d", key, f, i, i))
		}
	}
	rnd.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	lines = append(lines, "m,host=h0 a=-1i 0") // the last wins
	path := write(t, "dump.lp", strings.Join(lines, "\n"))
	s := &influxSource{paths: places{path}, sort: extSort{limit: 5000, dir: t.TempDir()}, byName: map[string]*influxTable{}}
	defer s.Close()
	if err := s.read(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	s.name()
	if len(s.sort.runs) < 5 {
		t.Errorf("only %d runs", len(s.sort.runs))
	}
	rows, faults := foreignRows(t, s, 0)
	if len(rows) != points || len(faults) > 0 {
		t.Fatalf("%d rows, %v", len(rows), faults)
	}
	for _, r := range rows {
		for c := range r.Values {
			want := r.Time
			if r.Time == 0 && c == 0 {
				want = -1
			}
			if r.Values[c].Null || int64(r.Values[c].Bits) != want {
				t.Fatalf("row at %d: column %d is %+v", r.Time, c, r.Values[c])
			}
		}
	}
	rest, _ := foreignRows(t, s, 123)
	if !reflect.DeepEqual(rest, rows[123:]) {
		t.Error("going on at a mark gives other rows")
	}
}

const hypertable = `--
-- PostgreSQL database dump
--
CREATE TABLE public.conditions (
    "time" timestamp with time zone NOT NULL,
    device text NOT NULL,
    temperature double precision
);

CREATE TABLE _timescaledb_internal._hyper_1_1_chunk (
    CONSTRAINT constraint_1 CHECK ((("time" >= '2026-01-01 00:00:00+00'::timestamp with time zone)))
)
INHERITS (public.conditions);

COPY _timescaledb_catalog.hypertable (id, schema_name, table_name) FROM stdin;
1	public	conditions
2	public	other
\.

COPY _timescaledb_catalog.chunk (id, hypertable_id) FROM stdin;
1	1
\.

COPY _timescaledb_internal._hyper_1_1_chunk ("time", device, temperature) FROM stdin;
2026-01-01 00:00:00+00	a	1.5
2026-01-01 01:00:00.5+01	a	\N
bad	a	2
2026-01-01 00:00:01+00	a
\.

COPY _timescaledb_internal._hyper_1_2_chunk ("time", device, temperature) FROM stdin;
2026-01-08 00:00:00+00	b\\c	NaN
\.

COPY _timescaledb_internal._hyper_2_3_chunk (at, v) FROM stdin;
2026-01-01 00:00:00+00	7
\.
`

func TestChunksOfAHypertableAreItsRows(t *testing.T) {
	for name, dump := range map[string]string{
		"whole": hypertable,
		// The list of hypertables tells without the statements.
		"data only": hypertable[strings.Index(hypertable, "COPY"):],
	} {
		t.Run(name, func(t *testing.T) {
			src, err := OpenPostgres(t.Context(), []string{write(t, "dump.sql", dump)}, PostgresOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range src.Tables() {
				names = append(names, f.Name)
			}
			if !slices.Equal(names, []string{"conditions", "other"}) {
				t.Fatalf("tables: %v", names)
			}
			rows, faults := foreignRows(t, src, 0)
			if len(rows) != 4 || len(faults) != 2 {
				t.Fatalf("%d rows, faults %v", len(rows), faults)
			}
			if rows[1].Time != rows[0].Time+500_000_000 || !rows[1].Values[0].Null || rows[2].Tags[0].Value != `b\c` || rows[0].Topic != "timescale/public_conditions" {
				t.Errorf("%+v", rows)
			}
		})
	}
	chunk := hypertable[strings.Index(hypertable, "COPY _timescaledb_internal"):]
	if _, err := OpenPostgres(t.Context(), []string{write(t, "dump.sql", chunk)}, PostgresOptions{}, nil); telemetry.CodeOf(err) != telemetry.CodeInvalid || !strings.Contains(err.Error(), "--table") {
		t.Errorf("nothing says whose the chunks are: %v", err)
	}
}

func TestExtSortIsStable(t *testing.T) {
	s := &extSort{limit: 300, dir: t.TempDir()}
	defer s.close()
	for i := range 200 {
		if err := s.add([]byte{byte(i * 7 % 10)}, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // a second merge gives the same
		m, err := s.merge()
		if err != nil {
			t.Fatal(err)
		}
		last, n := extRecord{}, 0
		for ; ; n++ {
			r, err := m.pop()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 && (r.key[0] < last.key[0] || r.key[0] == last.key[0] && r.value[0] <= last.value[0]) {
				t.Fatalf("%v after %v", r, last)
			}
			last = r
		}
		if n != 200 {
			t.Errorf("%d records", n)
		}
	}
}

func TestNamesOfOtherDatabasesBecomeNamesThatASchemaMayHave(t *testing.T) {
	for in, want := range map[string]string{"CPU-load.1": "cpu_load_1", "1st": "t_1st", "env_latest": "env_latest_t", "x_v2": "x_v2_t", "日本": "t_", "": "t_"} {
		if got := tableName(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	f := &Foreign{Source: "a/b~c", Name: "x", Topic: "influx/d/x", Identity: "time", Tags: []string{"Host", "a/b~", "time"}, Fields: []ForeignField{{"host", telemetry.Int}, {"_rest", telemetry.Float}, {"received_at", telemetry.JSON}, {"", telemetry.Bool}}}
	doc, err := f.Document()
	if err != nil {
		t.Fatal(err)
	}
	p, problems := schema.Compile("x.yaml", doc)
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, doc)
	}
	if err := f.Bind(p.Table()); err != nil {
		t.Error(err)
	}
}

func TestRowsAloneAreOfTheTableThatTheirFileIsNamedAfter(t *testing.T) {
	for _, c := range []struct{ name, text, table, want string }{
		{"conditions.csv", "time,device,v\n2024-01-01 00:00:00+00,d1,1\n", "", "conditions"},
		{"conditions.csv", "time,device,v\n2024-01-01 00:00:00+00,d1,1\n", "other", "other"},
		{"metrics.2024.copy", "2024-01-01 00:00:00+00\td1\t1\n", "", "metrics"},
	} {
		o := PostgresOptions{Table: c.table}
		if strings.HasSuffix(c.name, ".copy") {
			o.Columns = []string{"time", "device", "v"}
		}
		src, err := OpenPostgres(t.Context(), []string{write(t, c.name, c.text)}, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tables := src.Tables(); len(tables) != 1 || tables[0].Source != c.want {
			t.Errorf("%s: %+v, not of %s", c.name, tables, c.want)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}
