package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// victim is a closed, sealed store that somebody without the key changes.
type victim struct {
	tb   testing.TB
	dir  string
	keys *seal.Credentials
	// before is the same store as it was two compactions and some commits ago.
	before string
}

func (v *victim) options(dir string) Options {
	return Options{Dir: dir, ManualCompaction: true, CarryRows: 1, MergeFanIn: 100, Sealing: v.keys}
}

// newVictim makes a store of three segments and three frames above the floor.
func newVictim(tb testing.TB) *victim { return newVictimWith(tb, seal.Holding(seal.NewMaster())) }

// newVictimWith is newVictim with these keys; nil: not sealed.
func newVictimWith(tb testing.TB, keys *seal.Credentials) *victim {
	v := &victim{tb: tb, dir: tb.TempDir(), before: tb.TempDir(), keys: keys}
	s, err := Open(context.Background(), v.options(v.dir))
	if err != nil {
		tb.Fatal(err)
	}
	f := newFleet(tb, s, 20)
	step := func(compact bool) {
		commit(tb, s, f.section(100))
		if compact {
			if err := s.Compact(context.Background()); err != nil {
				tb.Fatal(err)
			}
		}
	}
	step(true)
	strike(tb, s, 2)
	step(false)
	step(false)
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	copyTree(tb, v.dir, v.before)
	if s, err = Open(context.Background(), v.options(v.dir)); err != nil {
		tb.Fatal(err)
	}
	step(true)
	step(true)
	strike(tb, s, 5)
	for range 3 {
		step(false)
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	return v
}

// strike deletes the first rows of each unit.
func strike(tb testing.TB, s *Store, rows int32) {
	tb.Helper()
	deleted, err := s.Delete(context.Background(), store.DeleteRequest{
		ScanRequest: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime},
		Select: func(_ context.Context, _ store.Scan, u store.Unit, yield func([]int32) error) error {
			var first []int32
			for i := range rows {
				first = append(first, i)
			}
			return yield(first)
		},
	})
	if err != nil || deleted.Rows == 0 {
		tb.Fatal(deleted, err)
	}
}

func copyTree(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		tb.Fatal(err)
	}
}

