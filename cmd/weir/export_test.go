package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const pointDocument = "name: point\nversion: 1\ntopic: p/{device}\nformat: json\ntime: {at: /ts, as: unix_ms}\n" +
	"payload: {type: object, required: [ts], properties: {ts: {type: integer}, v: {type: number}}}\n"

// points makes a store in the working directory: three readings on as many days, and
// a table without any.
func points(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Mkdir("schemas", 0o755); err != nil {
		t.Fatal(err)
	}
	files(t, map[string]string{
		"schemas/point.yaml": pointDocument,
		"schemas/empty.yaml": strings.ReplaceAll(strings.Replace(pointDocument, "point", "empty", 1), "p/{", "e/{"),
		"point.csv":          "time,device,v\n1970-01-01T00:00:00Z,a,1\n2026-01-02T00:00:00Z,a,2\n2026-01-03T12:00:00Z,b,3\n",
	})
	if out, errs, code := call(t, "import", "point.csv"); code != exitOK {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
}

func TestWhatAnExportCannotDoIsSaidBeforeAFileIsMade(t *testing.T) {
	points(t)
	if err := os.Mkdir("dir", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		say  string
	}{
		{"--table point --from x", exitUsage, `read --from: "x" is neither`},
		{"--table point --to x", exitUsage, `read --to: "x" is neither`},
		{"--table point --from 2026-01-01 --to 2025-01-01", exitUsage, "--to 2025-01-01 lies before --from 2026-01-01"},
		{"--table nope", exitNotFound, `there is no table "nope"` + "\nhint: the tables are empty, point"},
		{"--table point -o none/x.csv", exitNotFound, "there is no directory none for x.csv\nhint: "},
		{"--table point -o dir", exitUsage, "dir is a directory\nhint: name a file in it"},
		{"--table point -o point.csv", exitConflict, "point.csv is there already"},
		{"--all -o point.csv", exitUsage, "point.csv is a file\nhint: --all writes into a directory"},
	} {
		if out, errs, code := call(t, append([]string{"export"}, strings.Fields(c.args)...)...); code != c.code || !strings.Contains(errs, c.say) || out != "" {
			t.Errorf("weir export %s ends with %d\n%s%s", c.args, code, out, errs)
		}
	}
	if left, _ := filepath.Glob("*/*.part*"); len(left) > 0 {
		t.Error("left over:", left)
	}
}

// A date is of UTC wherever the machine stands, and one beyond what readings can have
// is no other date.
func TestAnExportTakesTheDatesThatItIsGiven(t *testing.T) {
	points(t)
	for args, want := range map[string]int{
		"--from 2026-01-02":                   2,
		"--to 2026-01-02":                     1,
		"--from 1500-01-01 --to 2500-01-01":   3,
		"--from 2026-01-03T13:00:00+01:00":    1,
		"--from 2026-01-03T13:00:01+01:00":    0,
		"--from 2026-01-02 --to 2026-01-02":   0,
		"--from 30000d --to 2026-01-02T00:01": 2,
	} {
		out, errs, code := call(t, append([]string{"export", "--table", "POINT"}, strings.Fields(args)...)...)
		if rows := strings.Count(out, "\n") - 1; code != exitOK || rows != want {
			t.Errorf("%s: %d, %d rows instead of %d\n%s", args, code, rows, want, errs)
		}
	}
}

// Tables without readings go out and come back in each format.
func TestAStoreWithAnEmptyTableGoesRound(t *testing.T) {
	points(t)
	for _, format := range []string{"csv", "ndjson", "parquet"} {
		dir := "all " + format
		if out, errs, code := call(t, "export", "--all", "--format", format, "-o", dir); code != exitOK {
			t.Fatalf("%d\n%s%s", code, out, errs)
		}
		other := []string{"--data-dir", "data " + format, "--schemas", "none " + format}
		if out, errs, code := call(t, append([]string{"import", dir}, other...)...); code != exitOK || !strings.Contains(out, "imported 3 readings") {
			t.Errorf("%s: %d\n%s%s", format, code, out, errs)
		}
		if out, errs, code := call(t, append([]string{"query", "--format", "csv", "select (select count(*) from empty), count(*) from point"}, other...)...); code != exitOK || !strings.HasSuffix(out, "0,3\r\n") {
			t.Errorf("%s: %d\n%s%s", format, code, out, errs)
		}
	}
}

func TestWhatAnImportCannotReadIsSaid(t *testing.T) {
	points(t)
	files(t, map[string]string{"zero": "", "point.empty.csv": ""})
	for _, c := range []struct {
		args string
		code int
		say  string
	}{
		{"zero", exitUsage, "zero is empty"},
		{"point.empty.csv", exitUsage, "point.empty.csv is empty: a CSV file begins with the names of its columns"},
		{"--table point -", exitUsage, "hint: say it: --format csv or --format ndjson, with --table"},
		{"--format csv -", exitUsage, "hint: name it with --table"},
		{"--format csv --table point -", exitUsage, "standard input is empty"},
		{"--format parquet --table point -", exitUsage, "cannot come from standard input"},
		{"--from influx -", exitUsage, "cannot come from standard input"},
		{"--from influx schemas", exitUsage, "schemas is a directory"},
		{"none", exitNotFound, "none"},
	} {
		if out, errs, code := call(t, append([]string{"import"}, strings.Fields(c.args)...)...); code != c.code || !strings.Contains(errs, c.say) || out != "" {
			t.Errorf("weir import %s ends with %d\n%s%s", c.args, code, out, errs)
		}
	}
}

// A backup that lies in the data directory is no part of another one.
func TestABackupTakesNoBackupAlong(t *testing.T) {
	points(t)
	count := func(dir, warning string) string {
		t.Helper()
		out, errs, code := call(t, "backup", dir)
		if code != exitOK || !strings.Contains(errs, warning) || (warning == "") != (errs == "") {
			t.Fatalf("%d\n%s%s", code, out, errs)
		}
		_, rest, _ := strings.Cut(out, ": ")
		files, _, _ := strings.Cut(rest, ",")
		return files
	}
	want := count("outside", "")
	for range 2 {
		if got := count(filepath.Join("weir-data", "bk"), "lies inside the data directory"); got != want {
			t.Errorf("%s, %s before", got, want)
		}
		if got := count("outside", ""); got != want {
			t.Errorf("%s, %s before", got, want)
		}
	}
	for _, dir := range []string{"weir-data", "weir-data/segments", "weir-data/broker/x"} {
		if _, errs, code := call(t, "backup", dir); code != exitUsage || !strings.Contains(errs, "hint: name a directory elsewhere") {
			t.Errorf("%s: %d\n%s", dir, code, errs)
		}
	}
}
