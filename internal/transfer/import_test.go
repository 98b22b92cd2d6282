package transfer

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func envTables() *Tables {
	return NewTables([]*telemetry.Table{
		{Name: "env", Version: 1, Tags: []string{"plant"}, Columns: []telemetry.Column{{Name: "t", Type: telemetry.Float}, {Name: "s", Type: telemetry.String}}, Identity: telemetry.IdentityTimeValues},
		{Name: "env", Version: 2, Tags: []string{"plant"}, Columns: []telemetry.Column{{Name: "t", Type: telemetry.Float}, {Name: "s", Type: telemetry.String}, {Name: "n", Type: telemetry.Int}, {Name: "j", Type: telemetry.JSON}, {Name: "b", Type: telemetry.Bool}}, Identity: telemetry.IdentityTimeValues},
	})
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll reads everything from a mark on.
func readAll(t *testing.T, r Reader, mark uint64) (rows []Row, faults []Fault) {
	t.Helper()
	if mark > 0 {
		if err := r.Skip(mark); err != nil {
			t.Fatal(err)
		}
	}
	for {
		g, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, faults
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range g.Batches {
			rows = append(rows, b.Rows...)
		}
		faults = append(faults, g.Faults...)
	}
}

func TestCSVTellsNothingFromAnEmptyTextAndGoesOnBehindBadRows(t *testing.T) {
	path := write(t, "env.csv", "\xef\xbb\xbftime,plant,t,s,n,_topic,_version\r\n"+
		"2026-01-01T00:00:00.000000001Z,p1,1.5,\"a,\"\"b\r\nc\",7,x/1,2\r\n"+
		"2026-01-01T00:00:01Z,,-Infinity,\"\",-9223372036854775808,x/1,2\n"+
		"\n"+
		"2026-01-01T00:00:02Z,p1,1,x,3,x/1,1\n"+ // version 1 has no n
		"2026-01-01T00:00:03Z,p1,1,\"torn\"x,,x/1,2\n"+
		"2300-01-01T00:00:00Z,p1,1,x,,x/1,2\n"+
		"2026-01-01T00:00:04Z,p1,0x1p3,x,,x/1,2\n"+
		"2026-01-01T00:00:05Z,p1,1,x,9223372036854775808,x/1,2\n"+
		"2026-01-01T00:00:06Z,p1,,,,x/1,1")
	r, err := OpenCSV(path, "env", envTables())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, faults := readAll(t, r, 0)
	if len(rows) != 3 {
		t.Fatalf("%d rows: %+v", len(rows), rows)
	}
	if got := string(rows[0].Values[1].Text); got != "a,\"b\r\nc" || rows[0].Time%1000 != 1 {
		t.Errorf("row 1 is %q at %d", got, rows[0].Time)
	}
	if !rows[1].Tags[0].Null || rows[1].Values[1].Null || len(rows[1].Values[1].Text) != 0 || int64(rows[1].Values[2].Bits) != -1<<63 {
		t.Errorf("row 2 is %+v", rows[1])
	}
	if !rows[2].Values[1].Null || rows[2].Line != 11 {
		t.Errorf("row 3 is %+v", rows[2])
	}
	want := []struct {
		line int64
		why  string
	}{{6, `no column "n"`}, {7, "quote"}, {8, "outside"}, {9, "0x1p3"}, {10, "64 bits"}}
	if len(faults) != len(want) {
		t.Fatalf("faults: %+v", faults)
	}
	for i, w := range want {
		if faults[i].Line != w.line || !strings.Contains(faults[i].Why, w.why) {
			t.Errorf("fault %d is %+v, want line %d: %s", i, faults[i], w.line, w.why)
		}
	}
}

func TestAReaderGoesOnAtAMark(t *testing.T) {
	var csv, nd strings.Builder
	csv.WriteString("time,plant,t,_topic\n")
	for i := range 3 * groupRows / 2 {
		stamp := string(appendTime(nil, int64(i)*1e9))
		csv.WriteString(stamp + ",p," + "1.25,a/b\n")
		nd.WriteString(`{"time":"` + stamp + `","plant":"p","t":1.25,"_topic":"a/b"}` + "\n")
	}
	for _, c := range []struct {
		name string
		text string
		open func(string, string, *Tables) (Reader, error)
	}{{"env.csv", csv.String(), OpenCSV}, {"env.ndjson", nd.String(), OpenNDJSON}} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.name, c.text)
			open := func() Reader {
				r, err := c.open(path, "env", envTables())
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			whole := open()
			defer whole.Close()
			first, err := whole.Next()
			if err != nil {
				t.Fatal(err)
			}
			rest := open()
			defer rest.Close()
			rows, faults := readAll(t, rest, first.Mark)
			if len(faults) > 0 || first.Rows()+len(rows) != 3*groupRows/2 || rows[0].Time != int64(first.Rows())*1e9 {
				t.Errorf("%d rows, then %d from %d; %v", first.Rows(), len(rows), rows[0].Time, faults)
			}
			if err := open().Skip(1 << 40); telemetry.CodeOf(err) != telemetry.CodeInvalid {
				t.Errorf("a mark behind the end: %v", err)
			}
		})
	}
}

