package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// packRig stores rows of many tables and counts what lies in segments/.
type packRig struct {
	*testing.T
	dir    string
	opt    Options
	s      *Store
	tables []*telemetry.Table
	want   map[string]int // rows by table
	next   int64
}

func newPackRig(t *testing.T, tables int) *packRig {
	r := &packRig{T: t, dir: t.TempDir(), want: map[string]int{}}
	r.opt = Options{Dir: r.dir, ManualCompaction: true, CarryRows: 100, MergeFanIn: 4, CompactRows: 1 << 20}
	for i := range tables {
		r.tables = append(r.tables, small(i))
	}
	r.open()
	return r
}

func (r *packRig) open() {
	r.Helper()
	if r.s != nil {
		if err := r.s.Close(); err != nil {
			r.Fatal(err)
		}
	}
	r.s = open(r.T, r.opt)
	for _, tab := range r.tables {
		if err := r.s.PutTable(context.Background(), telemetry.DefaultTenant, tab, nil); err != nil {
			r.Fatal(err)
		}
	}
}

// step stores rows of each table and compacts them.
func (r *packRig) step(rows int) {
	r.Helper()
	var secs []*telemetry.Section
	for _, tab := range r.tables {
		ref, err := r.s.Series(telemetry.DefaultTenant, tab, []byte(tab.Name), nil)
		if err != nil {
			r.Fatal(err)
		}
		sec := &telemetry.Section{}
		sec.Reset(tab)
		for range rows {
			r.next++
			sec.AppendRow(ref, r.next, r.next, []telemetry.Value{float(float64(r.next))})
		}
		r.want[tab.Name] += rows
		secs = append(secs, sec)
	}
	commit(r.T, r.s, secs...)
	if _, err := r.s.compactLevel0(context.Background(), r.s.tenant(telemetry.DefaultTenant), false); err != nil {
		r.Fatal(err)
	}
}

func (r *packRig) merge() bool {
	r.Helper()
	merged, err := r.s.mergeOne(context.Background(), r.s.tenant(telemetry.DefaultTenant), false)
	if err != nil {
		r.Fatal(err)
	}
	return merged
}

func (r *packRig) check(when string) {
	r.Helper()
	for _, tab := range r.tables {
		rows := scanAll(r.T, r.s, tab.Name)
		seen := map[string]bool{}
		for _, row := range rows {
			seen[row] = true
		}
		if len(rows) != r.want[tab.Name] || len(seen) != len(rows) {
			r.Fatalf("%s: table %s has %d rows, %d different, want %d", when, tab.Name, len(rows), len(seen), r.want[tab.Name])
		}
	}
}

// files counts the packs and the segments with a file of their own.
func (r *packRig) files() (packs, own int) {
	r.Helper()
	entries, err := os.ReadDir(filepath.Join(r.dir, segmentDir))
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), packExt) {
			packs++
		} else {
			own++
		}
	}
	return packs, own
}

func (r *packRig) expect(when string, packs, own int) {
	r.Helper()
	if p, o := r.files(); p != packs || o != own {
		r.Fatalf("%s: %d packs and %d files of one segment, want %d and %d", when, p, o, packs, own)
	}
	r.check(when)
}

func TestSmallSegmentsOfManyTablesShareAFile(t *testing.T) {
	r := newPackRig(t, 40)
	r.step(4)
	r.expect("few rows are carried", 0, 0) // 160 are not over two tables of 100
	for i := range 3 {
		r.step(30)
		r.expect(fmt.Sprintf("step %d", i), i+1, 0)
	}
	if r.merge() {
		t.Fatal("three packs were merged, the fan-in is four")
	}
	r.open()
	r.expect("opened again", 3, 0)
	r.step(30)
	if !r.merge() || r.merge() {
		t.Fatal("four packs are merged once")
	}
	// 124 rows of each table are no longer small.
	r.expect("merged", 0, 40)
	r.open()
	r.expect("merged and opened again", 0, 40)
}

func TestAPackThatAScanReadsStaysUntilItsEnd(t *testing.T) {
	r := newPackRig(t, 3)
	for range 4 {
		r.step(80)
	}
	sc := scanOf(t, r.s, "small1")
	if !r.merge() {
		t.Fatal("nothing was merged")
	}
	if packs, _ := r.files(); packs != 4 {
		t.Fatalf("%d packs lie there while a scan reads them", packs)
	}
	rows := 0
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, []string{"v"}, false); err != nil {
			t.Fatal(err)
		}
		rows += sec.Rows()
	}
	if rows != 320 {
		t.Fatalf("the scan read %d rows", rows)
	}
	sc.Close()
	r.expect("after the scan", 0, 3)
}

func TestOrphanPacksAreRemovedUnlessADamagedRowMayNameThem(t *testing.T) {
	r := newPackRig(t, 3)
	r.step(80)
	orphan := filepath.Join(r.dir, segmentDir, "00000000000000ff"+packExt)
	if err := os.WriteFile(orphan, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.expect("opened with an orphan", 1, 0)
	if err := r.s.w.exec("UPDATE segments SET pack = pack + 1, crc = crc + 1 WHERE id = (SELECT max(id) FROM segments)"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(orphan, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	if packs, _ := r.files(); packs != 2 {
		t.Fatalf("%d packs lie there", packs)
	}
}

func TestAPackThatIsMostlyDeadIsRewritten(t *testing.T) {
	r := newPackRig(t, 4)
	r.step(60)
	tn := r.s.tenant(telemetry.DefaultTenant)
	// As retention does: the rows of three tables go.
	gone := append([]*segment{}, tn.segs[:3]...)
	c := &compaction{s: r.s, tn: tn}
	if err := c.enter(nil, gone); err != nil {
		t.Fatal(err)
	}
	for _, g := range gone {
		r.want[g.v.table.Name] = 0
	}
	r.expect("three quarters are dead", 1, 0)
	before := fileSize(tn.segs[0].pack.file.path)
	if !r.merge() {
		t.Fatal("it is not rewritten")
	}
	r.expect("rewritten", 0, 1)
	if after := fileSize(r.s.segmentPath(tn.segs[0].id)); after*3 > before {
		t.Errorf("%d bytes of %d are left", after, before)
	}
}

func TestFootersThatAreNotUsedAreLetGo(t *testing.T) {
	r := newPackRig(t, 40)
	r.opt.CacheBytes = 8 << 10
	r.open()
	r.step(90)
	r.check("with room for a few")
	kept := 0
	for _, g := range r.s.tenant(telemetry.DefaultTenant).segs {
		if g.opened != nil {
			kept++
		}
	}
	if kept == 0 || kept > 10 || r.s.footers.bytes > 10<<10 {
		t.Errorf("%d footers of 40 are kept, %d bytes", kept, r.s.footers.bytes)
	}
}

func scanOf(t *testing.T, s *Store, table string) store.Scan {
	t.Helper()
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: minTime, To: maxTime})
	if err != nil {
		t.Fatal(err)
	}
	return sc
}
