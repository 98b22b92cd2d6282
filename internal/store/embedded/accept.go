package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// AcceptLosses gives up what FindLosses found, all of it in one transaction that also
// writes it down in table losses. A whole segment goes from the catalog; of one that
// is damaged in places the rows of these blocks are struck out, as a deletion strikes
// them out, and the rest stays. What is left of the files is set aside.

// AcceptLosses gives up the losses, which FindLosses returned, so that scans go on
// without them. It refuses when what is lost is no longer that.
func (s *Store) AcceptLosses(ctx context.Context, want []Loss) error {
	if err := s.writable("give up what is lost"); err != nil {
		return err
	}
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	for _, tn := range s.tenantsInOrder() {
		if slices.ContainsFunc(want, func(l Loss) bool { return l.Tenant == tn.name }) {
			// What is left of damaged commits and versions of tables is set aside by this.
			if err := s.emptyLevel0(ctx, tn); err != nil {
				return err
			}
		}
	}
	f := &lossFinder{s: s, only: map[lossPart]bool{}}
	for i := range want {
		f.only[partOf(&want[i])] = true
	}
	if err := f.find(ctx); err != nil {
		return err
	}
	if err := f.match(want); err != nil {
		return err
	}
	for _, it := range f.items {
		if it.seg != nil && it.runs == nil {
			if err := s.setSegmentAside(it.seg); err != nil {
				return err
			}
		}
	}
	return s.enterLosses(f.items)
}

// match checks that what was found is what is wanted.
func (f *lossFinder) match(want []Loss) error {
	same := func(a, b *Loss) bool {
		return partOf(a) == partOf(b) && a.Table == b.Table && a.Rows == b.Rows && a.From == b.From && a.To == b.To && a.What == b.What
	}
	found := 0
	for i := range want {
		if slices.ContainsFunc(f.items, func(it *lossItem) bool { return same(&it.Loss, &want[i]) }) {
			found++
		}
	}
	if found != len(want) || found != len(f.items) {
		return telemetry.Errorf(telemetry.CodeConflict, "give up what is lost", "what is lost has changed meanwhile").
			WithHint("nothing was given up; run the command again")
	}
	return nil
}

// setSegmentAside keeps what there is of a segment that is given up, so that a person
// can look at it. It is durable when this returns: the segment itself goes next.
func (s *Store) setSegmentAside(g *segment) error {
	from, err := os.Open(s.pathOf(g))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	aside := func(err error) error {
		return telemetry.Errorf(telemetry.CodeUnavailable, "set damaged segment aside", "%w", err).WithHint("nothing was given up")
	}
	if err != nil {
		return aside(err)
	}
	defer func() { _ = from.Close() }() // it was only read
	dir := filepath.Join(s.opt.Dir, "damaged")
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return aside(err)
	}
	to := filepath.Join(dir, fmt.Sprintf("segment-%016x", g.id))
	if g.pack == nil && os.Link(from.Name(), to) == nil {
		if err := durable.SyncDir(dir); err != nil {
			return aside(err)
		}
		return nil
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return aside(err)
	}
	r := io.Reader(from)
	if g.pack != nil {
		r = io.NewSectionReader(from, g.start, g.size)
	}
	_, err = io.Copy(out, r)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		_ = os.Remove(to) // a part is of no use
		return aside(err)
	}
	if err := durable.SyncDir(dir); err != nil {
		return aside(err)
	}
	return nil
}

// enterLosses makes the giving up durable, and shows it.
func (s *Store) enterLosses(items []*lossItem) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return errClosed("give up what is lost")
	}
	now, manifests, contents := s.opt.Now().UnixNano(), map[*tenant]*manifest{}, s.contents
	for _, it := range items {
		if manifests[it.tn] == nil {
			m := it.tn.manifest
			manifests[it.tn] = &m
		}
	}
	err := s.w.transaction(func() error {
		for _, it := range items {
			if err := s.giveUp(manifests[it.tn], it, now); err != nil {
				return err
			}
			if it.table == "quarantine" {
				contents.quarantine.remove(contents.quarantined(it.id))
			}
		}
		for tn, m := range manifests {
			if err := s.recount(tn, m); err != nil {
				return err
			}
		}
		for _, it := range items {
			if err := s.writeLoss(manifests[it.tn], it, now); err != nil {
				return err
			}
		}
		for tn, m := range manifests {
			if err := s.saveManifest(tn, m); err != nil {
				return err
			}
		}
		return s.saveContents(&contents)
	})
	if err != nil {
		return s.failed("give up what is lost", err)
	}
	s.contents = contents
	for tn, m := range manifests {
		tn.manifest = *m
		s.forgetLost(tn, items)
	}
	return nil
}

