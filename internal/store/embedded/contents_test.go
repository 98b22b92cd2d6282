package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// TestWhatASealedStoreCountsFitsWhateverItDoes lets quarantine records come, go by
// budget and be resolved, and sessions come and go, of two tenants, with starts in
// between, orderly and after a crash: nothing is ever said to be missing.
func TestWhatASealedStoreCountsFitsWhateverItDoes(t *testing.T) {
	rng, dir, keyFile := testkit.Random(t), t.TempDir(), filepath.Join(t.TempDir(), "master.key")
	if err := seal.Init(keyFile); err != nil {
		t.Fatal(err)
	}
	opt, err := killOptions(dir, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	opt.ManualCompaction, opt.QuarantineRecords = true, 40
	s, err := Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	tenants := []telemetry.Tenant{telemetry.DefaultTenant, "other"}
	clients, records := 0, 0
	for step := range 120 {
		switch n := rng.IntN(10); {
		case n < 6:
			c := &telemetry.Commit{}
			for _, tenant := range tenants[:1+rng.IntN(2)] {
				b := &telemetry.Batch{Tenant: tenant}
				for range rng.IntN(12) {
					records++
					b.Quarantine = append(b.Quarantine, telemetry.Quarantined{Topic: fmt.Sprintf("bad/%d", records), Payload: []byte("{"), Reason: telemetry.ReasonInvalid})
				}
				for range rng.IntN(5) {
					b.Resolved = append(b.Resolved, rng.Int64N(int64(records+1)))
				}
				if rng.IntN(2) == 0 {
					table := env()
					if err := s.PutTable(context.Background(), tenant, table, nil); err != nil {
						t.Fatal(err)
					}
					ref, err := s.Series(tenant, table, fmt.Appendf(nil, "d/%d", step), [][]byte{[]byte("d"), nil, nil})
					if err != nil {
						t.Fatal(err)
					}
					sec := &telemetry.Section{}
					sec.Reset(table)
					sec.AppendRow(ref, int64(step), 1, []telemetry.Value{float(1), float(2), float(3), float(4), {Text: []byte("ok")}})
					b.Sections = append(b.Sections, sec)
				}
				c.Batches = append(c.Batches, b)
			}
			if rng.IntN(2) == 0 {
				clients++
				id, _, err := s.OpenSession(context.Background(), fmt.Sprintf("client %d", rng.IntN(clients+1)))
				if err != nil {
					t.Fatal(err)
				}
				c.Ledger = []telemetry.LedgerOp{{Session: id, PacketID: uint16(step), QoS: 1, Kind: telemetry.LedgerPut, Hash: 1}, {Session: id, PacketID: uint16(step), Kind: telemetry.LedgerDrop}}
			}
			st, err := s.Stage(context.Background(), c)
			if err == nil {
				err = st.Commit(context.Background())
			}
			if err != nil {
				t.Fatal(err)
			}
		case n == 6:
			if err := s.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		case n == 7: // sessions that nobody used for long
			l := s.ledger
			l.mu.Lock()
			for key, id := range l.ids {
				if l.sessions[id] == nil && len(l.forgotten) < 2 && !isUnsaved(l, key) {
					delete(l.ids, key)
					l.forgotten = append(l.forgotten, forgottenSession{id, key})
				}
			}
			l.mu.Unlock()
		default:
			if n == 8 { // a crash: the log is not copied into the database
				crashed := t.TempDir()
				copyTree(t, dir, crashed)
				if err := os.Remove(filepath.Join(crashed, "LOCK")); err != nil {
					t.Fatal(err)
				}
				dir = crashed
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			opt.Dir = dir
			if s, err = Open(context.Background(), opt); err != nil {
				t.Fatal(err)
			}
		}
		if lost := s.Losses(); len(lost) > 0 {
			t.Fatalf("step %d: %+v", step, lost)
		}
	}
	if found := damages(t, s); len(found) > 0 {
		t.Error(found)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := DestroyTenant(context.Background(), opt, "other", ""); err != nil {
		t.Fatal(err)
	}
	fresh, err := killOptions(dir, keyFile) // with the new key
	if err != nil {
		t.Fatal(err)
	}
	opt.Sealing = fresh.Sealing
	for range 2 {
		if s, err = Open(context.Background(), opt); err != nil {
			t.Fatal(err)
		}
		if found := damages(t, s); len(found) > 0 {
			t.Error("after a tenant was destroyed:", found)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func isUnsaved(l *ledger, key string) bool {
	for _, u := range l.unsaved {
		if u == key {
			return true
		}
	}
	return false
}

// TestAnOldCountIsNotBelieved puts back the row that counts as it was, together with
// the tables that it counts, or takes it away.
func TestAnOldCountIsNotBelieved(t *testing.T) {
	v := &victim{tb: t, dir: t.TempDir(), before: t.TempDir(), keys: seal.Holding(seal.NewMaster())}
	quarantine := func(topic string) {
		t.Helper()
		s, err := Open(context.Background(), v.options(v.dir))
		if err != nil {
			t.Fatal(err)
		}
		f := newFleet(t, s, 2)
		if topic == "two" {
			f.section(20) // what was stored the first time
		}
		bad := telemetry.Quarantined{Topic: topic, Payload: []byte("{"), Reason: telemetry.ReasonInvalid}
		for _, q := range [][]telemetry.Quarantined{{bad}, nil} {
			st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{
				Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{f.section(10)}, Quarantine: q,
			}}})
			if err == nil {
				err = st.Commit(context.Background())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	quarantine("one")
	copyTree(t, v.dir, v.before)
	quarantine("two")
	var old []driver.Value
	v.sql(v.before, func(c *conn) {
		err := c.query("SELECT name, crc, sealed FROM counters WHERE name = 'contents'", func(row []driver.Value) error {
			old = append(old, row[0], row[1], append([]byte(nil), row[2].([]byte)...))
			return nil
		})
		if err != nil || len(old) != 3 {
			t.Fatal(old, err)
		}
	})
	for name, do := range map[string]func(c *conn){
		"put back": func(c *conn) {
			v.exec(c, "INSERT OR REPLACE INTO counters (name, crc, sealed) VALUES (?, ?, ?)", old...)
		},
		"removed": func(c *conn) { v.exec(c, "DELETE FROM counters WHERE name = 'contents'") },
		"edited": func(c *conn) {
			v.exec(c, "UPDATE counters SET sealed = zeroblob(length(sealed)) WHERE name = 'contents'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			copyTree(t, v.dir, dir)
			v.sql(dir, func(c *conn) {
				ids := v.ids(c, "quarantine")
				v.exec(c, "DELETE FROM quarantine WHERE id = ?", ids[len(ids)-1])
				do(c)
			})
			for _, when := range []string{"at once", "later"} {
				s, err := Open(context.Background(), v.options(dir))
				if err != nil {
					t.Fatal(err)
				}
				if len(damages(t, s)) == 0 {
					t.Errorf("nothing is said %s", when)
				}
				err = s.Quarantined(context.Background(), telemetry.DefaultTenant, store.QuarantineFilter{}, func(*telemetry.Quarantined) bool { return true })
				if telemetry.CodeOf(err) != telemetry.CodeDamaged {
					t.Errorf("the listing says %v", err)
				}
				if when == "later" {
					accept(t, s)
					if found := damages(t, s); len(found) > 0 {
						t.Errorf("given up: %v", found)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
