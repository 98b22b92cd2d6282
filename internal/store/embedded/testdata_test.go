package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The stores of testdata/format-N were written by the program whose format N was,
// and are never written again: what a later program makes of them is the test.
// content.txt beside each says what was stored.
func formatDir(format int64) string {
	return filepath.Join("testdata", fmt.Sprintf("format-%d", format))
}

// TestWriteTestdata writes the small store of the current format. It runs only
// when it is asked to:
//
//	WEIR_WRITE_TESTDATA=1 go test ./internal/store/embedded -run TestWriteTestdata
func TestWriteTestdata(t *testing.T) {
	if os.Getenv("WEIR_WRITE_TESTDATA") == "" {
		t.Skip("writes testdata; set WEIR_WRITE_TESTDATA=1 after formatVersion was raised")
	}
	to := formatDir(formatVersion)
	if _, err := os.Stat(to); err == nil {
		t.Fatalf("%s is there already: a store of a released format is never written again", to)
	}
	work := t.TempDir()
	if err := os.WriteFile(filepath.Join(work, "content.txt"), []byte(writeSample(t, work)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(work, "LOCK")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(work)); err != nil {
		t.Fatal(err)
	}
}

// sampleClock is when the sample was written: 2026-03-01T12:00:00Z.
const sampleClock = int64(1772366400) * 1e9

// writeSample writes a store with one of everything that the format holds, and
// returns its content.
func writeSample(t *testing.T, dir string) string {
	t.Helper()
	return writeSampleOf(t, dir, nil)
}

// writeSampleOf is writeSample for a store that is sealed, where keys are given.
func writeSampleOf(t *testing.T, dir string, keys *seal.Credentials) string {
	t.Helper()
	s, err := Open(context.Background(), Options{
		Sealing: keys,
		Dir:     dir, ManualCompaction: true, CarryRows: 4, MergeFanIn: 2, RollupRows: 1, RollupFactor: 1, Now: func() time.Time { return time.Unix(0, sampleClock) },
		Clock: func() (time.Time, time.Duration) { return time.Unix(0, sampleClock), 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &sampler{t: t, s: s}
	w.readings()
	w.rest()
	w.rollups()
	content := dump(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return content
}

// sampler writes the sample.
type sampler struct {
	t *testing.T
	s *Store
}

func (w *sampler) table(tenant telemetry.Tenant, tab *telemetry.Table) *telemetry.Table {
	w.t.Helper()
	if err := w.s.PutTable(context.Background(), tenant, tab, fmt.Appendf(nil, "name: %s\nversion: %d\n", tab.Name, tab.Version)); err != nil {
		w.t.Fatal(err)
	}
	return tab
}

func (w *sampler) commit(c *telemetry.Commit) {
	w.t.Helper()
	st, err := w.s.Stage(context.Background(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := st.Commit(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// rows commits rows of one table: row i is of series i%series, at from + i seconds,
// with the values that value gives.
func (w *sampler) rows(tenant telemetry.Tenant, tab *telemetry.Table, series, n int, from int64, value func(i int) []telemetry.Value) {
	w.t.Helper()
	sec := &telemetry.Section{}
	sec.Reset(tab)
	for i := range n {
		tags := make([][]byte, len(tab.Tags))
		for j := range tags {
			if (i%series+j)%5 != 4 { // some tags are null
				tags[j] = fmt.Appendf(nil, "%s-%d", tab.Tags[j], i%series)
			}
		}
		ref, err := w.s.Series(tenant, tab, fmt.Appendf(nil, "%s/%d", tab.Name, i%series), tags)
		if err != nil {
			w.t.Fatal(err)
		}
		at := from + int64(i)*1e9
		sec.AppendRow(ref, at, at+25e6, value(i))
	}
	w.commit(&telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: tenant, Sections: []*telemetry.Section{sec}}}})
}

// readings writes several tables, versions and tenants, in level 0 and segments.
func (w *sampler) readings() {
	w.t.Helper()
	every := w.table(telemetry.DefaultTenant, &telemetry.Table{
		Name: "every", Version: 1, Tags: []string{"site", "device"}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{
			{Name: "f", Type: telemetry.Float, Unit: "Cel"},
			{Name: "i", Type: telemetry.Int},
			{Name: "b", Type: telemetry.Bool},
			{Name: "s", Type: telemetry.String},
			{Name: telemetry.RestColumn, Type: telemetry.JSON},
		},
	})
	values := func(i int) []telemetry.Value {
		v := []telemetry.Value{
			float(float64(i) / 10),
			{Bits: uint64(int64(i*i) - 50)},
			{Bits: uint64(i & 1)},
			{Text: fmt.Appendf(nil, "text %d", i%4)},
			{Text: fmt.Appendf(nil, `{"n":%d}`, i)},
		}
		v[i%6%5].Null = i%6 < 5 // each column is null now and then
		return v
	}
	wide := *every // a widened type and an added column
	wide.Version = 2
	wide.Columns = append(slices.Clone(every.Columns), telemetry.Column{Name: "extra", Type: telemetry.Float})
	wide.Columns[1].Type = telemetry.Float
	last := w.table(telemetry.DefaultTenant, &telemetry.Table{
		Name: "last", Version: 1, Identity: telemetry.IdentityTime, TimeInPayload: true, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}},
	})
	number := func(of float64) func(i int) []telemetry.Value {
		return func(i int) []telemetry.Value { return []telemetry.Value{float(of + float64(i))} }
	}
	const day = int64(24 * time.Hour)
	w.rows(telemetry.DefaultTenant, every, 7, 60, sampleClock-2*day, values)
	w.rows(telemetry.DefaultTenant, last, 1, 10, sampleClock-day, number(100))
	w.rows("other", w.table("other", env()), 3, 9, sampleClock-day, func(i int) []telemetry.Value {
		return []telemetry.Value{float(float64(i)), float(50), float(1013.25), {Null: true}, {Text: []byte("ok")}}
	})
	w.compact()
	w.table(telemetry.DefaultTenant, &wide)
	w.rows(telemetry.DefaultTenant, &wide, 7, 40, sampleClock-2*day+30e9, func(i int) []telemetry.Value {
		v := append(values(i), float(float64(i)*1.5))
		v[1] = float(float64(i) + 0.5)
		return v
	})
	w.rows(telemetry.DefaultTenant, last, 1, 5, sampleClock-day+3e9, number(200)) // overwrites some
	w.compact()
	for i := range 4 { // a pack
		w.rows(telemetry.DefaultTenant, w.table(telemetry.DefaultTenant, small(i)), 2, 3, sampleClock-day, number(float64(i)))
	}
	w.step(true)
	w.delete("every", sampleClock-2*day+10e9, sampleClock-2*day+13e9)
	w.rows(telemetry.DefaultTenant, every, 7, 20, sampleClock-3650*day, values) // ten years late
	w.rows(telemetry.DefaultTenant, every, 7, 3, 0, values)                     // and of 1970
	w.compact()
	w.rows(telemetry.DefaultTenant, w.table(telemetry.DefaultTenant, pulse()), 2, 12, sampleClock, func(i int) []telemetry.Value {
		return []telemetry.Value{{Bits: uint64(i)}}
	})
	w.rows(telemetry.DefaultTenant, last, 1, 2, sampleClock-day+4e9, number(300)) // overwritten by level 0
	w.rows(telemetry.DefaultTenant, every, 9, 30, sampleClock, values)
}

// delete deletes the rows of a time range.
func (w *sampler) delete(table string, from, to int64) {
	w.t.Helper()
	out, err := w.s.Delete(context.Background(), store.DeleteRequest{
		ScanRequest: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: from, To: to},
		Select: func(_ context.Context, _ store.Scan, u store.Unit, yield func([]int32) error) error {
			var sec telemetry.Section
			if _, err := u.Read(&sec, nil, false); err != nil {
				return err
			}
			var rows []int32
			for i, at := range sec.Time {
				if at >= from && at < to {
					rows = append(rows, int32(i))
				}
			}
			return yield(rows)
		},
	})
	if err != nil || out.Rows == 0 {
		w.t.Fatal(out, err)
	}
}

// rollups makes some of a partition that stays as it is.
func (w *sampler) rollups() {
	w.t.Helper()
	policy := store.Policy{Rollups: []store.Rollup{{Every: time.Minute}, {Every: time.Hour, Keep: 10000 * 24 * time.Hour}}}
	if err := w.s.SetPolicy(telemetry.DefaultTenant, "every", policy); err != nil {
		w.t.Fatal(err)
	}
	if err := w.s.keepAll(context.Background(), w.s.tenant(telemetry.DefaultTenant), true); err != nil {
		w.t.Fatal(err)
	}
	if w.s.Stats().Rollups == 0 {
		w.t.Fatal("no rollups were made")
	}
}

// small is a table of which few rows come.
func small(i int) *telemetry.Table {
	return &telemetry.Table{
		Name: fmt.Sprintf("small%d", i), Version: 1, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{{Name: "v", Type: telemetry.Float}},
	}
}

// step compacts level 0.
func (w *sampler) step(all bool) {
	w.t.Helper()
	for _, tn := range *w.s.tenants.Load() {
		if _, err := w.s.compactLevel0(context.Background(), tn, all); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *sampler) compact() {
	w.t.Helper()
	w.step(false)
	for _, tn := range *w.s.tenants.Load() {
		if _, err := w.s.mergeOne(context.Background(), tn, false); err != nil {
			w.t.Fatal(err)
		}
	}
}

// rest writes quarantine records and ledger entries.
func (w *sampler) rest() {
	w.t.Helper()
	id, _, err := w.s.OpenSession(context.Background(), "mqtt:sample")
	if err != nil {
		w.t.Fatal(err)
	}
	c := &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant}}}
	for i := range 5 {
		c.Batches[0].Quarantine = append(c.Batches[0].Quarantine, telemetry.Quarantined{
			Received: sampleClock + int64(i), Source: "broker", Topic: "every/1", Payload: fmt.Appendf(nil, `{"f":"%d"}`, i), Size: 9,
			Reason: telemetry.ReasonInvalid, Detail: "is not a number", Pointer: "/f", Offset: 5, Schema: "every", Version: 1,
		})
		c.Ledger = append(c.Ledger, telemetry.LedgerOp{Session: id, PacketID: uint16(i + 1), QoS: 1, Kind: telemetry.LedgerPut, Hash: uint64(i) * 0x9e3779b97f4a7c15})
	}
	c.Ledger = append(c.Ledger, telemetry.LedgerOp{Session: id, PacketID: 2, Kind: telemetry.LedgerDrop})
	w.commit(c)
}

// dump is everything that a store gives back, as text: it does not depend on
// where the rows stand. What later formats add comes in lines of its own, so that
// older content.txt stay as they are.
func dump(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	for _, tenant := range []telemetry.Tenant{telemetry.DefaultTenant, "other"} {
		records, err := s.Tables(context.Background(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, r := range records {
			tab := r.Table
			fmt.Fprintf(&b, "table %s %s v%d identity %d %t %q recorded %d tags %q", tenant, tab.Name, tab.Version, tab.Identity, tab.TimeInPayload, r.Document, r.Recorded, tab.Tags)
			for _, c := range tab.Columns {
				fmt.Fprintf(&b, " %s:%s:%s", c.Name, c.Type, c.Unit)
			}
			b.WriteString("\n")
			if !names[r.Table.Name] {
				names[r.Table.Name] = true
				dumpRows(t, &b, s, tenant, r.Table.Name)
			}
		}
		err = s.Quarantined(context.Background(), tenant, store.QuarantineFilter{}, func(q *telemetry.Quarantined) bool {
			fmt.Fprintf(&b, "quarantine %s %d %q %+v\n", tenant, q.ID, q.Payload, q.Reason)
			fmt.Fprintf(&b, "  %d %s %s %d %s %s %d %s %d\n", q.Received, q.Source, q.Topic, q.Size, q.Detail, q.Pointer, q.Offset, q.Schema, q.Version)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, entries, err := s.OpenSession(context.Background(), "mqtt:sample")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fmt.Fprintf(&b, "ledger %d %d %x\n", e.PacketID, e.QoS, e.Hash)
	}
	return b.String()
}

// dumpRows writes the rows of a table, sorted.
func dumpRows(t *testing.T, b *strings.Builder, s *Store, tenant telemetry.Tenant, table string) {
	t.Helper()
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: tenant, Table: table, From: minTime, To: maxTime})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	var names, lines []string
	for _, c := range sc.Columns() {
		names = append(names, c.Name)
	}
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, names, true); err != nil {
			t.Fatal(err)
		}
		for i := range sec.Rows() {
			info := sc.Series(sec.Series[i])
			line := fmt.Sprintf("row %s %s v%d %d received %d %s %v", tenant, table, u.Table().Version, sec.Time[i], sec.Received[i], info.Topic, info.Tags)
			for c := range sec.Columns {
				v := &sec.Columns[c]
				switch {
				case v.Nulls.Get(i):
					line += " null"
				case v.Type.Textual():
					line += fmt.Sprintf(" %q", v.Text(i))
				default:
					line += fmt.Sprintf(" %x", v.Bits[i])
				}
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
}