// giveUp takes one loss out of the catalog, in a transaction.
func (s *Store) giveUp(m *manifest, it *lossItem, now int64) error {
	switch {
	case it.runs != nil:
		runs := it.runs
		if d := it.seg.deletion; d != nil {
			runs = joinRuns(d.runs, runs)
		}
		it.struck = &deletion{number: s.nextSegment.Add(1) - 1, created: now, rows: countRuns(runs), runs: runs}
		row := []driver.Value{it.seg.id, it.tn.id, it.struck.number, now, it.struck.rows, encodeRuns(runs)}
		it.struck.mac = s.deletionMAC(it.seg, row)
		if err := s.w.exec("DELETE FROM deletions WHERE id = ?", it.seg.id); err != nil { // which may be damaged
			return err
		}
		return s.insertRow(deletionsTable, it.tn, row)
	case it.seg != nil && it.seg.rollup != nil:
		return s.deleteRollup(m, it.seg)
	case it.seg != nil:
		return s.deleteSegment(m, it.seg)
	case it.table == "segments":
		if err := s.w.exec("DELETE FROM deletions WHERE id = ?", it.id); err != nil {
			return err
		}
		return s.w.exec("DELETE FROM segments WHERE id = ?", it.id)
	case it.table != "":
		return s.w.exec("DELETE FROM "+it.table+" WHERE id = ?", it.id)
	}
	return nil
}

// writeLoss writes down what was given up, in a transaction.
func (s *Store) writeLoss(m *manifest, it *lossItem, now int64) error {
	it.Accepted = now
	if it.open != nil {
		return s.updateRow(lossesTable, it.tn, it.Loss.row(it.tn))
	}
	it.Found = now
	return s.insertLoss(it.tn, m, &it.Loss)
}

// recount makes the manifest of a sealed store say what is there, in a transaction.
// It holds before losses are added.
func (s *Store) recount(tn *tenant, m *manifest) error {
	if s.ring == nil {
		return nil
	}
	found, damaged, tags := manifest{}, int64(0), map[int64][]byte{}
	for _, t := range []*catalogTable{segmentsTable, rollupsTable} {
		err := s.eachRow(s.w, t, "WHERE tenant = ?", "", func(r *catalogRow) error {
			if !r.intact {
				damaged++
				return nil
			}
			found.add(r.v)
			tags[asInt(r.v[0])] = slices.Clone(asBytes(r.v[len(r.v)-1]))
			return nil
		}, tn.id)
		if err != nil {
			return err
		}
	}
	m.segments, m.sum = found.segments+damaged, found.sum
	m.deletions = deletions{}
	err := s.eachRow(s.w, deletionsTable, "WHERE tenant = ?", "", func(r *catalogRow) error {
		d := &deletion{}
		if r.intact {
			d.mac = rowMAC(append(slices.Clone(r.v), tags[asInt(r.v[0])]))
		}
		m.deletions.add(d)
		return nil
	}, tn.id)
	if err != nil {
		return err
	}
	for table, n := range map[string]*int64{"tables": &m.tables, "losses": &m.losses} {
		err := s.w.query("SELECT count(*) FROM "+table+" WHERE tenant = ?", func(row []driver.Value) error {
			*n = asInt(row[0])
			return nil
		}, tn.id)
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetLost shows readers a tenant without what was given up; wmu is held.
func (s *Store) forgetLost(tn *tenant, items []*lossItem) {
	c := &compaction{s: s, tn: tn}
	var segs []*segment
	given := map[lossPart]bool{}
	s.mu.Lock()
	for _, it := range items {
		if it.tn != tn {
			continue
		}
		given[partOf(&it.Loss)] = true
		switch {
		case it.struck != nil:
			if d := it.seg.deletion; d != nil {
				s.deletionBytes.Add(-d.memory())
			}
			it.seg.deletion, it.seg.unmergeable = it.struck, false
			s.deletionBytes.Add(it.struck.memory())
		case it.seg != nil && it.seg.rollup != nil:
			c.unrolled = append(c.unrolled, it.seg)
		case it.seg != nil:
			segs = append(segs, it.seg)
		case it.table == "deletions":
			for _, g := range tn.segs {
				if g.id == it.id {
					g.deletion = nil
				}
			}
		}
		if it.open != nil {
			it.open.Accepted = it.Accepted
		} else {
			s.losses = append(s.losses, &it.Loss)
		}
	}
	var lost []lostSegment
	for i := range tn.lost {
		if l := s.lostRow(tn, &tn.lost[i]); !given[partOf(&l.Loss)] {
			lost = append(lost, tn.lost[i])
		}
	}
	tn.lost = lost
	tn.lostRollups = slices.DeleteFunc(slices.Clone(tn.lostRollups), func(id int64) bool {
		return given[lossPart{LossRollup, tn.name, id}]
	})
	s.mu.Unlock()
	q := &tn.quarantine
	q.mu.Lock()
	q.chunks = slices.DeleteFunc(slices.Clone(q.chunks), func(c quarantineChunk) bool {
		gone := given[lossPart{LossQuarantine, tn.name, c.first}]
		if gone {
			q.records -= c.count
			q.bytes -= c.size
		}
		return gone
	})
	q.mu.Unlock()
	c.publish(0, segs)
}
