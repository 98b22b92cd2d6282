//go:build unix

package e2e

import (
	"encoding/csv"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

func TestWhatARealInfluxDBExportsIsImported(t *testing.T) {
	long(t)
	db := testkit.StartInflux(t)
	db.Query("CREATE DATABASE plant")
	var lines strings.Builder
	for i := range 3000 {
		at := 1_434_055_562_000_000_000 + int64(i)*1_000_000_007
		fmt.Fprintf(&lines, "cpu,host=h\\ %d,region=eu usage=%v,n=%di,up=%v,s=\"a \\\"q\\\" %d, x=y\" %d\n", i%7, float64(i)/3, int64(math.MinInt64)+int64(i), i%2 == 0, i, at)
		if i%3 == 0 {
			fmt.Fprintf(&lines, "disk\\ io,dev=sd\\,a,path=/x\\=1 used=%di %d\n", i, -at)
		}
	}
	db.Write("plant", lines.String())
	db.Write("plant", "cpu,host=h\\ 0,region=eu usage=42.5 1434055562000000000\n") // overwrites
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compressed %v", compressed), func(t *testing.T) {
			var options []string
			if compressed {
				options = append(options, "-compress")
			}
			dump := db.Export("plant", options...)
			p := newPlace(t, nil)
			out := p.must("import", "--from", "influx", dump)
			if !strings.Contains(out, "imported 4000 readings") {
				t.Errorf("import says %s", out)
			}
			for _, c := range []struct{ influx, weir string }{
				{`SELECT usage,n,up,s,host,region FROM cpu`, `select usage, n, up, s, host, region, time from cpu order by time`},
				{`SELECT used,dev,"path" FROM "disk io"`, `select used, dev, path, time from disk_io order by time`},
			} {
				compareInflux(t, db.Query(strings.Replace(c.influx, ` FROM `, ` FROM plant.autogen.`, 1)), p.rows(c.weir))
			}
			if again := p.must("import", "--from", "influx", dump); !strings.Contains(again, "imported 0 readings") {
				t.Errorf("once more: %s", again)
			}
		})
	}
}

// compareInflux compares an answer of InfluxDB (name,tags,time,fields…) with rows
// of the same fields.
func compareInflux(t *testing.T, answer string, rows [][]string) {
	t.Helper()
	theirs := parseCSV(t, answer)[1:]
	if len(theirs) != len(rows) || len(rows) == 0 {
		t.Errorf("InfluxDB has %d points, Weir %d readings", len(theirs), len(rows))
		return
	}
	for i, r := range rows {
		if got, want := strings.Join(r[:len(r)-1], "|"), strings.Join(theirs[i][3:], "|"); !sameNumbers(got, want) {
			t.Errorf("row %d is %s, InfluxDB has %s", i, got, want)
			return
		}
	}
}

// sameNumbers compares texts in which numbers may be written in other ways.
func sameNumbers(a, b string) bool {
	x, y := strings.Split(a, "|"), strings.Split(b, "|")
	for i := range x {
		var f, g float64
		if x[i] == y[i] {
			continue
		}
		if _, err := fmt.Sscan(x[i], &f); err != nil {
			return false
		}
		if _, err := fmt.Sscan(y[i], &g); err != nil || f != g {
			return false
		}
	}
	return len(x) == len(y)
}

const conditions = `
CREATE TABLE conditions (
  "time" timestamptz NOT NULL,
  device text NOT NULL,
  "Temp °C" double precision,
  n bigint,
  ok boolean,
  note varchar(1000),
  doc jsonb,
  CONSTRAINT one UNIQUE (device, "time")
) PARTITION BY RANGE ("time");
CREATE TABLE conditions_2025 PARTITION OF conditions FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE conditions_2026 PARTITION OF conditions FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO conditions SELECT
  '2025-12-31 12:00:00+00'::timestamptz + i * interval '61.000001 seconds', 'd' || i % 9,
  CASE WHEN i % 5 = 0 THEN NULL WHEN i % 7 = 0 THEN 'NaN'::float8 WHEN i % 11 = 0 THEN '-Infinity'::float8 ELSE i / 7.0 END,
  9223372036854775807 - i, i % 2 = 0,
  CASE WHEN i % 3 = 0 THEN NULL ELSE E'tab\there\nnew line, back\\slash "q" é ' || i || repeat('x', 300) END,
  json_build_object('i', i, 'list', json_build_array(1, 'a', NULL))
FROM generate_series(1, 2000) i;
`

