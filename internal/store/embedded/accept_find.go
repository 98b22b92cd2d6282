package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// FindLosses reads everything, as Verify does, and returns what cannot be read and
// may be given up, so that the rest goes on.
func (s *Store) FindLosses(ctx context.Context, progress func(Verified)) ([]Loss, error) {
	f := &lossFinder{s: s, progress: progress}
	if err := f.find(ctx); err != nil {
		return nil, err
	}
	var out []Loss
	for _, it := range f.items {
		out = append(out, it.Loss)
	}
	return out, nil
}

// lossItem is a loss with what is to be done when it is given up.
type lossItem struct {
	Loss
	tn     *tenant
	open   *Loss    // that is noted already
	seg    *segment // given up: all of it, or runs
	runs   []rowRun
	struck *deletion // what is struck out of seg then
	table  string    // whose row id is deleted
	id     int64
}

// lossPart names a loss among those of a moment.
type lossPart struct {
	kind   string
	tenant telemetry.Tenant
	part   int64
}

func partOf(l *Loss) lossPart { return lossPart{l.Kind, l.Tenant, l.Part} }

// lossFinder looks for losses.
type lossFinder struct {
	s        *Store
	only     map[lossPart]bool // of the segments that are whole in the catalog, look at these; nil: at all
	progress func(Verified)
	done     Verified
	items    []*lossItem
}

func (s *Store) tenantsInOrder() (all []*tenant) {
	for _, tn := range *s.tenants.Load() {
		all = append(all, tn)
	}
	slices.SortFunc(all, func(a, b *tenant) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (f *lossFinder) find(ctx context.Context) error {
	s := f.s
	for _, tn := range s.tenantsInOrder() {
		if err := f.tenant(ctx, tn); err != nil {
			return err
		}
	}
	for id, l := range s.lostTables {
		if l.row {
			tn := s.tenantsInOrder()[0]
			f.add(&lossItem{tn: tn, table: "tables", id: int64(id), Loss: Loss{Kind: LossTables, Table: l.name, Rows: -1, Part: int64(id), Place: s.catalogPath(), What: messageOf(l.err)}})
		}
	}
	return nil
}

// add keeps an item, with the times that nobody knows.
func (f *lossFinder) add(it *lossItem) {
	it.Tenant = it.tn.name
	if it.From == 0 && it.To == 0 {
		it.From, it.To = noFrom, noTo
	}
	f.items = append(f.items, it)
}

func (f *lossFinder) tenant(ctx context.Context, tn *tenant) error {
	s := f.s
	v := &verification{s: s}
	frames, segs := v.pin(tn)
	defer v.unpin(frames, segs)
	s.mu.Lock()
	lost, rollups := tn.lost, tn.lostRollups
	var open []*Loss
	for _, l := range s.losses {
		if l.Tenant == tn.name && l.Accepted == 0 && l.ID != 0 {
			open = append(open, l)
		}
	}
	s.mu.Unlock()
	for _, l := range open {
		it := &lossItem{tn: tn, open: l, Loss: *l}
		it.Part = l.ID
		f.add(it)
	}
	for i := range lost {
		if lost[i].loss == nil {
			f.add(s.lostRow(tn, &lost[i]))
		}
	}
	for _, id := range rollups {
		f.add(&lossItem{tn: tn, table: "rollups", id: id, Loss: Loss{Kind: LossRollup, Rows: -1, Part: id, Place: s.catalogPath(), What: messageOf(damagedRow("rollups", id))}})
	}
	for _, g := range segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.segment(g); err != nil {
			return err
		}
	}
	return f.quarantine(ctx, tn)
}

// lostRow is a lost segment as an item.
func (s *Store) lostRow(tn *tenant, l *lostSegment) *lossItem {
	it := &lossItem{tn: tn, Loss: Loss{Kind: LossRows, Tenant: tn.name, Rows: -1, Part: l.id, Place: s.catalogPath(), What: messageOf(l.err)}, table: l.table, id: l.id}
	switch {
	case l.loss != nil:
		it.Loss, it.open = *l.loss, l.loss
		it.Part = l.loss.ID
	case l.table == "segments":
		it.Kind, it.Table, it.From, it.To = LossSegment, l.name, l.lo, l.hi
		if l.rows > 0 {
			it.Rows = int64(l.rows)
		}
		if l.lo == minTime && l.hi == maxTime {
			it.From, it.To = noFrom, noTo
		}
	}
	return it
}

// messageOf is what an error says, without what to do.
func messageOf(err error) string {
	var te *telemetry.Error
	if errors.As(err, &te) {
		return te.Message
	}
	return err.Error()
}

// segment looks for what cannot be read of a segment.
func (f *lossFinder) segment(g *segment) error {
	s := f.s
	it := &lossItem{tn: g.tn, seg: g, Loss: Loss{Kind: LossSegment, Rows: g.rows, From: g.minTime, To: g.maxTime, Part: g.id, Place: s.pathOf(g)}}
	final := g.rollup != nil && g.isFinal(s)
	if g.rollup != nil {
		it.Kind, it.Table, it.To = LossRollup, g.rollup.table, g.maxTime+g.rollup.width-1
	} else {
		it.Table = g.v.name.name
	}
	s.mu.Lock()
	d := g.deletion
	s.mu.Unlock()
	if d != nil && d.err == nil {
		it.Rows -= d.rows
	}
	whole, blocks := lossPart{it.Kind, g.tn.name, g.id}, lossPart{LossBlocks, g.tn.name, g.id}
	if f.only != nil && !f.only[whole] && !f.only[blocks] && (d == nil || d.err == nil) {
		return nil
	}
	damage, seg, err := s.damageOf(g, &f.done)
	if f.progress != nil {
		f.progress(f.done)
	}
	switch {
	case err != nil:
	case seg != nil && g.rollup == nil && !slices.ContainsFunc(damage, func(d chunk.Damage) bool { return d.Block < 0 }):
		if d != nil && d.err != nil {
			f.add(&lossItem{tn: g.tn, table: "deletions", id: g.id, Loss: Loss{
				Kind: LossDeletion, Table: it.Table, Rows: -1, From: g.minTime, To: g.maxTime, Part: g.id, Place: s.catalogPath(), What: messageOf(d.err),
			}})
		}
		if len(damage) == 0 {
			return nil
		}
		it.blocks(seg, damage, d)
	case len(damage) > 0:
		it.What = messageOf(damage[0].Err)
	default:
		return nil
	}
	if err != nil {
		if telemetry.CodeOf(err) != telemetry.CodeDamaged {
			return err
		}
		it.What = messageOf(err)
	}
	if g.rollup != nil && !final {
		it.What += " (they are made anew of the readings)"
	}
	f.add(it)
	return nil
}

// blocks makes the item one of the damaged blocks, where others are whole.
func (it *lossItem) blocks(seg *chunk.Segment, damage []chunk.Damage, d *deletion) {
	at := map[int]bool{}
	for _, c := range damage {
		at[c.Block] = true
	}
	it.What = messageOf(damage[0].Err)
	if len(at) == len(seg.Blocks()) {
		return
	}
	it.Kind, it.Rows, it.From, it.To, it.runs = LossBlocks, 0, maxTime, minTime, []rowRun{}
	row := uint32(0)
	for i, b := range seg.Blocks() {
		from := row
		row += uint32(b.Rows)
		if !at[i] {
			continue
		}
		it.From, it.To = min(it.From, b.MinTime), max(it.To, b.MaxTime)
		next := uint32(0)
		if d != nil && d.err == nil {
			for _, r := range within(d.runs, from, row) { // what is left between
				if r.from > next {
					it.runs = append(it.runs, rowRun{from + next, r.from - next})
				}
				next = r.from + r.n
			}
		}
		if next < uint32(b.Rows) {
			it.runs = append(it.runs, rowRun{from + next, uint32(b.Rows) - next})
		}
	}
	it.Rows = countRuns(it.runs)
	it.What = fmt.Sprintf("%s; %d of %d blocks are damaged", it.What, len(at), len(seg.Blocks()))
}

func (f *lossFinder) quarantine(ctx context.Context, tn *tenant) error {
	s := f.s
	tn.quarantine.mu.Lock()
	chunks := slices.Clone(tn.quarantine.chunks)
	tn.quarantine.mu.Unlock()
	for _, c := range chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.read(func(conn *conn) error {
			_, err := s.quarantineChunk(conn, tn, c)
			return err
		})
		switch {
		case telemetry.CodeOf(err) == telemetry.CodeDamaged:
			f.add(&lossItem{tn: tn, table: "quarantine", id: c.first, Loss: Loss{
				Kind: LossQuarantine, Rows: int64(c.count), Part: c.first, Place: s.catalogPath(), What: messageOf(err),
			}})
		case err != nil:
			return err
		}
	}
	return nil
}