func TestNDJSONKeepsWhatTypesNeed(t *testing.T) {
	path := write(t, "env.ndjson", `{"time":"2026-01-01T00:00:00Z","plant":"p","t":"NaN","s":"ü\n","n":9007199254740993,"j":{"a":[1,  2]},"b":true,"_topic":"x","_version":2}
{"time":"2026-01-01T00:00:00Z","plant":null,"t":null,"j":null,"_topic":"x"}
{"time":"2026-01-01T00:00:00Z","n":1.5,"_topic":"x"}
{"time":"2026-01-01T00:00:00Z","q":1,"_topic":"x"}
{"time":"2026-01-01T00:00:00Z","plant":1,"_topic":"x"}
[1]
{"plant":"p","_topic":"x"}
`)
	r, err := OpenNDJSON(path, "env", envTables())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, faults := readAll(t, r, 0)
	if len(rows) != 2 || len(faults) != 5 {
		t.Fatalf("%d rows, faults %+v", len(rows), faults)
	}
	v := rows[0].Values
	if int64(v[2].Bits) != 9007199254740993 || string(v[3].Text) != `{"a":[1,  2]}` || string(v[1].Text) != "ü\n" || v[4].Bits != 1 {
		t.Errorf("values %+v", v)
	}
	if v := rows[1].Values; !v[0].Null || v[3].Null || string(v[3].Text) != "null" || !rows[1].Tags[0].Null {
		t.Errorf("nulls are %+v of %+v", v, rows[1].Tags)
	}
}

func TestUnknownColumnsAndTablesAreNamed(t *testing.T) {
	path := write(t, "env.csv", "time,plant,oops\n")
	if _, err := OpenCSV(path, "env", envTables()); err == nil || !strings.Contains(err.Error(), `"oops"`) {
		t.Error(err)
	}
	if _, err := OpenCSV(path, "other", envTables()); telemetry.CodeOf(err) != telemetry.CodeNotFound || !strings.Contains(err.Error(), "env") {
		t.Error(err)
	}
}

func TestABatchCrossesTheSocketUnchanged(t *testing.T) {
	table := envTables().Find("env", 2)
	b := &Batch{Shape: Shape{"env", 2, table.Tags, table.Columns}, Rows: []Row{
		{Topic: "a/b", Tags: []store.Tag{{Value: ""}}, Time: -5, Received: 1 << 62, Line: 3, Values: []telemetry.Value{{Bits: 1 << 63}, {Text: []byte("x")}, {Null: true}, {Text: []byte("[]")}, {Bits: 1}}},
		{Topic: "c", Tags: []store.Tag{{Null: true}}, Values: []telemetry.Value{{Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}}},
	}}
	data := AppendBatch(AppendBatch(nil, b), b)
	got, rest, err := DecodeBatch(data)
	if err != nil || len(rest)*2 != len(data) || !reflect.DeepEqual(got, b) {
		t.Fatalf("%+v, %d left, %v", got, len(rest), err)
	}
	for cut := range rest {
		if _, _, err := DecodeBatch(rest[:cut]); err == nil {
			t.Fatalf("cut at %d is taken for whole", cut)
		}
	}
}
