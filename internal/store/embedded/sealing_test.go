package embedded

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// tree is every file below a directory, with its bytes.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestKeysThatDoNotFitTheDirectoryChangeNothing(t *testing.T) {
	keys := seal.Holding(seal.NewMaster())
	fill := func(t *testing.T, o Options) string {
		t.Helper()
		o.Dir, o.ManualCompaction = t.TempDir(), true
		s, err := Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, newFleet(t, s, 5).section(10))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return o.Dir
	}
	for name, c := range map[string]struct {
		made, opened *seal.Credentials
		change       func(dir string) error
		says, hint   string
	}{
		"another key": {keys, seal.Holding(seal.NewMaster()), nil, "is not the one", "nothing was changed"},
		"off":         {keys, nil, nil, "encryption is off", "encryption.enabled"},
		"on":          {nil, keys, nil, "encryption is on", "export it and import it"},
		"no ring": {keys, keys, func(dir string) error {
			return os.Remove(filepath.Join(dir, seal.CopyFile))
		}, "", ""},
		"neither ring": {keys, keys, func(dir string) error {
			_ = os.Remove(filepath.Join(dir, seal.CopyFile))
			return os.Remove(filepath.Join(dir, seal.RingFile))
		}, "its key ring is missing", "put back the file keyring"},
	} {
		for _, readOnly := range []bool{false, true} {
			dir := fill(t, Options{Sealing: c.made})
			if c.change != nil {
				if err := c.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, dir)
			s, err := Open(context.Background(), Options{Dir: dir, Sealing: c.opened, ReadOnly: readOnly, ManualCompaction: true})
			if c.says == "" {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				} else if err := s.Close(); err != nil {
					t.Error(err)
				}
				continue
			}
			var e *telemetry.Error
			if !errors.As(err, &e) || e.Code != telemetry.CodeInvalid || !strings.Contains(e.Error(), c.says) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%s, read only %v: %v", name, readOnly, err)
				continue
			}
			after := tree(t, dir)
			for path, data := range after {
				if was, ok := before[path]; !ok || was != data {
					t.Errorf("%s: %s was written", name, path)
				}
			}
			if len(after) != len(before) {
				t.Errorf("%s: %d files of %d", name, len(after), len(before))
			}
		}
	}
}

