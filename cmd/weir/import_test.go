package main

import (
	"os"
	"strings"
	"testing"
)

// files writes files into the working directory.
func files(t *testing.T, texts map[string]string) {
	t.Helper()
	for name, text := range texts {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFile(t *testing.T, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s holds\n%s(%v), not\n%s", name, got, err, want)
	}
}

// Lines that are no points, values that do not fit and readings that the node refuses
// are all listed by the file and line of the dump.
func TestLinesOfADumpThatAreRefusedAreListed(t *testing.T) {
	t.Chdir(t.TempDir())
	files(t, map[string]string{
		"cpu.yaml": "name: cpu\nversion: 1\ntopic: influx/plant/cpu\nformat: json\ntime: {at: /time, as: unix_ns}\nidentity: time\ntags: {host: /host}\n" +
			"retention: 10000d\npayload: {properties: {host: {type: string}, time: {type: integer}, usage: {type: number}}, required: [time]}\n",
		"a.lp": "# CONTEXT-DATABASE: plant\ncpu,host=b usage=1.5 1700000000000000000\nnonsense\n",
		"b.lp": "# CONTEXT-DATABASE: plant\ncpu,host=zz usage=1 5\ncpu,host=a usage=2 1700000000000000000\ncpu,host=a usage=\"text\" 1700000003000000000\n",
		"c.lp": "nonsense\n",
	})
	const refused = "a.lp:3: field \"\" has no value\n" +
		"b.lp:4: field \"usage\" of cpu: \"text\" is not a number that float64 holds\n" +
		"b.lp:2: too late: it is older than the retention of cpu, which is 10000d\n"
	args := []string{"import", "--from", "influx", "--schema", "cpu.yaml", "--rejects", "rejects", "a.lp", "b.lp"}
	out, errs, code := call(t, args...)
	if code != exitUsage || !strings.Contains(out, "imported 2 readings") || !strings.HasPrefix(errs, refused) || !strings.Contains(errs, "3 rows could not be imported") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	wantFile(t, "rejects", refused)
	// A run that has nothing to do leaves the list of the one before.
	if out, errs, code := call(t, args...); code != exitOK || !strings.Contains(errs, "a.lp, b.lp was imported before") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	wantFile(t, "rejects", refused)
	// A dump without a single point says why.
	if out, errs, code := call(t, "import", "--from", "influx", "--rejects", "rejects", "c.lp"); code != exitUsage || !strings.HasPrefix(errs, "c.lp:1: field") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	wantFile(t, "rejects", "c.lp:1: field \"\" has no value\n")
	files(t, map[string]string{"d.sql": "COPY public.c (time, v) FROM stdin;\n2026-01-01\n\\.\n"})
	if out, errs, code := call(t, "import", "--from", "timescale", "d.sql"); code != exitUsage || !strings.HasPrefix(errs, "d.sql:2: 1 values") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if _, errs, code := call(t, "import", "--from", "influx", "--rejects", "none/rejects", "a.lp"); code != exitUnavailable || !strings.Contains(errs, "hint: nothing was imported") {
		t.Errorf("%d\n%s", code, errs)
	}
}
