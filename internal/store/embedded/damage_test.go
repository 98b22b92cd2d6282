package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// catalogue is what stands in a store with something in every table.
type catalogue struct {
	rows        map[string][]string // of each table, sorted
	entries     []telemetry.LedgerEntry
	quarantined []string
}

func fillCatalogue(t *testing.T, dir string) *catalogue {
	t.Helper()
	s := open(t, Options{Dir: dir, ManualCompaction: true, CarryRows: 1})
	pumps := env()
	pumps.Name = "pumps"
	if err := s.PutTable(context.Background(), telemetry.DefaultTenant, pumps, []byte("name: pumps")); err != nil {
		t.Fatal(err)
	}
	f, g := newFleet(t, s, 20), &fleet{table: pumps, base: make([]float64, 20), rng: rand.New(rand.NewPCG(3, 4))}
	for n := range 20 {
		topic, tags := deviceKey(n + 100)
		ref, err := s.Series(telemetry.DefaultTenant, pumps, topic, tags)
		if err != nil {
			t.Fatal(err)
		}
		g.refs = append(g.refs, ref)
	}
	session, _, err := s.OpenSession(context.Background(), "client 1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if i == 2 { // level 0, and a second block of series
			if err := s.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
			f.refs = append(f.refs, device(t, s, f.table, 50))
			f.base = append(f.base, 1)
		}
		op := telemetry.LedgerOp{Session: session, PacketID: uint16(10 + i), QoS: 2, Kind: telemetry.LedgerPut, Hash: 99}
		if i == 2 {
			op.Kind, op.PacketID = telemetry.LedgerDrop, 10
		}
		bad := telemetry.Quarantined{Topic: fmt.Sprintf("bad/%d", i), Payload: []byte("{"), Reason: telemetry.ReasonInvalid, Offset: -1}
		st, err := s.Stage(context.Background(), &telemetry.Commit{
			Ledger: []telemetry.LedgerOp{op},
			Batches: []*telemetry.Batch{{
				Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{f.section(200), g.section(200)}, Quarantine: []telemetry.Quarantined{bad},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	c := readCatalogue(t, s)
	if len(c.rows["env"]) != 600 || len(c.rows["pumps"]) != 600 || len(c.entries) != 1 || len(c.quarantined) != 3 {
		t.Fatalf("the store holds %+v", c)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

// readCatalogue reads what can be read.
func readCatalogue(t *testing.T, s *Store) *catalogue {
	t.Helper()
	c := &catalogue{rows: map[string][]string{}}
	for _, table := range []string{"env", "pumps"} {
		if s.tenant(telemetry.DefaultTenant).tableName(table) != nil {
			c.rows[table], _ = readableOf(t, s, table)
		}
	}
	_, c.entries, _ = s.OpenSession(context.Background(), "client 1")
	_ = s.Quarantined(context.Background(), telemetry.DefaultTenant, store.QuarantineFilter{}, func(q *telemetry.Quarantined) bool {
		c.quarantined = append(c.quarantined, q.Topic)
		return true
	})
	return c
}

// change damages one value as a flipped bit would.
func change(v driver.Value, rng *rand.Rand) driver.Value {
	switch v := v.(type) {
	case int64:
		return v ^ 1<<rng.IntN(40)
	case string:
		b := []byte(v)
		b[rng.IntN(len(b))] ^= 1
		return string(b)
	case []byte:
		if len(v) == 0 {
			return []byte{1}
		}
		b := slices.Clone(v)
		b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		return b
	}
	return nil
}

// TestOneDamagedValueOfTheCatalogIsNamedAndHidesNothingElse changes every column of
// every table, a row at a time.
func TestOneDamagedValueOfTheCatalogIsNamedAndHidesNothingElse(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	model := t.TempDir()
	want := fillCatalogue(t, model)
	columns := map[string][]string{
		"tenants": {"name", "floor"}, "tables": {"id", "tenant", "name", "version", "series_group", "recorded", "definition", "document"},
		"series": {"tenant", "first", "count", "size", "data"}, "sessions": {"id", "key"}, "ledger": {"data"},
		"frames":   {"tenant", "created", "rows", "min_time", "max_time", "data"},
		"segments": {"tenant", "table_id", "partition", "arrival", "created", "rows", "size", "min_time", "max_time"},
		"counters": {"value"}, "quarantine": {"tenant", "last", "count", "size", "data"},
	}
	for _, table := range slices.Sorted(maps.Keys(columns)) {
		for _, column := range columns[table] {
			t.Run(table+"."+column, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(model)); err != nil {
					t.Fatal(err)
				}
				id := damageValue(t, dir, table, column, rng)
				checkCatalogue(t, dir, table, column, id, want)
				checkCatalogue(t, dir, table, column, id, want) // what was set aside stays away
			})
		}
	}
}

// damageValue changes a value in one row, and returns what names the row.
func damageValue(t *testing.T, dir, table, column string, rng *rand.Rand) string {
	t.Helper()
	c, err := openConn(filepath.Join(dir, catalogFile), false)
	if err != nil {
		t.Fatal(err)
	}
	key := "id"
	if table == "counters" {
		key = "name"
	}
	var rows [][2]driver.Value
	err = c.query("SELECT "+key+", "+column+" FROM "+table, func(row []driver.Value) error {
		rows = append(rows, [2]driver.Value{row[0], row[1]})
		return nil
	})
	if err != nil || len(rows) == 0 {
		t.Fatal(rows, err)
	}
	at := rows[rng.IntN(len(rows))]
	value := change(at[1], rng)
	if err := c.exec("UPDATE "+table+" SET "+column+" = ? WHERE "+key+" = ?", value, at[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("row %v", at[0])
	if column == "id" {
		return fmt.Sprint(value)
	}
	return fmt.Sprint(at[0])
}

func checkCatalogue(t *testing.T, dir, table, column, id string, want *catalogue) {
	t.Helper()
	var log strings.Builder
	s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true, Logger: textLogger(&log)})
	if err != nil {
		if table != "tenants" || !strings.Contains(err.Error(), "row "+id+" of table tenants in catalog.db") {
			t.Fatalf("open: %v", err)
		}
		return
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	got := readCatalogue(t, s)
	for _, name := range []string{"env", "pumps"} {
		for _, row := range got.rows[name] {
			if _, found := slices.BinarySearch(want.rows[name], row); !found {
				t.Fatalf("row %q was never stored in %s", row, name)
			}
		}
		if s.tenant(telemetry.DefaultTenant).tableName(name) == nil {
			continue // Scan says that it is not there, and the log why
		}
		if _, errs := readableOf(t, s, name); len(got.rows[name]) < len(want.rows[name]) && len(errs) == 0 {
			t.Errorf("%d rows of %s can be read, of %d, and no error says so", len(got.rows[name]), name, len(want.rows[name]))
		}
	}
	for _, e := range got.entries {
		if !slices.Contains(want.entries, e) {
			t.Errorf("the ledger has %v", e)
		}
	}
	for _, q := range got.quarantined {
		if !slices.Contains(want.quarantined, q) {
			t.Errorf("quarantine has %v", q)
		}
	}
	others := map[string]bool{"sessions": true, "ledger": true, "counters": true, "quarantine": true}
	if others[table] && (len(got.rows["env"]) != 600 || len(got.rows["pumps"]) != 600) {
		t.Errorf("%d and %d rows can be read", len(got.rows["env"]), len(got.rows["pumps"]))
	}
	if table != "quarantine" && len(got.quarantined) != 3 || table == "quarantine" && len(got.quarantined) != 2 {
		t.Errorf("quarantine lists %v", got.quarantined)
	}
	if table != "sessions" && table != "ledger" && len(got.entries) != 1 {
		t.Errorf("the ledger has %v", got.entries)
	}
	if table == "tables" && len(got.rows["env"])+len(got.rows["pumps"]) != 600 {
		t.Errorf("%d and %d rows can be read", len(got.rows["env"]), len(got.rows["pumps"]))
	}
	// Of a frame's data only what is read is checked.
	lost := map[string]bool{"tables": true, "series": true, "frames": column != "data", "segments": true}
	if named := strings.Contains(log.String(), "row "+id+" of table "+table) || strings.Contains(log.String(), "frame "+id); lost[table] && !named {
		t.Errorf("the log does not name row %s of %s: %s", id, table, log.String())
	}
	// Life goes on.
	again := env()
	if err := s.PutTable(context.Background(), telemetry.DefaultTenant, again, nil); err != nil && table != "tables" {
		t.Error(err)
	}
	sec := &telemetry.Section{}
	sec.Reset(again)
	sec.AppendRow(device(t, s, again, 77), fleetStart*1e6, 0, []telemetry.Value{float(1), float(2), float(3), float(4), {Text: statusOK}})
	st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{
		Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{sec}, Resolved: []int64{1 << 40},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	st.Abort()
}

func TestADamagedQuarantineChunkHidesNoOther(t *testing.T) {
	dir := t.TempDir()
	fillCatalogue(t, dir)
	s := open(t, Options{Dir: dir, ManualCompaction: true})
	if err := s.w.exec("UPDATE quarantine SET data = CAST(substr(data, 1, length(data) - 5) || zeroblob(5) AS BLOB) WHERE id = 2"); err != nil {
		t.Fatal(err)
	}
	var topics []string
	err := s.Quarantined(context.Background(), telemetry.DefaultTenant, store.QuarantineFilter{}, func(q *telemetry.Quarantined) bool {
		topics = append(topics, q.Topic)
		return true
	})
	if !slices.Equal(topics, []string{"bad/2", "bad/0"}) {
		t.Errorf("the listing is %v", topics)
	}
	if telemetry.CodeOf(err) != telemetry.CodeDamaged || !strings.Contains(err.Error(), "row 2 of table quarantine in catalog.db") {
		t.Errorf("the listing ends with %v", err)
	}
	// A commit that resolves records of the damaged chunk goes through.
	st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Resolved: []int64{1, 2, 3}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func textLogger(w *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
