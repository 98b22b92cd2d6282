package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/testkit"
)

const kindsV1 = `name: kinds
version: 1
topic: k/{line}/kinds
time: {at: /ts, as: rfc3339}
payload:
  type: object
  required: [ts]
  properties:
    ts: {type: string}
    model: {type: string}
    f: {type: number}
    i: {type: integer}
    b: {type: boolean}
    s: {type: string}
    l: {type: array}
tags: {model: /model}
identity: none
`

const kindsV2 = `name: kinds
version: 2
topic: k/{line}/kinds
time: {at: /ts, as: rfc3339}
payload:
  type: object
  required: [ts]
  properties:
    ts: {type: string}
    model: {type: string}
    f: {type: number}
    i: {type: integer}
    b: {type: boolean}
    s: {type: string}
    l: {type: array}
    more: {type: string}
tags: {model: /model}
identity: none
`

// kindsRows are rows of all kinds of values, as NDJSON.
func kindsRows() string {
	values := []string{
		`"f":-0.0,"i":-9223372036854775808,"b":true,"s":"","l":[]`,
		`"f":5e-324,"i":9223372036854775807,"b":false,"s":"a,\"b\"\r\nc","l":[1, {"a" : "ü"}, null]`,
		`"f":1.7976931348623157e308,"i":0,"s":"日本語 🎉","l":null`,
		`"f":"NaN","s":" leading and trailing "`,
		`"f":"-Infinity","i":-1,"s":"tab\there, nul \u0000 and quote '"`,
		`"f":0.1,"i":9007199254740993,"s":"\\N","l":[9007199254740993,1e400]`,
		``,
	}
	times := []string{"1677-09-21T00:12:43.145224193Z", "1969-12-31T23:59:59.999999999Z", "2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:00.000000002Z", "2262-04-11T23:47:16.854775806Z"}
	var b strings.Builder
	for i := range 4 * len(values) * len(times) {
		version := 1 + i%2
		row := fmt.Sprintf(`{"time":%q,"line":"l%d","_topic":"k/l%d/kinds","received_at":"2026-02-03T04:05:06.00000000%dZ","_version":%d`, times[i%len(times)], i%3, i%3, i%9+1, version)
		if i%4 > 0 {
			row += fmt.Sprintf(`,"model":"%s"`, []string{"", "m\\\"1", "m 2"}[i%4-1])
		}
		if v := values[i%len(values)]; v != "" {
			row += "," + v
		}
		if version == 2 && i%3 > 0 {
			row += `,"more":"x"`
		}
		b.WriteString(row + "}\n")
	}
	return b.String()
}

func TestARoundTripGivesTheSameFilesInEveryFormat(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"kinds.yaml": kindsV1})
	p.write("none.ndjson", "")
	p.write("kinds.ndjson", kindsRows())
	p.write("v2.yaml", kindsV2)
	p.must("import", "--schema", "v2.yaml", "kinds.ndjson")
	total := p.number("select count(*) from kinds")
	if total != 140 {
		t.Errorf("%d readings", total)
	}
	for _, format := range []string{"csv", "ndjson", "parquet"} {
		t.Run(format, func(t *testing.T) {
			first := filepath.Join(t.TempDir(), "first")
			p.must("export", "--all", "--format", format, "-o", first)
			empty := emptyMachine(t)
			if out := empty.must("import", first); !strings.Contains(out, "imported 140 readings; 0 were") {
				t.Errorf("import says %q", out)
			}
			second := filepath.Join(t.TempDir(), "second")
			// Of a running node, too.
			r := empty.serve()
			empty.must("export", "--all", "--format", format, "-o", second)
			if code := r.stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			a, err := os.ReadFile(filepath.Join(first, "kinds."+format))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(second, "kinds."+format))
			if err != nil || string(a) != string(b) {
				t.Errorf("the files differ: %d and %d bytes, %v", len(a), len(b), err)
				if format != "parquet" {
					diffLines(t, string(a), string(b))
				}
			}
		})
	}
}

func diffLines(t *testing.T, a, b string) {
	t.Helper()
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			t.Errorf("line %d:\n%s\n%s", i+1, x[i], y[i])
			return
		}
	}
}

func TestAnExportTakesWhatItIsAskedFor(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	importNumbers(t, p, 1000)
	out := p.must("export", "--table", "timed", "--where", "client = 'c3' and seq >= 500", "--format", "ndjson")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 25 || !strings.Contains(lines[0], `"seq":503`) {
		t.Errorf("%d lines, the first is %s", len(lines), lines[0])
	}
	out = p.must("export", "--table", "timed", "--from", time.Unix(1_700_000_990, 0).UTC().Format(time.RFC3339), "--to", time.Unix(1_700_000_995, 0).UTC().Format(time.RFC3339))
	if n := strings.Count(out, "\n"); n != 6 {
		t.Errorf("%d lines:\n%s", n, out)
	}
	if _, stderr, code := p.run("export", "--table", "timed", "--where", "nonsense = 1"); code != 3 || !strings.Contains(stderr, "nonsense") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, stderr, code := p.run("export", "--table", "nope"); code != 3 {
		t.Errorf("%d %s", code, stderr)
	}
}

// daysOfNumbers imports readings of several days.
func daysOfNumbers(t *testing.T, p *place, days, perDay int) int {
	t.Helper()
	var b strings.Builder
	b.WriteString("time,client,seq\n")
	n := 0
	for d := range days {
		for i := range perDay {
			fmt.Fprintf(&b, "%s,c%d,%d\n", time.Unix(1_700_000_000+int64(d)*86400+int64(i), 0).UTC().Format(time.RFC3339), i%20, n)
			n++
		}
	}
	p.write("timed.csv", b.String())
	p.must("import", "timed.csv")
	return n
}

