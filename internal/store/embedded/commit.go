package embedded

import (
	"context"
	"database/sql/driver"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Commit implements store.Staged: one transaction, one fsync.
func (st *staged) Commit(context.Context) error {
	s := st.s
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.mu.Lock()
	closed, first := s.closed, len(s.staged) > 0 && s.staged[0] == st
	s.mu.Unlock()
	switch {
	case closed || s.w == nil:
		return errClosed("commit")
	case !first || st.done:
		return telemetry.Errorf(telemetry.CodeInternal, "commit", "staged commits are committed in order, once")
	case st.refused != nil:
		return st.refused
	}
	var done []func()
	err := s.w.transaction(func() (err error) {
		done, err = st.write()
		return err
	})
	if err != nil {
		return s.failed("commit", err)
	}
	for _, f := range done {
		f()
	}
	s.committed(st)
	if err := s.trimLedger(); err != nil {
		// The commit stands; the log is only longer than it need be.
		s.opt.Logger.Warn("session ledger was not compacted", "error", err)
	}
	return nil
}

// write enters the commit in the catalog. What it returns is called once the
// transaction is durable.
func (st *staged) write() (done []func(), err error) {
	s, sealed := st.s, st.s.contents
	for i := range st.parts {
		p := &st.parts[i]
		if !p.tn.persisted {
			if err := s.saveTenant(p.tn); err != nil {
				return nil, err
			}
			done = append(done, func() { p.tn.persisted = true })
		}
		if p.series > p.tn.saved {
			if err := s.saveSeries(p.tn, p.series); err != nil {
				return nil, err
			}
			done = append(done, func() {
				p.tn.saved = p.series
				p.tn.blocks++
			})
		}
		if p.quarantine != nil {
			f, err := s.saveQuarantine(p.tn, p.quarantine, &sealed)
			if err != nil {
				return nil, err
			}
			done = append(done, f)
		}
	}
	if st.ledger != nil {
		f, err := s.saveLedger(st.ledger, &sealed)
		if err != nil {
			return nil, err
		}
		done = append(done, f)
	}
	if err := s.saveContents(&sealed); err != nil {
		return nil, err
	}
	// Frames say how far the rest reaches.
	for i := range st.parts {
		p := &st.parts[i]
		if f := p.frame; f != nil {
			f.number = st.nextNumber(i)
			if err := s.insertFrame(p.tn, f, st.tail(p, sealed.changes), p.data); err != nil {
				return nil, err
			}
			done = append(done, func() { p.tn.number = f.number })
		}
	}
	f, err := s.deleteDoomed(doomedPerCommit)
	if err != nil {
		return nil, err
	}
	return append(done, f, func() { s.contents = sealed }), nil
}

// nextNumber numbers the frames of a tenant in the order of commits.
func (st *staged) nextNumber(part int) int64 {
	tn := st.parts[part].tn
	n := tn.number + 1
	for i := range st.parts[:part] {
		if st.parts[i].tn == tn && st.parts[i].frame != nil {
			n++
		}
	}
	return n
}

// tail is how far the other tables reach with the commit.
func (st *staged) tail(p *stagedPart, contents int64) sealedTail {
	t := st.s.tailNow(p.tn)
	t.contents = contents
	t.series = max(t.series, int64(p.series))
	if st.ledger != nil {
		t.ledger++
	}
	return t
}

// insertFrame enters a frame, in a transaction.
func (s *Store) insertFrame(tn *tenant, f *frame, tail sealedTail, data []byte) error {
	var replaced []byte
	if len(f.replaced) > 0 {
		replaced = appendReplaced(nil, f.replaced)
	}
	// The data has checksums of its own.
	row := []driver.Value{f.id, tn.id, f.created, int64(f.rows), f.minTime, f.maxTime, replaced, f.number, f.tag}
	return s.insertRow(framesTable, tn, append(row, tail.values()...), data)
}

// committed moves the rows of a durable commit from staged to level 0.
func (s *Store) committed(st *staged) {
	frames, bytes := 0, 0
	s.mu.Lock()
	st.done = true
	s.staged = slices.Delete(s.staged, 0, 1)
	for i := range st.parts {
		p := &st.parts[i]
		if p.frame != nil {
			p.tn.frames = append(p.tn.frames, p.frame)
			p.tn.level0Rows += p.frame.rows
			frames++
			bytes += p.frame.size
		}
	}
	s.failure = nil
	s.mu.Unlock()
	for i := range st.parts {
		if f := st.parts[i].frame; f != nil {
			s.recent.add(f)
		}
	}
	s.stats.commits.Add(1)
	s.stats.rows.Add(st.rows - st.dups)
	s.stats.duplicates.Add(st.dups)
	s.stats.frameBytes.Add(int64(bytes))
	s.walBytes.Add(int64(bytes) + int64(4*s.opt.PageSize))
	if frames > 0 {
		s.nudge()
	}
}

// Abort implements store.Staged. A commit that was staged after this one and
// found its readings here counts them as duplicates still; the caller that
// stages the aborted readings again, as bisecting does, loses none.
func (st *staged) Abort() {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !st.done {
		st.done = true
		s.staged = slices.DeleteFunc(s.staged, func(o *staged) bool { return o == st })
	}
}

// The encodings of a block of series.
const (
	seriesRaw  = 0
	seriesZstd = 1
)

// saveSeries enters the series that were issued up to n, in a transaction. They
// are one row, however many: a row each with an index would cost a thousand
// times as much.
func (s *Store) saveSeries(tn *tenant, n uint32) error {
	data := tn.series.appendRecords([]byte{seriesRaw}, tn.saved, n)
	if len(data) > 16<<10 {
		data = s.zenc.EncodeAll(data[1:], append(make([]byte, 0, len(data)/3), seriesZstd))
	}
	return s.insertRow(seriesTable, tn, []driver.Value{tn.id, int64(tn.saved), int64(n - tn.saved), int64(len(data)), data})
}

// doomedPerCommit frames that segments have replaced are deleted in each commit:
// more than one, so that the list shrinks, and few, so that no commit waits.
const doomedPerCommit = 4

// deleteDoomed deletes some of the frames that nothing reads any more, in a
// transaction. done is called once that is durable.
func (s *Store) deleteDoomed(limit int) (done func(), err error) {
	deleted := map[*frame]bool{}
	for _, f := range s.doomed {
		if len(deleted) == limit {
			break
		}
		if f.pins.Load() > 0 {
			continue
		}
		if err := s.w.exec("DELETE FROM frames WHERE id = ?", f.id); err != nil {
			return nil, err
		}
		deleted[f] = true
	}
	return func() {
		if len(deleted) > 0 {
			s.doomed = slices.DeleteFunc(s.doomed, func(f *frame) bool { return deleted[f] })
		}
	}, nil
}