// pathOf is the file that a segment stands in.
func (s *Store) pathOf(g *segment) string {
	if g.pack != nil {
		return g.pack.file.path
	}
	return s.segmentPath(g.id)
}

// damageOf reads a segment's bytes anew, beside what is cached of it, and returns
// what is damaged, without blocks all of whose rows are deleted. The error says why
// none of it can be read.
func (s *Store) damageOf(g *segment, done *Verified) ([]chunk.Damage, *chunk.Segment, error) {
	path := s.pathOf(g)
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = telemetry.Errorf(telemetry.CodeDamaged, "verify segment", "segment file %s is missing", path)
		}
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	r, size := io.ReaderAt(f), fileSize(path)
	if g.pack != nil {
		r, size = io.NewSectionReader(f, g.start, g.size), min(g.size, max(0, size-g.start))
	}
	seg, err := chunk.OpenSegment(r, size, chunk.OpenOptions{Name: s.where(g), Keys: s.chunkKeys(), Identity: g.tag})
	if err == nil {
		err = checkSegment(g, seg, s.where(g))
	}
	if err == nil && size != g.size {
		err = telemetry.Errorf(telemetry.CodeDamaged, "verify segment", "%s has %d bytes, the catalog says %d", s.where(g), size, g.size)
	}
	done.Segments++
	done.Bytes += size
	if err != nil {
		return nil, nil, err
	}
	damage := seg.Verify()
	s.mu.Lock()
	d := g.deletion
	s.mu.Unlock()
	if len(damage) > 0 && d != nil && d.err == nil {
		damage = slices.DeleteFunc(damage, func(c chunk.Damage) bool { return c.Block >= 0 && d.hasBlock(seg, c.Block) })
	}
	return damage, seg, nil
}

// hasBlock reports whether all rows of a block are deleted.
func (d *deletion) hasBlock(seg *chunk.Segment, block int) bool {
	row := uint32(0)
	for _, b := range seg.Blocks()[:block] {
		row += uint32(b.Rows)
	}
	rows := uint32(seg.Blocks()[block].Rows)
	return countRuns(within(d.runs, row, row+rows)) == int64(rows)
}