func TestADestroyedTenantIsGoneAndTheOthersStay(t *testing.T) {
	const other = telemetry.Tenant("other plant")
	dir, keyFile := t.TempDir(), filepath.Join(t.TempDir(), "master.key")
	if err := seal.Init(keyFile); err != nil {
		t.Fatal(err)
	}
	options := func() Options {
		o, err := killOptions(dir, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		o.ManualCompaction, o.CarryRows = true, 1
		return o
	}
	open := func(o Options) *Store {
		s, err := Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	closed := func(s *Store) {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	old := options()
	s := open(old)
	f := newFleet(t, s, 5)
	commit(t, s, f.section(100))
	if err := s.PutTable(context.Background(), other, f.table, nil); err != nil {
		t.Fatal(err)
	}
	topic, tags := deviceKey(1)
	ref, err := s.Series(other, f.table, topic, tags)
	if err != nil {
		t.Fatal(err)
	}
	sec := &telemetry.Section{}
	sec.Reset(f.table)
	sec.AppendRow(ref, 1, 1, []telemetry.Value{float(1), float(2), float(3), float(4), {Text: []byte("ok")}})
	put := func(s *Store, rows *telemetry.Section) {
		st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{
			Tenant: other, Sections: []*telemetry.Section{rows}, Quarantine: []telemetry.Quarantined{{Topic: "bad", Payload: []byte("{")}},
		}}})
		if err == nil {
			err = st.Commit(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(s, sec)
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, f.section(50))
	put(s, sec)
	closed(s)
	copied := t.TempDir()
	copyTree(t, dir, copied)

	if err := DestroyTenant(context.Background(), options(), "nobody", ""); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Error("a tenant that is not there:", err)
	}
	forgotten := 0
	o := options()
	o.Forget = func(name telemetry.Tenant) error {
		if forgotten++; name != other {
			t.Errorf("%s is forgotten", name)
		}
		return nil
	}
	if err := DestroyTenant(context.Background(), o, other, ""); err != nil || forgotten != 1 {
		t.Fatal(err, forgotten)
	}
	s = open(options())
	if got := scanAll(t, s, "env"); len(got) != 150 {
		t.Errorf("the other tenant has %d rows of 150", len(got))
	}
	count := func(s *Store) (records int, err error) {
		err = s.Quarantined(context.Background(), other, store.QuarantineFilter{}, func(*telemetry.Quarantined) bool { records++; return true })
		return records, err
	}
	if _, err := s.Scan(context.Background(), store.ScanRequest{Tenant: other, Table: "env", From: minTime, To: maxTime}); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Error("the destroyed tenant's table:", err)
	}
	if n, err := count(s); n != 0 || err != nil {
		t.Errorf("%d records of the destroyed tenant, %v", n, err)
	}
	// It goes on, empty.
	if err := s.PutTable(context.Background(), other, f.table, nil); err != nil {
		t.Fatal(err)
	}
	if sec.Series[0], err = s.Series(other, f.table, topic, tags); err != nil {
		t.Fatal(err)
	}
	put(s, sec)
	if n, err := count(s); n != 1 || err != nil {
		t.Errorf("%d records after it, %v", n, err)
	}
	damage := 0
	if err := s.Verify(context.Background(), func(d Damage) { damage++; t.Error(d.String()) }, nil); err != nil {
		t.Error(err)
	}
	closed(s)

	// A copy of before opens with the old key only, and the new ring has none of
	// the tenant's keys for it.
	if err := seal.Probe(copied, options().Sealing); err == nil {
		t.Error("the new master key opens a copy of before")
	}
	if err := seal.Probe(dir, old.Sealing); err == nil {
		t.Error("the old master key opens the directory")
	}
	for _, name := range []string{seal.RingFile, seal.CopyFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || os.WriteFile(filepath.Join(copied, name), data, 0o600) != nil {
			t.Fatal(err)
		}
	}
	o = options()
	o.Dir = copied
	if s, err := Open(context.Background(), o); err == nil {
		if sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: other, Table: "env", From: minTime, To: maxTime}); err == nil {
			for _, u := range sc.Units() {
				if _, err := u.Read(&telemetry.Section{}, nil, false); err == nil {
					t.Error("destroyed rows of a copy are read with the new ring")
				}
			}
			sc.Close()
		}
		closed(s)
	}
}

// A kill between the new ring and the clearing away is made up for.
func TestADestructionThatWasInterruptedIsCompleted(t *testing.T) {
	v := newVictim(t)
	keyFile := filepath.Join(t.TempDir(), "new.key")
	o := v.options(v.dir)
	ring, release, err := lockedRing(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Destroy(string(telemetry.DefaultTenant), keyFile); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if o.Sealing, err = (seal.Source{File: keyFile}).Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	if _, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime}); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Error(err)
	}
	if names := v.segmentFiles(v.dir); len(names) != 0 || len(s.Ring().Destroyed()) != 0 {
		t.Errorf("left are %q", names)
	}
}

// What is set aside as damaged is as sealed as it was.
func TestWhatIsSetAsideStaysSealed(t *testing.T) {
	v := newVictim(t)
	rows := v.rows(v.dir, "frames")
	data := bytes.Clone(rows[len(rows)-1][4].([]byte))
	data[len(data)/2] ^= 1
	v.sql(v.dir, func(c *conn) { v.exec(c, "UPDATE frames SET data = ? WHERE id = ?", data, asInt(rows[len(rows)-1][0])) })
	s := open(t, v.options(v.dir))
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	aside, err := filepath.Glob(filepath.Join(v.dir, "damaged", "*"))
	if err != nil || len(aside) != 1 {
		t.Fatal(aside, err)
	}
	if got, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
