package embedded

import (
	"context"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// frameStep is the distance between the ids of frames: the number between two
// is for the frame into which compaction carries what is too little for a segment.
const frameStep = 2

// maxFrameBytes keeps a frame far below what SQLite takes in one value.
const maxFrameBytes = 512 << 20

// staged is a commit between Stage and the end of its Commit.
type staged struct {
	s       *Store
	parts   []stagedPart
	ledger  []byte // nil: no operations
	rows    int64
	dups    int64
	refused error // Commit's answer where the data can never be stored
	done    bool  // guarded by Store.mu
}

// stagedPart is one tenant's part.
type stagedPart struct {
	tn         *tenant
	series     uint32 // the series issued when it was staged
	frame      *frame // nil: no rows
	data       []byte
	quarantine *stagedQuarantine // nil: none
}

// Stage implements store.Store.
func (s *Store) Stage(ctx context.Context, c *telemetry.Commit) (store.Staged, error) {
	if err := s.writable("stage"); err != nil {
		return nil, err
	}
	s.stageMu.Lock()
	defer s.stageMu.Unlock()
	if err := s.holdBack(ctx, c); err != nil {
		return nil, err
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, errClosed("stage")
	}
	st := &staged{s: s}
	for _, b := range c.Batches {
		if err := s.stageBatch(ctx, st, b); err != nil {
			if telemetry.CodeOf(err) != telemetry.CodeRefused {
				return nil, err
			}
			st.refused = err
		}
	}
	if len(c.Ledger) > 0 {
		st.ledger = appendLedgerOps(append(make([]byte, 0, 1+len(c.Ledger)*10), ledgerOps), c.Ledger)
	}
	s.mu.Lock()
	s.staged = append(s.staged, st)
	s.mu.Unlock()
	return st, nil
}

// Level 0 may hold this many times what one compaction takes. Over it each
// commit waits a little, so that the debt does not grow; it never waits for
// ever, because a compaction may fail for reasons that commits outlive.
const (
	debtLimit = 8
	debtPause = 100 * time.Millisecond
)

// holdBack waits while the compaction of a tenant of the commit is far behind.
func (s *Store) holdBack(ctx context.Context, c *telemetry.Commit) error {
	if s.opt.ManualCompaction {
		return nil
	}
	var timeout <-chan time.Time
	for _, b := range c.Batches {
		tn := s.tenant(b.Tenant)
		if tn == nil || len(b.Sections) == 0 {
			continue
		}
		for {
			s.mu.Lock()
			over, published := tn.level0Rows > debtLimit*int(tn.compactRows.Load()), s.published
			s.mu.Unlock()
			if !over {
				break
			}
			if timeout == nil {
				s.stats.stalls.Add(1)
				timer := time.NewTimer(debtPause)
				defer timer.Stop()
				timeout = timer.C
			}
			select {
			case <-published:
				continue
			case <-ctx.Done():
				return ctx.Err()
			case <-timeout:
				return nil
			}
		}
	}
	return nil
}

// stageBatch finds one tenant's duplicates and encodes the rest as a frame.
func (s *Store) stageBatch(ctx context.Context, st *staged, b *telemetry.Batch) error {
	tn := s.ensureTenant(b.Tenant)
	part := stagedPart{tn: tn, series: tn.series.count.Load()}
	d := &dedup{s: s, tn: tn, st: st}
	rows := 0
	for _, sec := range b.Sections {
		sec.Duplicates = sec.Duplicates[:0]
		if sec.Rows() == 0 {
			continue
		}
		v, err := tn.lookup(sec.Table)
		if err != nil {
			return err
		}
		if err := checkSection(sec, part.series); err != nil {
			return err
		}
		rows += sec.Rows()
		d.secs = append(d.secs, dedupSection{sec: sec, v: v})
	}
	if rows > 0 {
		tn.marks.grow(part.series, minTime)
		if err := d.run(ctx); err != nil {
			return err
		}
		if err := s.encodeFrame(&part, d); err != nil {
			return err
		}
		s.filterFrame(part.frame, d)
		for i := range d.secs {
			st.dups += int64(len(d.secs[i].sec.Duplicates))
		}
		st.rows += int64(rows)
	}
	if len(b.Quarantine) > 0 || len(b.Resolved) > 0 {
		part.quarantine = s.stageQuarantine(b)
	}
	st.parts = append(st.parts, part)
	return nil
}

// checkSection refuses a section whose columns contradict each other, before
// anything indexes by them.
func checkSection(sec *telemetry.Section, series uint32) error {
	n := sec.Rows()
	bad := len(sec.Time) != n || len(sec.Received) != n || len(sec.Columns) != len(sec.Table.Columns)
	if !bad {
		for i := range sec.Columns {
			c := &sec.Columns[i]
			if slots := len(c.Bits); c.Type.Textual() && c.Dict == nil {
				bad = bad || len(c.Ends) != n
			} else {
				bad = bad || slots != n
			}
		}
	}
	if !bad {
		for _, ref := range sec.Series {
			bad = bad || uint32(ref) >= series
		}
	}
	if bad {
		return telemetry.Errorf(telemetry.CodeRefused, "stage", "a section of %s version %d contradicts itself", sec.Table.Name, sec.Table.Version)
	}
	return nil
}

// encodeFrame encodes what is not a duplicate.
func (s *Store) encodeFrame(part *stagedPart, d *dedup) error {
	f := &frame{id: s.nextFrame, created: s.opt.Now().UnixNano(), minTime: maxTime, maxTime: minTime, replaced: d.replaced, tag: s.newTag()}
	secs := make([]chunk.FrameSection, 0, len(d.secs))
	for i := range d.secs {
		ds := &d.secs[i]
		sec := ds.sec
		if len(ds.overwritten) > 0 {
			// Rows that a later row of this very commit overwrites are not
			// written, and are no duplicates either.
			shadow := *sec
			shadow.Duplicates = append(slices.Clone(sec.Duplicates), ds.overwritten...)
			slices.Sort(shadow.Duplicates)
			sec = &shadow
		}
		if n := sec.Rows() - len(sec.Duplicates); n > 0 {
			f.rows += n
			secs = append(secs, chunk.FrameSection{TableID: ds.v.id, Section: sec})
		}
	}
	if f.rows == 0 {
		return nil
	}
	o, err := s.frameOptions(part.tn, f)
	if err != nil {
		return err
	}
	s.encodeBuf, err = chunk.AppendFrame(s.encodeBuf[:0], secs, o)
	if err != nil {
		return err
	}
	if len(s.encodeBuf) > maxFrameBytes {
		return telemetry.Errorf(telemetry.CodeRefused, "stage", "a frame of %d bytes is over the limit of %d", len(s.encodeBuf), maxFrameBytes)
	}
	part.data = slices.Clone(s.encodeBuf)
	if cap(s.encodeBuf) > 4<<20 {
		s.encodeBuf = nil
	}
	f.size = len(part.data)
	f.mu.Lock()
	f.opened, err = s.openFrameBytes(f, part.data)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	for _, p := range f.parts {
		f.minTime, f.maxTime = min(f.minTime, p.MinTime), max(f.maxTime, p.MaxTime)
	}
	part.frame = f
	s.nextFrame += frameStep
	return nil
}

// filterStages is for how many commits after one that looked rows up the frames
// get Bloom filters at once, while their rows are at hand: a look-up would have to
// decode each of them for it, most from the catalog.
const filterStages = 256

// filterFrame builds the filters of a new frame where look-ups come often.
func (s *Store) filterFrame(f *frame, d *dedup) {
	if len(d.cands) > 0 {
		s.filterFrames = filterStages
	}
	if f == nil || s.filterFrames == 0 {
		return
	}
	s.filterFrames--
	f.mu.Lock()
	defer f.mu.Unlock()
	blooms := make([]bloom, 0, len(f.parts))
	for i := range d.secs {
		ds := &d.secs[i]
		if n := ds.sec.Rows() - len(ds.sec.Duplicates) - len(ds.overwritten); n > 0 {
			if at := len(blooms); at >= len(f.parts) || f.parts[at].TableID != ds.v.id || f.parts[at].Rows != n {
				return // the frame is cut otherwise; look-ups build its filters
			}
			blooms = append(blooms, bloomOf(ds.sec))
		}
	}
	if len(blooms) == len(f.parts) {
		f.blooms = blooms
	}
}
