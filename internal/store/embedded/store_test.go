package embedded

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// env is the table of the project's standard workload.
func env() *telemetry.Table {
	return &telemetry.Table{
		Name: "env", Version: 1, Tags: []string{"plant", "line", "device"},
		Columns: []telemetry.Column{
			{Name: "temperature", Type: telemetry.Float},
			{Name: "humidity", Type: telemetry.Float},
			{Name: "pressure", Type: telemetry.Float},
			{Name: "battery", Type: telemetry.Float},
			{Name: "status", Type: telemetry.String},
		},
		Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
	}
}

func open(tb testing.TB, opt Options) *Store {
	tb.Helper()
	if opt.Dir == "" {
		opt.Dir = tb.TempDir()
	}
	s, err := Open(context.Background(), opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// device returns the series of a device of the standard workload.
func device(tb testing.TB, s *Store, t *telemetry.Table, n int) telemetry.SeriesRef {
	tb.Helper()
	topic, tags := deviceKey(n)
	ref, err := s.Series(telemetry.DefaultTenant, t, topic, tags)
	if err != nil {
		tb.Fatal(err)
	}
	return ref
}

func deviceKey(n int) ([]byte, [][]byte) {
	plant, line, dev := fmt.Sprintf("p%02d", n%7), fmt.Sprintf("l%d", n%3), fmt.Sprintf("d%05d", n)
	return []byte("plants/" + plant + "/lines/" + line + "/devices/" + dev + "/env"), [][]byte{[]byte(plant), []byte(line), []byte(dev)}
}

func float(f float64) telemetry.Value { return telemetry.Value{Bits: math.Float64bits(f)} }

func commit(tb testing.TB, s store.Store, secs ...*telemetry.Section) {
	tb.Helper()
	st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: secs}}})
	if err != nil {
		tb.Fatal(err)
	}
	if err := st.Commit(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// scanAll returns the rows of a table as text, in the order of the units.
func scanAll(tb testing.TB, s store.Store, table string) []string {
	tb.Helper()
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: minTime, To: maxTime})
	if err != nil {
		tb.Fatal(err)
	}
	defer sc.Close()
	var names []string
	for _, c := range sc.Columns() {
		names = append(names, c.Name)
	}
	var out []string
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, names, true); err != nil {
			tb.Fatal(err)
		}
		if sec.Rows() != u.Rows() {
			tb.Fatalf("a unit of %d rows gave %d", u.Rows(), sec.Rows())
		}
		for i := range sec.Rows() {
			out = append(out, fmt.Sprint(sec.Series[i], " ", sec.Time[i], " ", sec.Columns[0].Float(i)))
		}
	}
	return out
}

func TestReadingsAreThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	table := env()
	if err := s.PutTable(context.Background(), telemetry.DefaultTenant, table, []byte("doc")); err != nil {
		t.Fatal(err)
	}
	sec := &telemetry.Section{}
	sec.Reset(table)
	now := time.Now().UnixNano()
	for i := range 10 {
		sec.AppendRow(device(t, s, table, i), int64(1000+i), now, []telemetry.Value{float(float64(i)), float(2), float(3), float(4), {Text: []byte("ok")}})
	}
	commit(t, s, sec)
	if got := scanAll(t, s, "env"); len(got) != 10 {
		t.Fatalf("got %v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	if got := scanAll(t, s, "env"); len(got) != 10 || got[3] != "3 1003 3" {
		t.Fatalf("got %v", got)
	}
}
