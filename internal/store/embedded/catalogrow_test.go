package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Every table takes and gives back its rows, in clear and sealed.
func TestRowsOfEveryTableComeBack(t *testing.T) {
	for _, keys := range []*seal.Credentials{nil, seal.Holding(seal.NewMaster())} {
		s := open(t, Options{ManualCompaction: true, Sealing: keys})
		tn := s.ensureTenant(telemetry.DefaultTenant)
		for _, table := range catalogTables {
			n := len(table.clear) + len(table.secret) + len(table.hidden)
			values := make([]driver.Value, n)
			for i, name := range append(append(append([]string(nil), table.clear...), table.secret...), table.hidden...) {
				values[i] = int64(1000 + i)
				switch {
				case slices.Contains([]string{"name", "key", "kind", "place", "what"}, name):
					values[i] = "a name"
				case strings.Contains("definition document data replaced sum tag made_from state", name):
					values[i] = []byte{byte(i), 0, 255}
				}
			}
			var data []driver.Value
			if table.data != "" {
				data = []driver.Value{[]byte("data")}
			}
			check := func(what string) {
				t.Helper()
				rows := 0
				err := s.eachRow(s.w, table, "", "", func(r *catalogRow) error {
					rows++
					for i, v := range r.v {
						want := values[i]
						if keys == nil && i >= n-len(table.hidden) {
							want = nil
						}
						if !r.intact || fmt.Sprint(asInt(v), asText(v)) != fmt.Sprint(asInt(want), asText(want)) {
							t.Errorf("%s of %s, sealed %v: value %d is %v, not %v", what, table.name, keys != nil, i, v, want)
						}
					}
					return nil
				})
				if err != nil || rows != 1 {
					t.Errorf("%s of %s: %d rows, %v", what, table.name, rows, err)
				}
			}
			if err := s.w.exec("DELETE FROM " + table.name); err != nil { // a start made one of counters
				t.Fatal(table.name, err)
			}
			if err := s.insertRow(table, tn, values, data...); err != nil {
				t.Fatal(table.name, err)
			}
			check("insert")
			last := len(table.clear) + len(table.secret) - 1
			if _, number := values[last].(int64); number {
				values[last] = int64(math.MinInt64)
			} else {
				values[last] = []byte{}
			}
			if table.name != "sessions" { // whose key is never changed
				if err := s.updateRow(table, tn, values); err != nil {
					t.Fatal(table.name, err)
				}
				check("update")
			}
		}
	}
}

// A value that a later format adds at the end is NULL in rows of before.
func TestASealedRowMayLackItsLastValues(t *testing.T) {
	got := make([]driver.Value, 3)
	if err := readValues(got, appendValues(nil, []driver.Value{int64(5), "x"})); err != nil || !reflect.DeepEqual(got, []driver.Value{int64(5), []byte("x"), nil}) {
		t.Errorf("%v, %v", got, err)
	}
	if err := readValues(make([]driver.Value, 1), appendValues(nil, []driver.Value{int64(5), "x"})); err == nil {
		t.Error("a row with more values than are known was read")
	}
}

// Whoever writes a row past insertRow and updateRow writes it in clear.
func TestRowsAreWrittenByTheirHelpersOnly(t *testing.T) {
	var names []string
	for _, table := range catalogTables {
		names = append(names, table.name)
	}
	past := regexp.MustCompile(`"(INSERT|UPDATE|REPLACE)[^"]* (` + strings.Join(names, "|") + `)\b`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "upgrade_") { // which knows formats of before
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := past.Find(text); found != nil {
			t.Errorf("%s has %s: use insertRow or updateRow, or a sealed store shows it", file, found)
		}
	}
}

// A transaction that fails must leave the manifest as the catalog has it.
func TestAFailedChangeOfASegmentsRowLeavesTheManifestRight(t *testing.T) {
	v := newVictim(t)
	s, err := Open(context.Background(), v.options(v.dir))
	if err != nil {
		t.Fatal(err)
	}
	tn := s.tenant(telemetry.DefaultTenant)
	g := tn.segs[0]
	again := errors.New("again")
	for _, fail := range []error{again, nil} {
		m := tn.manifest
		keys := []replacedKey{{rowKey{1, 2}, 3}}
		err := s.w.transaction(func() error {
			if err := errors.Join(s.updateSegment(&m, g, encodeReplacedBy(keys)), s.saveManifest(tn, &m)); err != nil {
				return err
			}
			return fail
		})
		if !errors.Is(err, fail) {
			t.Fatal(err)
		}
		if fail == nil {
			tn.manifest, g.replaced = m, keys
		}
	}
	if err := s.forgetReplaced(tn, []*segment{g}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if found := v.look(); len(found) != 0 {
		t.Error(found)
	}
}