// TestWhatARealPostgreSQLDumpsIsImported reads dumps of a partitioned table.
// TimescaleDB is not in Debian; its hypertables differ in the names of their chunks
// and in the catalog that tells whose they are, which package transfer tests.
func TestWhatARealPostgreSQLDumpsIsImported(t *testing.T) {
	long(t)
	db := testkit.StartPostgres(t)
	db.SQL(conditions)
	want := parseCSV(t, db.SQL(`COPY (SELECT device, n, ok, "Temp °C", note, to_char("time" at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM conditions ORDER BY "time") TO STDOUT CSV`))
	for name, c := range map[string]struct {
		file, dump string
		args       []string
	}{
		"pg_dump":      {"dump.sql", db.Dump(), nil},
		"of one table": {"dump.sql", db.Dump(), []string{"--source-table", "conditions"}},
		"root":         {"dump.sql", db.Dump("--load-via-partition-root"), nil},
		"COPY CSV":     {"rows.csv", db.SQL(`COPY (SELECT * FROM conditions) TO STDOUT CSV HEADER`), []string{"--source-table", "conditions"}},
		"COPY text":    {"rows.copy", db.SQL(`COPY (SELECT * FROM conditions) TO STDOUT`), []string{"--source-table", "conditions", "--columns", "time,device,Temp °C,n,ok,note,doc"}},
		"data only":    {"dump.sql.gz", db.Dump("--data-only", "--load-via-partition-root"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, nil)
			p.write(c.file, c.dump)
			if strings.HasSuffix(c.file, ".gz") {
				plain := strings.TrimSuffix(c.file, ".gz")
				p.write(plain, c.dump)
				if out, err := exec.Command("gzip", "-f", filepath.Join(p.dir, plain)).CombinedOutput(); err != nil {
					t.Fatalf("gzip: %v %s", err, out)
				}
			}
			out := p.must(append([]string{"import", "--from", "timescale", c.file}, c.args...)...)
			if !strings.Contains(out, "imported 2000 readings; 0 were") {
				t.Errorf("import says %s", out)
			}
			rows := p.rows(`select device, n, ok, "Temp °C", note, replace(replace(time, 'T', ' '), 'Z', '') from conditions order by time`)
			if len(rows) != len(want) {
				t.Fatalf("%d rows, PostgreSQL has %d", len(rows), len(want))
			}
			for i, r := range rows {
				w := want[i]
				if ok := map[string]string{"t": "true", "f": "false", "true": "true", "false": "false"}; ok[r[2]] != ok[w[2]] {
					t.Fatalf("row %d: ok is %s, PostgreSQL has %s", i, r[2], w[2])
				}
				// The format csv of a query has nothing for NaN; the export shows it.
				if r[3] != "" && !sameNumbers(r[3], w[3]) {
					t.Fatalf("row %d: %s, PostgreSQL has %s", i, r[3], w[3])
				}
				if r[0] != w[0] || r[1] != w[1] || r[4] != w[4] || strings.TrimRight(r[5], "0") != strings.TrimRight(w[5], "0") {
					t.Fatalf("row %d is %q, PostgreSQL has %q", i, r, w)
				}
			}
			exported := p.must("export", "--table", "conditions", "--format", "csv")
			if n := strings.Count(exported, ",NaN,"); n != strings.Count(c.dump, "NaN") || n == 0 {
				t.Errorf("%d NaN in the export, %d in the dump", n, strings.Count(c.dump, "NaN"))
			}
		})
	}
}

func TestADumpWithInsertsSaysWhatToDo(t *testing.T) {
	p := newPlace(t, nil)
	p.write("dump.sql", "--\n-- PostgreSQL database dump\n--\nINSERT INTO public.x VALUES (1);\n")
	if _, stderr, code := p.run("import", "dump.sql"); code != 2 || !strings.Contains(stderr, "--inserts") {
		t.Errorf("%d %s", code, stderr)
	}
}

func parseCSV(t *testing.T, text string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return rows
}
