package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// copyOf copies the store of a format from testdata and returns the copy and
// what it holds.
func copyOf(t *testing.T, format int64) (dir, content string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(formatDir(format))); err != nil {
		t.Fatalf("format %d: %v (a landing that raises formatVersion adds its testdata: see TestWriteTestdata)", format, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "content.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, string(b)
}

// knownFormats are those that this program must open.
func knownFormats() []int64 {
	var all []int64
	from := int64(max(1, formatVersion-readableFormats))
	if len(upgradeSteps) > 0 {
		from = min(from, upgradeSteps[0].from) // more than is promised
	}
	for f := from; f <= formatVersion; f++ {
		all = append(all, f)
	}
	return all
}

func TestStoresOfKnownFormatsOpen(t *testing.T) {
	for _, format := range knownFormats() {
		t.Run(strconv.FormatInt(format, 10), func(t *testing.T) {
			dir, want := copyOf(t, format)
			for _, when := range []string{"opened", "opened again"} {
				s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true})
				if err != nil {
					t.Fatal(err)
				}
				sameContent(t, when, dump(t, s), want)
				if v, err := catalogVersion(s.w); err != nil || v != formatVersion {
					t.Errorf("%s: the format is %d, %v", when, v, err)
				}
				if err := s.Compact(context.Background()); err != nil {
					t.Fatal(err)
				}
				sameContent(t, when+" and compacted", dump(t, s), want)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func sameContent(t *testing.T, when, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: %d lines, want %d; the first that differs:\n%s\n%s", when, len(g), len(w), at(g, i), at(w, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(none)"
}

// TestReadersOpenKnownFormatsOrSayWhatToDo opens old stores for reading only.
func TestReadersOpenKnownFormatsOrSayWhatToDo(t *testing.T) {
	for _, format := range knownFormats() {
		dir, _ := copyOf(t, format)
		before := fingerprint(t, dir)
		s, err := Open(context.Background(), Options{Dir: dir, ReadOnly: true})
		if err == nil {
			if rows := scanAll(t, s, "last"); len(rows) == 0 {
				t.Errorf("format %d: no rows", format)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		var te *telemetry.Error
		if !errors.As(err, &te) || te.Code != telemetry.CodeConflict || !strings.Contains(te.Hint, "weir upgrade") {
			t.Errorf("format %d: %v", format, err)
		}
		if after := fingerprint(t, dir); after != before {
			t.Errorf("format %d: a refused reader changed the directory", format)
		}
	}
}

// fingerprint hashes every file of a directory but the lock and what SQLite keeps
// only while somebody has the catalog open.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" || strings.HasSuffix(path, "-shm") || strings.HasSuffix(path, "-wal") {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintln(h, path, len(b))
		h.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestCheckUpgradeChangesNothing(t *testing.T) {
	for _, format := range knownFormats() {
		dir, want := copyOf(t, format)
		before := fingerprint(t, dir)
		plan, err := CheckUpgrade(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if plan.From != format || plan.To != formatVersion || int64(len(plan.Steps)) != formatVersion-format {
			t.Errorf("format %d: %+v", format, plan)
		}
		if fingerprint(t, dir) != before {
			t.Errorf("format %d: looking changed the directory", format)
		}
		if left, err := filepath.Glob(filepath.Join(dir, catalogFile+"-*")); err != nil || len(left) > 0 {
			t.Errorf("format %d: looking left %v, %v", format, left, err)
		}
		done, err := Upgrade(context.Background(), Options{Dir: dir})
		if err != nil || len(done.Steps) != len(plan.Steps) {
			t.Fatal(done, err)
		}
		if plan, err = CheckUpgrade(Options{Dir: dir}); err != nil || len(plan.Steps) != 0 || plan.From != formatVersion {
			t.Errorf("format %d, after its upgrade: %+v %v", format, plan, err)
		}
		s := open(t, Options{Dir: dir, ManualCompaction: true})
		sameContent(t, "after weir upgrade", dump(t, s), want)
	}
}

// setFormat changes the format number of a store.
func setFormat(t *testing.T, dir string, format int64) {
	t.Helper()
	c, err := openConn(filepath.Join(dir, catalogFile), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.exec(fmt.Sprintf("PRAGMA user_version=%d", format)), c.close()); err != nil {
		t.Fatal(err)
	}
}

func TestANewerOrForgottenFormatIsRefusedAndNothingIsChanged(t *testing.T) {
	for _, format := range []int64{formatVersion + 1, 1 << 20, max(1, formatVersion-readableFormats) - 1} {
		if format == 0 {
			continue // an empty database
		}
		dir, _ := copyOf(t, formatVersion)
		setFormat(t, dir, format)
		before := fingerprint(t, dir)
		for _, opt := range []Options{{Dir: dir}, {Dir: dir, ReadOnly: true}} {
			if s, err := Open(context.Background(), opt); telemetry.CodeOf(err) != telemetry.CodeConflict {
				t.Errorf("format %d: %v %v", format, s, err)
			}
		}
		if _, err := CheckUpgrade(Options{Dir: dir}); telemetry.CodeOf(err) != telemetry.CodeConflict {
			t.Errorf("format %d: %v", format, err)
		}
		if fingerprint(t, dir) != before {
			t.Errorf("format %d: a refused store was changed", format)
		}
	}
}

// testSteps are an upgrade by two formats that has all that a real one may have: it
// writes every segment file anew, which no transaction covers, and changes the
// catalog.
func testSteps(from int64) []upgradeStep {
	return []upgradeStep{
		{
			from: from, what: "number the segments", prepare: func(_ context.Context, u *upgrader) error {
				return eachSegmentFile(u, func(path string, b []byte) error {
					if bytes.HasSuffix(b, []byte("#1")) {
						return nil // by the life before
					}
					if err := os.WriteFile(path+".tmp", append(b, "#1"...), 0o600); err != nil {
						return err
					}
					return os.Rename(path+".tmp", path)
				})
			},
			apply: func(_ context.Context, u *upgrader) error { return u.c.exec("CREATE TABLE one (n INTEGER) STRICT") },
		},
		{
			from: from + 1, what: "count", apply: func(_ context.Context, u *upgrader) error {
				for i := range 200 {
					if err := u.c.exec("INSERT INTO one (n) VALUES (?)", int64(i)); err != nil {
						return err
					}
				}
				return u.c.exec("DROP TABLE counters")
			},
		},
	}
}

func eachSegmentFile(u *upgrader, f func(path string, b []byte) error) error {
	paths, err := filepath.Glob(filepath.Join(u.opt.Dir, segmentDir, "*.seg"))
	if err != nil {
		return err
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := f(p, b); err != nil {
			return err
		}
	}
	return nil
}

// upgradingChild upgrades a store with testSteps or, where it is told so, as Open
// does, and says when it begins.
func upgradingChild(dir string) error {
	if os.Getenv("WEIR_TEST_UPGRADE_REAL") != "" {
		fmt.Println("begin")
		_, err := Upgrade(context.Background(), Options{Dir: dir})
		return err
	}
	fmt.Println("begin")
	return withUpgrader(dir, func(u *upgrader) error {
		v, err := catalogVersion(u.c)
		if err != nil {
			return err
		}
		return upgradeCatalog(context.Background(), u, v, formatVersion+2, testSteps(formatVersion))
	})
}

func withUpgrader(dir string, f func(u *upgrader) error) error {
	opt := Options{Dir: dir}.withDefaults()
	c, err := openConn(filepath.Join(dir, catalogFile), false, writePragmas(opt)...)
	if err != nil {
		return err
	}
	return errors.Join(f(&upgrader{opt: opt, c: c}), c.close())
}

// killUpgrade runs the child and kills it after a random time, unless it is
// faster; it reports whether the child came to its end.
// kills is how often it was killed: it gets longer each time, so that it comes to its
// end on a slow machine too.
func killUpgrade(t *testing.T, dir string, rng *rand.Rand, kills int, env ...string) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(append(os.Environ(), "WEIR_TEST_UPGRADE_DIR="+dir), env...)
	lines, ended := testkit.KilledAtRandom(t, rng, cmd, 1, time.Duration(12+8*kills*kills)*time.Millisecond)
	if len(lines) == 0 || lines[0] != "begin" {
		t.Fatalf("the child said %q", lines)
	}
	return ended
}

// TestAnUpgradeThatIsKilledGoesOn kills an upgrade at random moments until one
// comes to its end: no step is half done, none is done twice.
func TestAnUpgradeThatIsKilledGoesOn(t *testing.T) {
	rng, rounds := testkit.Random(t), 4
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 200
	}
	for range rounds {
		dir, _ := copyOf(t, formatVersion)
		kills := 0
		for !killUpgrade(t, dir, rng, kills) {
			kills++
		}
		t.Logf("killed %d times", kills)
		err := withUpgrader(dir, func(u *upgrader) error {
			if v, err := catalogVersion(u.c); err != nil || v != formatVersion+2 {
				t.Errorf("format %d, %v", v, err)
			}
			if err := u.c.query("SELECT count(*), sum(n) FROM one", func(row []driver.Value) error {
				if asInt(row[0]) != 200 || asInt(row[1]) != 19900 {
					t.Errorf("the second step left %v", row)
				}
				return nil
			}); err != nil {
				return err
			}
			return eachSegmentFile(u, func(path string, b []byte) error {
				if !bytes.HasSuffix(b, []byte("#1")) || bytes.HasSuffix(b, []byte("#1#1")) {
					t.Errorf("%s ends with %q", path, b[len(b)-4:])
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestARealUpgradeThatIsKilledGoesOn does the same with the steps of this program
// from every format that it knows.
func TestARealUpgradeThatIsKilledGoesOn(t *testing.T) {
	rng, rounds := testkit.Random(t), 2
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 100
	}
	for _, format := range knownFormats() {
		for range rounds {
			dir, want := copyOf(t, format)
			for kills := 0; !killUpgrade(t, dir, rng, kills, "WEIR_TEST_UPGRADE_REAL=1"); kills++ {
			}
			s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true})
			if err != nil {
				t.Fatal(err)
			}
			sameContent(t, fmt.Sprintf("format %d", format), dump(t, s), want)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAStepThatFailsLeavesTheFormatBefore: what it changed in the catalog is gone.
func TestAStepThatFailsLeavesTheFormatBefore(t *testing.T) {
	dir, _ := copyOf(t, formatVersion)
	full := errors.New("no space left on device")
	steps := testSteps(formatVersion)
	steps[1].apply = func(_ context.Context, u *upgrader) error {
		return errors.Join(u.c.exec("DROP TABLE segments"), full)
	}
	err := withUpgrader(dir, func(u *upgrader) error {
		err := upgradeCatalog(context.Background(), u, formatVersion, formatVersion+2, steps)
		if !errors.Is(err, full) || telemetry.CodeOf(err) != telemetry.CodeUnavailable {
			t.Errorf("got %v", err)
		}
		if v, err := catalogVersion(u.c); err != nil || v != formatVersion+1 {
			t.Errorf("format %d, %v", v, err)
		}
		return u.c.query("SELECT count(*) FROM segments", func([]driver.Value) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
}
