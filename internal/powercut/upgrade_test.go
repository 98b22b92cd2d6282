package powercut

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

const formats = "../store/embedded/testdata"

// oldest is the store of the oldest format that is kept.
func oldest() (string, error) {
	entries, err := os.ReadDir(formats)
	if err != nil {
		return "", err
	}
	first := 0
	for _, e := range entries {
		var n int
		if _, err := fmt.Sscanf(e.Name(), "format-%d", &n); err == nil && (first == 0 || n < first) {
			first = n
		}
	}
	return filepath.Abs(filepath.Join(formats, fmt.Sprintf("format-%d", first)))
}

// upgradeChild puts a store of an old format on the disk, reports that it is there,
// upgrades it and reports that.
func upgradeChild(dir, address string, _ bool) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	conn, err := net.Dial("tcp", address)
	check(err)
	from := os.Getenv("POWERCUT_STORE")
	check(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		check(err)
		rel, err := filepath.Rel(from, path)
		check(err)
		to := filepath.Join(dir, rel)
		if d.IsDir() {
			check(os.MkdirAll(to, 0o700))
			return nil
		}
		data, err := os.ReadFile(path)
		check(err)
		f, err := os.Create(to)
		check(err)
		_, err = f.Write(data)
		check(err)
		check(f.Sync())
		return f.Close()
	}))
	for _, name := range []string{filepath.Join(dir, "segments"), dir} {
		d, err := os.Open(name)
		check(err)
		check(errors.Join(d.Sync(), d.Close()))
	}
	_, err = conn.Write([]byte{1})
	check(err)
	_, err = embedded.Upgrade(context.Background(), embedded.Options{Dir: dir})
	check(err)
	_, err = conn.Write([]byte{2})
	check(err)
}

// rowsOf counts the rows of each table as content.txt beside the store has them.
func rowsOf(t *testing.T, dir string) map[string]int {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "content.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 2 && words[0] == "row" {
			rows[words[1]+" "+words[2]]++
		}
	}
	return rows
}

// storedRows counts the rows of each table of a store, after it was upgraded.
func storedRows(dir string) (rows map[string]int, err error) {
	ctx := context.Background()
	s, err := embedded.Open(ctx, embedded.Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	rows = map[string]int{}
	for _, tenant := range []telemetry.Tenant{telemetry.DefaultTenant, "other"} {
		tables, err := s.Tables(ctx, tenant)
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for _, r := range tables {
			if seen[r.Table.Name] {
				continue
			}
			seen[r.Table.Name] = true
			sc, err := s.Scan(ctx, store.ScanRequest{Tenant: tenant, Table: r.Table.Name, From: math.MinInt64, To: math.MaxInt64})
			if err != nil {
				return nil, err
			}
			var sec telemetry.Section
			for _, u := range sc.Units() {
				if _, err := u.Read(&sec, nil, true); err != nil {
					sc.Close()
					return nil, err
				}
				rows[string(tenant)+" "+r.Table.Name] += sec.Rows()
			}
			sc.Close()
		}
	}
	return rows, nil
}

func TestAnUpgradeSurvivesAPowerCutAtAnyPoint(t *testing.T) {
	from, err := oldest()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("POWERCUT_STORE", from)
	want := rowsOf(t, from)
	events, root := record(t, "upgrade", false)
	begin := slices.IndexFunc(events, func(e Event) bool { return e.Kind == Send && e.Data[0] == 1 })
	if begin < 0 || events[len(events)-1].Start == events[begin].Start || len(want) == 0 {
		t.Fatalf("the upgrade was not recorded: %d events, the store is there at %d", len(events), begin)
	}
	var after []int
	for i := begin; i < len(events); i++ {
		after = append(after, i)
	}
	CutDisks(t, events, root, after, 2*len(after), func(dir string, at int) string {
		if at <= events[begin].Start {
			return "" // the store was not whole yet
		}
		for _, when := range []string{"", "opened a second time: "} {
			rows, err := storedRows(dir)
			if err != nil {
				return when + err.Error()
			}
			if !maps.Equal(rows, want) {
				return fmt.Sprintf("%s%v, want %v", when, rows, want)
			}
		}
		return ""
	})
}