func TestAnExportThatWasKilledGoesOn(t *testing.T) {
	long(t)
	random := seeded(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	daysOfNumbers(t, p, 12, 2500)
	for _, format := range []string{"csv", "ndjson", "parquet"} {
		want := filepath.Join(p.dir, "want."+format)
		p.must("export", "--table", "timed", "--format", format, "-o", want)
		got := filepath.Join(p.dir, "got."+format)
		kills := 0
		for !p.killed(random, growing(60*time.Millisecond, 0.1, kills), "export", "--table", "timed", "--format", format, "-o", got, "--resume") {
			if kills++; kills > 100 {
				t.Fatal("the export never ends")
			}
		}
		a, err := os.ReadFile(want)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(got)
		if err != nil || string(a) != string(b) {
			t.Errorf("%s: %d bytes instead of %d after %d kills, %v", format, len(b), len(a), kills, err)
		}
		for _, suffix := range []string{".part", ".part.state"} {
			if _, err := os.Stat(got + suffix); err == nil {
				t.Errorf("%s%s is left over", got, suffix)
			}
		}
		t.Logf("%s: %d kills", format, kills)
	}
}

func TestAnImportThatWasKilledStoresEachReadingOnce(t *testing.T) {
	random := seeded(t)
	const rows = 70_000
	var b strings.Builder
	b.WriteString("client,seq,time\n")
	for i := range rows {
		// No time in the payload and equal values: only the mark tells.
		fmt.Fprintf(&b, "c%d,%d,2026-01-01T00:00:00Z\n", i%7, i%5)
	}
	for _, served := range []bool{false, true} {
		p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
		p.write("bare.csv", b.String())
		var r *running
		if served {
			r = p.serve()
		}
		kills := 0
		for !p.killed(random, growing(60*time.Millisecond, 0.15, kills), "import", "bare.csv") {
			if kills++; kills > 100 {
				t.Fatal("the import never ends")
			}
			if r != nil && random.IntN(3) == 0 { // the node, too
				r.kill()
				r = p.serve()
			}
		}
		for client := range 7 {
			want := (rows-client-1)/7 + 1
			if n := p.number(fmt.Sprintf("select count(*) from bare where client = 'c%d'", client)); n != want {
				t.Errorf("client %d has %d readings instead of %d after %d kills", client, n, want, kills)
			}
		}
		t.Logf("%d kills, with a running node: %v", kills, served)
		if _, stderr, code := p.run("import", "bare.csv"); code != 0 || !strings.Contains(stderr, "was imported before") {
			t.Errorf("once more: %d %s", code, stderr)
		}
	}
}

func TestRowsThatCannotBeImportedAreListed(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	p.write("timed.csv", "time,client,seq,_topic\n2026-01-01T00:00:00Z,a,1,t/a/timed\nyesterday,a,2,t/a/timed\n2026-01-01T00:00:00Z,a,x,t/a/timed\n2026-01-01T00:00:00Z,a,5,t/+/timed\n")
	out, stderr, code := p.run("import", "timed.csv", "--rejects", "bad.txt")
	if code != 2 || !strings.Contains(stderr, "timed.csv:3: ") || !strings.Contains(stderr, "timed.csv:4: column \"seq\"") || !strings.Contains(stderr, "timed.csv:5: ") {
		t.Errorf("%d %s %s", code, out, stderr)
	}
	if bad, err := os.ReadFile(filepath.Join(p.dir, "bad.txt")); err != nil || strings.Count(string(bad), "\n") != 3 {
		t.Errorf("%q %v", bad, err)
	}
	if n := p.number("select count(*) from timed"); n != 1 {
		t.Errorf("%d readings", n)
	}
}

func TestAnotherProgramReadsTheSameFromParquet(t *testing.T) {
	long(t)
	python := testkit.PyArrow(t)
	p := newPlace(t, map[string]string{"kinds.yaml": kindsV1})
	p.write("kinds.ndjson", kindsRows())
	p.write("v2.yaml", kindsV2)
	p.must("import", "--schema", "v2.yaml", "kinds.ndjson")
	for _, format := range []string{"ndjson", "parquet"} {
		p.must("export", "--table", "kinds", "--format", format, "-o", filepath.Join(p.dir, "out."+format))
	}
	out, err := exec.Command(python, "testdata/compare.py", filepath.Join(p.dir, "out.parquet"), filepath.Join(p.dir, "out.ndjson"), "l", "_rest").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"time timestamp[ns, tz=UTC] required", "line string null", "model string null", "f double null", "i int64 null", "b bool null", "s string null",
		"received_at timestamp[ns, tz=UTC] required", "_topic string required", "_version int64 required", "codec ZSTD row groups 4", "same 140",
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

func TestReadingsOlderThanTheRetentionAreNotImported(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema + "retention: 30d\n"})
	p.write("timed.csv", fmt.Sprintf("time,client,seq\n2001-01-01T00:00:00Z,a,1\n%s,a,2\n", time.Now().UTC().Format(time.RFC3339)))
	r := p.serve()
	testkit.Eventually(t, "ages count", func() bool {
		_, stderr, code := p.run("import", "timed.csv", "--again")
		return code == 2 && strings.Contains(stderr, "timed.csv:2: too late")
	})
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
