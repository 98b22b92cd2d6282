package embedded

import (
	"context"
	"errors"
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

// lossCase is damage, and what a person gives up for it.
type lossCase struct {
	name   string
	sealed bool // only there it is noticed
	do     func(v *victim)
	kinds  []string
	// lost is how many readings are gone: what was in these segments, by the order
	// of their ids, or a number where it is below zero.
	lost []int
	more int
	// apart says that other times still answer before anything is given up.
	apart bool
}

func (v *victim) swap() {
	f := v.segmentFiles(v.dir)
	for _, move := range [][2]string{{f[0], f[0] + ".x"}, {f[1], f[0]}, {f[0] + ".x", f[1]}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			v.tb.Fatal(err)
		}
	}
}

func lossCases(t *testing.T) []lossCase {
	return []lossCase{
		{name: "a file is missing", do: func(v *victim) { remove(t, v.segmentFiles(v.dir)[1]) }, kinds: []string{LossSegment}, lost: []int{1}, apart: true},
		{name: "all files are missing", do: func(v *victim) {
			for _, f := range v.segmentFiles(v.dir) {
				remove(t, f)
			}
		}, kinds: []string{LossSegment, LossSegment, LossSegment}, lost: []int{0, 1, 2}},
		{name: "a file is cut off", do: func(v *victim) {
			if err := os.Truncate(v.segmentFiles(v.dir)[0], fileSize(v.segmentFiles(v.dir)[0])-100); err != nil {
				t.Fatal(err)
			}
		}, kinds: []string{LossSegment}, lost: []int{0}, apart: true},
		{name: "the footer of a file is edited", do: func(v *victim) { flip(t, v.segmentFiles(v.dir)[2], -60) }, kinds: []string{LossSegment}, lost: []int{2}, apart: true},
		{name: "a page of a file is edited", do: func(v *victim) { flip(t, v.segmentFiles(v.dir)[0], 400) }, kinds: []string{LossSegment}, lost: []int{0}, apart: true},
		{name: "two files are exchanged", sealed: true, do: func(v *victim) { v.swap() }, kinds: []string{LossSegment, LossSegment}, lost: []int{0, 1}, apart: true},
		{name: "a file is removed with its row", sealed: true, do: func(v *victim) {
			remove(t, v.segmentFiles(v.dir)[1])
			v.sql(v.dir, func(c *conn) { v.exec(c, "DELETE FROM segments WHERE id = ?", v.ids(c, "segments")[1]) })
		}, kinds: []string{LossRows}, lost: []int{1}},
		{name: "the row of a file is damaged", do: func(v *victim) {
			v.sql(v.dir, func(c *conn) { v.exec(c, "UPDATE segments SET crc = crc + 1 WHERE id = ?", v.ids(c, "segments")[1]) })
		}, kinds: []string{LossSegment}, lost: []int{1}},
		{name: "a frame is removed from the middle", sealed: true, do: func(v *victim) {
			v.sql(v.dir, func(c *conn) {
				ids := v.ids(c, "frames")
				v.exec(c, "DELETE FROM frames WHERE id = ?", ids[len(ids)-2])
			})
		}, kinds: []string{LossFrames}, more: 100},
		{name: "a list of deleted readings is damaged", do: func(v *victim) {
			v.sql(v.dir, func(c *conn) { v.exec(c, "UPDATE deletions SET crc = crc + 1 WHERE id = ?", v.ids(c, "deletions")[0]) })
		}, kinds: []string{LossDeletion}, more: -7, apart: true},
		{name: "the lists of deleted readings are removed", sealed: true, do: func(v *victim) {
			v.sql(v.dir, func(c *conn) { v.exec(c, "DELETE FROM deletions") })
		}, kinds: []string{LossRows}, more: -17},
	}
}

// countReadings counts the readings of a time, and returns the first error.
func countReadings(s *Store, from, to int64) (rows int, err error) {
	sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: from, To: to})
	if err != nil {
		return 0, err
	}
	defer sc.Close()
	var sec telemetry.Section
	var names []string
	for _, c := range sc.Columns() {
		names = append(names, c.Name)
	}
	for _, u := range sc.Units() {
		if _, e := u.Read(&sec, names, true); e != nil {
			err = errors.Join(err, e)
			continue
		}
		for _, at := range sec.Time {
			if at >= from && at < to {
				rows++
			}
		}
	}
	return rows, err
}

