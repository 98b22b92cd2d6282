package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// largest is the largest segment file.
func (p *place) largest() string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.data, "segments", "*"))
	if err != nil || len(files) == 0 {
		p.t.Fatal(files, err)
	}
	best, size := "", int64(-1)
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Size() > size {
			best, size = f, info.Size()
		}
	}
	return best
}

// TestALostFileIsGivenUpWhateverKillsIt takes a segment file away, and kills the
// command that gives its readings up again and again: after each kill all of it is
// lost, or all of it is given up and written down. Then a running node gives up
// another.
func TestALostFileIsGivenUpWhateverKillsIt(t *testing.T) {
	long(t)
	for _, sealed := range []string{"in clear", "sealed"} {
		t.Run(sealed, func(t *testing.T) {
			random := seeded(t)
			p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
			if sealed == "sealed" {
				p.write("weir.yaml", "encryption: {enabled: true, key_file: ./master.key}\nschemas: ./schemas\n")
				p.must("key", "init")
			}
			const perDay, n = 17_000, 3 * 17_000 // no packs
			var b strings.Builder
			b.WriteString("time,client,seq\n")
			for i := range n { // of three days, the first with the most bytes
				at := time.Date(2023, 11, 10+i/perDay, 0, 0, i%perDay, 0, time.UTC)
				fmt.Fprintf(&b, "%s,c%d,%d\n", at.Format(time.RFC3339), i%(20-i/perDay), i*i)
			}
			p.write("timed.csv", b.String())
			p.must("import", "timed.csv")
			p.must("delete", "--table", "timed", "--where", "client = 'c1' and seq = 1", "--yes") // compacts all
			remove := func() {
				t.Helper()
				if err := os.Remove(p.largest()); err != nil {
					t.Fatal(err)
				}
			}
			remove()
			const count = "select count(*) from timed"
			if _, stderr, code := p.run("query", count); code == 0 || !strings.Contains(stderr, "readings of timed from 2023-11-1") || !strings.Contains(stderr, "weir verify --accept-loss") {
				t.Fatalf("a query over the lost file: %d %s", code, stderr)
			}
			if out := p.must("query", "--format", "csv", "select count(*) from timed where time < '2023-01-01'"); !strings.Contains(out, "0") {
				t.Errorf("another time gives %s", out)
			}
			if _, _, code := p.feed("n\n", "verify", "--accept-loss"); code == 0 {
				t.Error("it was given up although the answer was no")
			}
			done := false
			most := 6
			if testkit.Soak() {
				most = 100
			}
			for tries := 0; !done && tries < most; tries++ {
				done = p.killed(random, time.Duration(20+10*tries)*time.Millisecond, "verify", "--accept-loss", "--yes")
				report, _, code := p.run("verify")
				_, _, answers := p.run("query", count)
				told := strings.Contains(report, "given up as lost on")
				if (answers == 0) != told || (code == 0) != told {
					t.Fatalf("after %d tries: query ends with %d, verify with %d and says\n%s", tries+1, answers, code, report)
				}
			}
			if !done {
				p.must("verify", "--accept-loss", "--yes")
			}
			left := p.number(count)
			if left <= 0 || left >= n {
				t.Errorf("%d readings are left", left)
			}

			r := p.serve()
			remove()
			if out := p.must("verify", "--accept-loss", "--yes"); !strings.Contains(out, "given up") {
				t.Errorf("the running node says %s", out)
			}
			if again := p.number(count); again >= left {
				t.Errorf("%d readings are left of %d", again, left)
			}
			if out, _, code := p.run("verify"); code != 0 || strings.Count(out, "given up as lost on") != 2 {
				t.Errorf("verify ends with %d and says\n%s", code, out)
			}
			if code := r.stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