func (v *victim) segmentFiles(dir string) []string {
	v.tb.Helper()
	names, err := filepath.Glob(filepath.Join(dir, segmentDir, "*"))
	if err != nil {
		v.tb.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func (v *victim) sql(dir string, f func(c *conn)) {
	v.tb.Helper()
	c, err := openConn(filepath.Join(dir, catalogFile), false)
	if err != nil {
		v.tb.Fatal(err)
	}
	f(c)
	if err := c.close(); err != nil {
		v.tb.Fatal(err)
	}
}

func (v *victim) exec(c *conn, sql string, args ...driver.Value) {
	v.tb.Helper()
	if err := c.exec(sql, args...); err != nil {
		v.tb.Fatal(err)
	}
}

// ids returns the ids of a table's rows, ascending.
func (v *victim) ids(c *conn, table string) []int64 {
	v.tb.Helper()
	var ids []int64
	err := c.query("SELECT id FROM "+table+" ORDER BY id", func(row []driver.Value) error {
		ids = append(ids, asInt(row[0]))
		return nil
	})
	if err != nil {
		v.tb.Fatal(err)
	}
	return ids
}

// rows reads rows of a table as they are stored.
func (v *victim) rows(dir, table string) (rows [][]driver.Value) {
	v.tb.Helper()
	v.sql(dir, func(c *conn) {
		err := c.query("SELECT * FROM "+table+" ORDER BY id", func(row []driver.Value) error {
			kept := slices.Clone(row)
			for i := range kept {
				if b, ok := kept[i].([]byte); ok {
					kept[i] = slices.Clone(b)
				}
			}
			rows = append(rows, kept)
			return nil
		})
		if err != nil {
			v.tb.Fatal(err)
		}
	})
	return rows
}

func (v *victim) put(c *conn, table string, row []driver.Value) {
	v.tb.Helper()
	v.exec(c, "INSERT OR REPLACE INTO "+table+" VALUES (?"+strings.Repeat(", ?", len(row)-1)+")", row...)
}

// exchange puts the sealed blob of one row into another, with a right checksum.
func (v *victim) exchange(table string, from, to int) {
	rows := v.rows(v.dir, table)
	v.sql(v.dir, func(c *conn) {
		row := slices.Clone(rows[to])
		n := len(row) - 1
		if table == "frames" {
			n--
		}
		row[n] = rows[from][n]
		row[n-1] = int64(rowSum(append(slices.Clone(row[:n-1]), row[n])))
		v.put(c, table, row)
	})
}

func flip(tb testing.TB, path string, at int) {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestWhatSomebodyChangesInASealedStoreIsFound(t *testing.T) {
	original := newVictim(t)
	for _, c := range []struct {
		name string
		do   func(v *victim)
	}{
		{"two segments are swapped", func(v *victim) {
			f := v.segmentFiles(v.dir)
			a, b, c := f[0], f[1], f[0]+".x"
			for _, move := range [][2]string{{a, c}, {b, a}, {c, b}} {
				if err := os.Rename(move[0], move[1]); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"a segment is removed, its row stays", func(v *victim) { remove(t, v.segmentFiles(v.dir)[1]) }},
		{"a segment is removed with its row", func(v *victim) {
			remove(t, v.segmentFiles(v.dir)[1])
			v.sql(v.dir, func(c *conn) { v.exec(c, "DELETE FROM segments WHERE id = ?", v.ids(c, "segments")[1]) })
		}},
		{"a segment is cut off", func(v *victim) {
			if err := os.Truncate(v.segmentFiles(v.dir)[0], fileSize(v.segmentFiles(v.dir)[0])-100); err != nil {
				t.Fatal(err)
			}
		}},
		{"the header of a segment", func(v *victim) { flip(t, v.segmentFiles(v.dir)[0], 8) }},
		{"a page of a segment", func(v *victim) { flip(t, v.segmentFiles(v.dir)[0], 400) }},
		{"the footer of a segment", func(v *victim) { flip(t, v.segmentFiles(v.dir)[0], -60) }},
		{"the trailer of a segment", func(v *victim) { flip(t, v.segmentFiles(v.dir)[0], -20) }},
		{"a frame is removed from the middle", func(v *victim) {
			v.sql(v.dir, func(c *conn) {
				ids := v.ids(c, "frames")
				v.exec(c, "DELETE FROM frames WHERE id = ?", ids[len(ids)-2])
			})
		}},
		{"the first frame above the floor is removed", func(v *victim) {
			v.sql(v.dir, func(c *conn) {
				ids := v.ids(c, "frames")
				v.exec(c, "DELETE FROM frames WHERE id = ?", ids[len(ids)-3])
			})
		}},
		{"the data of two frames is exchanged", func(v *victim) {
			rows := v.rows(v.dir, "frames")
			n := len(rows)
			v.sql(v.dir, func(c *conn) { v.exec(c, "UPDATE frames SET data = ? WHERE id = ?", rows[n-1][4], asInt(rows[n-2][0])) })
		}},
		{"the sealed part of two frames' rows is exchanged", func(v *victim) {
			n := len(v.rows(v.dir, "frames"))
			v.exchange("frames", n-1, n-2)
		}},
		{"an old frame takes the place of a new one", func(v *victim) {
			old, now := v.rows(v.before, "frames"), v.rows(v.dir, "frames")
			row := slices.Clone(old[len(old)-1])
			row[0] = now[len(now)-1][0]
			row[2] = int64(rowSum([]driver.Value{row[0], row[1], row[3]}))
			v.sql(v.dir, func(c *conn) { v.put(c, "frames", row) })
		}},
		{"the tenant's row of before, with a lower floor", func(v *victim) {
			rows := v.rows(v.before, "tenants")
			v.sql(v.dir, func(c *conn) { v.put(c, "tenants", rows[0]) })
		}},
		{"the tenant's row of before, with the frames of before", func(v *victim) {
			tenants, frames := v.rows(v.before, "tenants"), v.rows(v.before, "frames")
			v.sql(v.dir, func(c *conn) {
				v.put(c, "tenants", tenants[0])
				for _, f := range frames {
					v.put(c, "frames", f)
				}
			})
		}},
		{"the sealed part of two segments' rows is exchanged", func(v *victim) { v.exchange("segments", 0, 1) }},
		{"a row of segments is doubled under another id", func(v *victim) {
			row := v.rows(v.dir, "segments")[0]
			row[0] = int64(999)
			row[2] = int64(rowSum([]driver.Value{row[0], row[1], row[3]}))
			v.sql(v.dir, func(c *conn) { v.put(c, "segments", row) })
		}},
		{"a row of deletions is removed", func(v *victim) {
			v.sql(v.dir, func(c *conn) { v.exec(c, "DELETE FROM deletions WHERE id = ?", v.ids(c, "deletions")[1]) })
		}},
		{"all rows of deletions are removed", func(v *victim) {
			v.sql(v.dir, func(c *conn) { v.exec(c, "DELETE FROM deletions") })
		}},
		{"a row of deletions of before, which deletes less", func(v *victim) {
			row := v.rows(v.before, "deletions")[0]
			v.sql(v.dir, func(c *conn) { v.put(c, "deletions", row) })
		}},
		{"the sealed part of two rows of deletions is exchanged", func(v *victim) { v.exchange("deletions", 0, 1) }},
		{"a row of tables", func(v *victim) {
			v.sql(v.dir, func(c *conn) { v.exec(c, "UPDATE tables SET sealed = zeroblob(length(sealed))") })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &victim{tb: t, dir: t.TempDir(), before: original.before, keys: original.keys}
			copyTree(t, original.dir, v.dir)
			if found := v.look(); len(found) != 0 {
				t.Fatalf("before anything was changed: %v", found)
			}
			c.do(v)
			if found := v.look(); len(found) == 0 {
				t.Error("neither reads nor verification tell")
			} else if len(found) < 2 && !strings.Contains(found[0], "open") {
				t.Errorf("only one of the two tells: %v", found)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// look opens the store, reads all of it and verifies it, and returns what that said.
func (v *victim) look() (found []string) {
	s, err := Open(context.Background(), v.options(v.dir))
	if err != nil {
		return []string{"open: " + err.Error()}
	}
	defer func() {
		if err := s.Close(); err != nil {
			v.tb.Error(err)
		}
	}()
	if err := readAll(s, "env"); err != nil {
		found = append(found, "read: "+err.Error())
	}
	var verified Verified
	damage := 0
	err = s.Verify(context.Background(), func(d Damage) {
		if damage++; damage == 1 {
			found = append(found, "verify: "+d.String())
		}
	}, func(now Verified) { verified = now })
	if err != nil {
		v.tb.Fatal(err)
	}
	if len(found) == 0 && (verified.Frames != 3 || verified.Segments != 3 || verified.Bytes == 0) {
		v.tb.Fatalf("verified only %+v", verified)
	}
	return found
}

// readAll reads every unit of a table, and returns the first error.
func readAll(s *Store, table string) error {
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: minTime, To: maxTime})
	if err != nil {
		return err
	}
	defer sc.Close()
	var names []string
	for _, c := range sc.Columns() {
		names = append(names, c.Name)
	}
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, names, true); err != nil {
			return err
		}
	}
	return nil
}

func TestVerifyOfAPlainStoreNamesFileAndPlace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, ManualCompaction: true, CarryRows: 1})
	f := newFleet(t, s, 20)
	commit(t, s, f.section(1000))
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, segmentDir, "*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	flip(t, names[0], 500) // under an open store: what is cached does not hide it
	var found []Damage
	if err := s.Verify(context.Background(), func(d Damage) { found = append(found, d) }, nil); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Kind != "segment" || found[0].File != names[0] || found[0].Offset == 0 || found[0].Length == 0 {
		t.Errorf("found %s", fmt.Sprint(found))
	}
}