func damages(t *testing.T, s *Store) (found []string) {
	t.Helper()
	if err := s.Verify(context.Background(), func(d Damage) { found = append(found, d.String()) }, nil); err != nil {
		t.Fatal(err)
	}
	return found
}

// accept gives up all that is lost, and returns what that was.
func accept(t *testing.T, s *Store) []Loss {
	t.Helper()
	lost, err := s.FindLosses(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AcceptLosses(context.Background(), lost); err != nil {
		t.Fatal(err)
	}
	return lost
}

// TestALossIsGivenUpAndTheRestGoesOn damages stores, in clear and sealed. What does
// not touch the damage answers, what does says what it misses and what to do; when the
// loss is given up all scans answer, without what was lost and with all the rest, after
// a start, a compaction and a rewrite too; and the store says ever after what it was.
func TestALossIsGivenUpAndTheRestGoesOn(t *testing.T) {
	for _, keys := range []*seal.Credentials{nil, seal.Holding(seal.NewMaster())} {
		original := newVictimWith(t, keys)
		for _, c := range lossCases(t) {
			if c.sealed && keys == nil {
				continue
			}
			name := "in clear: "
			if keys != nil {
				name = "sealed: "
			}
			t.Run(name+c.name, func(t *testing.T) {
				v := &victim{tb: t, dir: t.TempDir(), keys: keys}
				copyTree(t, original.dir, v.dir)
				giveUp(t, v, &c)
			})
		}
	}
}

func giveUp(t *testing.T, v *victim, c *lossCase) {
	now := time.Unix(0, sampleClock)
	opt := v.options(v.dir)
	opt.Now = func() time.Time { return now }
	open := func() *Store {
		t.Helper()
		s, err := Open(context.Background(), opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	all, err := countReadings(s, minTime, maxTime)
	if err != nil {
		t.Fatal(err)
	}
	segs := slices.Clone(s.tenant(telemetry.DefaultTenant).segs)
	slices.SortFunc(segs, func(a, b *segment) int { return int(a.id - b.id) })
	want, inSegment := all-c.more, map[int]int{}
	for _, i := range c.lost {
		n := int(segs[i].rows)
		if d := segs[i].deletion; d != nil {
			n -= int(d.rows)
		}
		want -= n
		inSegment[i] = n
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	c.do(v)
	s = open()
	_, err = countReadings(s, minTime, maxTime)
	var te *telemetry.Error
	if !errors.As(err, &te) || te.Code != telemetry.CodeDamaged || !strings.Contains(te.Hint, "--accept-loss") {
		t.Fatalf("a scan of all says %v", err)
	}
	for i, g := range segs {
		n, err := countReadings(s, g.minTime, g.maxTime+1)
		if _, lost := inSegment[i]; c.apart && !lost && c.kinds[0] != LossDeletion && (err != nil || n == 0) {
			t.Errorf("the times of segment %d, which is whole, give %d, %v", i, n, err)
		}
	}
	if len(damages(t, s)) == 0 {
		t.Error("it verifies")
	}
	lost := accept(t, s)
	var kinds []string
	for _, l := range lost {
		kinds = append(kinds, l.Kind)
	}
	if !slices.Equal(kinds, c.kinds) {
		t.Errorf("given up are %v, want %v: %+v", kinds, c.kinds, lost)
	}
	for at, i := range c.lost {
		if l := lost[min(at, len(lost)-1)]; l.Kind == LossSegment && l.Rows >= 0 && (l.Table != "env" || l.Rows != int64(inSegment[i]) || l.From != segs[i].minTime || l.To != segs[i].maxTime) {
			t.Errorf("of segment %d the loss says %s", i, l.Extent())
		}
	}
	for _, when := range []string{"given up", "opened again", "compacted", "rewritten", "opened at last"} {
		switch when {
		case "opened again", "opened at last":
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
		case "rewritten":
			now = now.Add(2 * time.Hour)
			fallthrough
		case "compacted":
			if err := s.Compact(context.Background()); err != nil {
				t.Fatal(when, err)
			}
		}
		if n, err := countReadings(s, minTime, maxTime); err != nil || n != want {
			t.Errorf("%s: %d readings instead of %d, %v", when, n, want, err)
		}
		if found := damages(t, s); len(found) > 0 {
			t.Errorf("%s: %v", when, found)
		}
		noted := s.Losses()
		if len(noted) != len(c.kinds) || noted[0].Accepted == 0 || noted[0].What == "" {
			t.Errorf("%s, the store says of its losses: %+v", when, noted)
		}
	}
	if n, err := s.FindLosses(context.Background(), nil); err != nil || len(n) > 0 {
		t.Errorf("still lost: %v, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v.keys == nil {
		return
	}
	// Nobody without the key makes it unsaid.
	for _, sql := range []string{"DELETE FROM losses WHERE id = 1", "UPDATE losses SET sealed = zeroblob(length(sealed))"} {
		again := &victim{tb: t, dir: t.TempDir(), keys: v.keys}
		copyTree(t, v.dir, again.dir)
		again.sql(again.dir, func(c *conn) { again.exec(c, sql) })
		opt.Dir = again.dir
		s = open()
		if len(damages(t, s)) == 0 {
			t.Errorf("nothing is said after %s", sql)
		}
		// It can be given up as well, and says so.
		accept(t, s)
		if found := damages(t, s); len(found) > 0 {
			t.Errorf("given up after %s: %v", sql, found)
		}
		if n, err := countReadings(s, minTime, maxTime); err != nil || n != want {
			t.Errorf("given up after %s: %d readings, %v", sql, n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBlocksThatAreDamagedAreGivenUpAloneAndGoWithARewrite damages one block of a
// segment of many.
func TestBlocksThatAreDamagedAreGivenUpAloneAndGoWithARewrite(t *testing.T) {
	for _, keys := range []*seal.Credentials{nil, seal.Holding(seal.NewMaster())} {
		now := time.Unix(0, sampleClock)
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, ManualCompaction: true, CarryRows: 1, Sealing: keys, Now: func() time.Time { return now }})
		f := newFleet(t, s, 20)
		commit(t, s, f.section(40_000))
		if err := s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		g := s.tenant(telemetry.DefaultTenant).segs[0]
		seg, err := s.openSegment(g)
		if err != nil || len(seg.Blocks()) < 4 {
			t.Fatal(err, "the segment has too few blocks")
		}
		b := seg.Blocks()[2]
		strike(t, s, 3) // of each block, the damaged one too
		all, err := countReadings(s, minTime, maxTime)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, s.segmentPath(g.id), int(b.Offset)+20)
		s.files.close()
		s.files.closed = false
		s.heads = headCache{limit: s.heads.limit}
		if _, err := countReadings(s, minTime, maxTime); telemetry.CodeOf(err) != telemetry.CodeDamaged || !strings.Contains(err.Error(), "readings of env from") {
			t.Fatalf("a scan of all says %v", err)
		}
		lost := accept(t, s)
		if len(lost) != 1 || lost[0].Kind != LossBlocks || lost[0].Rows != int64(b.Rows)-3 || lost[0].From != b.MinTime || lost[0].To != b.MaxTime {
			t.Fatalf("given up: %+v", lost)
		}
		want := all - int(lost[0].Rows)
		for _, when := range []string{"given up", "rewritten"} {
			if n, err := countReadings(s, minTime, maxTime); err != nil || n != want {
				t.Errorf("%s: %d readings instead of %d, %v", when, n, want, err)
			}
			if found := damages(t, s); len(found) > 0 {
				t.Errorf("%s: %v", when, found)
			}
			now = now.Add(2 * time.Hour)
			if err := s.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if g := s.tenant(telemetry.DefaultTenant).segs[0]; g.deletion != nil || g.rows != int64(want) {
			t.Errorf("the segment has %d rows, and a deletion: %v", g.rows, g.deletion != nil)
		}
	}
}

// TestALossThatChangesIsNotGivenUpUnseen: what was shown is given up, or nothing.
func TestALossThatChangesIsNotGivenUpUnseen(t *testing.T) {
	v := newVictimWith(t, nil)
	s, err := Open(context.Background(), v.options(v.dir))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files := v.segmentFiles(v.dir)
	aside := filepath.Join(t.TempDir(), "file")
	if err := os.Rename(files[0], aside); err != nil {
		t.Fatal(err)
	}
	lost, err := s.FindLosses(context.Background(), nil)
	if err != nil || len(lost) != 1 {
		t.Fatal(lost, err)
	}
	if err := os.Rename(aside, files[0]); err != nil { // it came back
		t.Fatal(err)
	}
	if err := s.AcceptLosses(context.Background(), lost); telemetry.CodeOf(err) != telemetry.CodeConflict {
		t.Errorf("it says %v", err)
	}
	if n, err := countReadings(s, minTime, maxTime); err != nil || len(s.Losses()) != 0 || fileSize(files[0]) == 0 {
		t.Errorf("something was given up: %d readings are left, %v", n, err)
	}
}
