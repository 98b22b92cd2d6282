package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sampleKey opens the sealed stores of testdata.
func sampleKey(t *testing.T) *seal.Credentials {
	t.Helper()
	m, err := seal.ParseMaster([]byte(strings.Repeat("5a", seal.KeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return seal.Holding(m)
}

// TestWriteSealedTestdata is TestWriteTestdata for testdata/sealed-N, and runs
// only when it is asked to as that one does.
func TestWriteSealedTestdata(t *testing.T) {
	if os.Getenv("WEIR_WRITE_TESTDATA") == "" {
		t.Skip("writes testdata; set WEIR_WRITE_TESTDATA=1 after formatVersion was raised")
	}
	to := filepath.Join("testdata", fmt.Sprintf("sealed-%d", formatVersion))
	if _, err := os.Stat(to); err == nil {
		t.Fatalf("%s is there already: a store of a released format is never written again", to)
	}
	work := t.TempDir()
	content := writeSampleOf(t, work, sampleKey(t))
	if err := os.WriteFile(filepath.Join(work, "content.txt"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(work, "LOCK")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(work)); err != nil {
		t.Fatal(err)
	}
}

// Sealed stores of this and earlier formats open, are whole and hold what they held.
func TestSealedStoresOfEachFormatOpen(t *testing.T) {
	stores, err := filepath.Glob("testdata/sealed-*")
	if err != nil || len(stores) == 0 {
		t.Fatal(stores, err)
	}
	for _, from := range stores {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, "content.txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []string{"as it was", "compacted", "opened again"} {
			s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true, Sealing: sampleKey(t)})
			if err != nil {
				t.Fatalf("%s, %s: %v", from, step, err)
			}
			if step == "compacted" {
				if err := s.Compact(context.Background()); err != nil {
					t.Error(from, err)
				}
			}
			if got := dump(t, s); got != string(content) {
				t.Errorf("%s, %s, holds\n%s\nand not\n%s", from, step, got, content)
			}
			if err := s.Verify(context.Background(), func(d Damage) { t.Errorf("%s, %s: %s", from, step, d.String()) }, nil); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// One of everything that the format holds is sealed as it is in clear, and nothing
// of it shows.
func TestASealedSampleHoldsWhatAPlainOneDoes(t *testing.T) {
	plain, dir := writeSample(t, t.TempDir()), t.TempDir()
	if sealed := writeSampleOf(t, dir, sampleKey(t)); sealed != plain {
		t.Errorf("sealed, it holds\n%s\nand in clear\n%s", sealed, plain)
	}
	for path, data := range tree(t, dir) {
		for _, text := range []string{"every/", "site-", "device-", "text 1", `{"n":`, string(telemetry.DefaultTenant), "Cel"} {
			if strings.Contains(data, text) {
				t.Errorf("%s shows %q", path, text)
			}
		}
	}
}

// Each single row that is taken away is missed, with its file where it has one, and
// is still missed when the store has worked on and was opened again.
func TestEachRowThatIsTakenAwayIsMissed(t *testing.T) {
	from := t.TempDir()
	writeSampleOf(t, from, sampleKey(t))
	v := &victim{tb: t, dir: from}
	for _, table := range []string{"segments", "rollups", "deletions", "tables", "series", "ledger", "quarantine", "sessions"} {
		var ids []int64
		v.sql(from, func(c *conn) { ids = v.ids(c, table) })
		if len(ids) == 0 {
			t.Fatalf("the sample has no %s", table)
		}
		for _, id := range ids {
			dir := t.TempDir()
			copyTree(t, from, dir)
			v.sql(dir, func(c *conn) { v.exec(c, "DELETE FROM "+table+" WHERE id = ?", id) })
			if table == "segments" || table == "rollups" {
				_ = os.Remove(filepath.Join(dir, segmentDir, fmt.Sprintf("%016x.seg", id))) // or it is in a pack
			}
			for _, when := range []string{"at once", "later"} {
				s, err := Open(context.Background(), Options{Dir: dir, ManualCompaction: true, Sealing: sampleKey(t)})
				if err != nil {
					t.Fatal(err)
				}
				missed := 0
				err = s.Verify(context.Background(), func(d Damage) {
					if d.Kind == "manifest" {
						missed++
					}
				}, nil)
				if err != nil || missed == 0 {
					t.Errorf("row %d of %s is not missed %s (%v)", id, table, when, err)
				}
				if when == "later" && table != "series" { // whose readings have no topic any more
					accept(t, s)
					if found := damages(t, s); len(found) > 0 {
						t.Errorf("row %d of %s was given up, and verify says %v", id, table, found)
					}
				}
				if when == "at once" {
					if err := s.Compact(context.Background()); err != nil {
						t.Error(err)
					}
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// A manifest of before, which does not speak of deletions, is accepted once: the
// first start writes it anew.
func TestAManifestOfBeforeCoversDeletionsAfterAStart(t *testing.T) {
	dir := t.TempDir()
	copyTree(t, filepath.Join("testdata", "sealed-4"), dir)
	v := &victim{tb: t, dir: dir}
	o := Options{Dir: dir, ManualCompaction: true, Sealing: sampleKey(t)}
	s := open(t, o)
	rows := int64(0)
	for _, tn := range *s.tenants.Load() {
		if rows += tn.manifest.count; tn.manifest.uncovered {
			t.Errorf("the manifest of %s is as it was", tn.name)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var ids []int64
	v.sql(dir, func(c *conn) { ids = v.ids(c, "deletions") })
	if len(ids) == 0 || rows != int64(len(ids)) {
		t.Fatalf("%d rows of deletions, and the manifests have %d", len(ids), rows)
	}
	v.sql(dir, func(c *conn) { v.exec(c, "DELETE FROM deletions WHERE id = ?", ids[0]) })
	s = open(t, o)
	missed := 0
	if err := s.Verify(context.Background(), func(d Damage) { missed++ }, nil); err != nil || missed == 0 {
		t.Errorf("the row that was taken away is not missed (%v)", err)
	}
}

// When a damaged row of deletions goes with its segment, the manifest is right again.
func TestADamagedRowOfDeletionsLeavesTheManifestRight(t *testing.T) {
	v := newVictim(t)
	v.sql(v.dir, func(c *conn) {
		for _, id := range v.ids(c, "deletions")[:2] {
			v.exec(c, "UPDATE deletions SET sealed = zeroblob(length(sealed)) WHERE id = ?", id)
		}
	})
	for range 2 { // one at each start
		s := open(t, v.options(v.dir))
		tn := s.tenant(telemetry.DefaultTenant)
		for _, g := range tn.segs {
			if g.deletion != nil && g.deletion.err != nil {
				m := tn.manifest
				err := s.w.transaction(func() error { return errors.Join(s.deleteSegment(&m, g), s.saveManifest(tn, &m)) })
				if err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, v.options(v.dir))
	if err := s.Verify(context.Background(), func(d Damage) { t.Error(d.String()) }, nil); err != nil {
		t.Error(err)
	}
}

// The sealed part of a row belongs to that row: where two rows of sessions, which no
// manifest covers, exchange theirs with right checksums, neither is believed.
func TestASealedRowIsTiedToItsPlace(t *testing.T) {
	v := &victim{tb: t, dir: t.TempDir(), keys: seal.Holding(seal.NewMaster())}
	keys := []string{"mqtt:one", "mqtt:two"}
	s := open(t, v.options(v.dir))
	for i, key := range keys {
		id, _, err := s.OpenSession(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		st, err := s.Stage(context.Background(), &telemetry.Commit{Ledger: []telemetry.LedgerOp{
			{Session: id, PacketID: uint16(i + 1), QoS: 1, Kind: telemetry.LedgerPut, Hash: uint64(i)},
		}})
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
	rows := v.rows(v.dir, "sessions")
	if len(rows) != len(keys) {
		t.Fatalf("%d rows of sessions", len(rows))
	}
	v.sql(v.dir, func(c *conn) {
		for i := range rows {
			row := []driver.Value{rows[i][0], int64(0), rows[1-i][2]}
			row[1] = int64(rowSum([]driver.Value{row[0], row[2]}))
			v.put(c, "sessions", row)
		}
	})
	s = open(t, v.options(v.dir))
	for i, key := range keys {
		_, entries, err := s.OpenSession(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 0 {
			t.Errorf("%s has the ledger entries %v, it wrote packet %d", key, entries, i+1)
		}
	}
	if aside, err := filepath.Glob(filepath.Join(v.dir, "damaged", "*sessions*")); err != nil || len(aside) != len(keys) {
		t.Errorf("set aside are %q, %v", aside, err)
	}
}
