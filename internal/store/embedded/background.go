package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"
)

// start begins the background work: one goroutine for compaction and one for
// checkpoints, so that a long merge does not let the write-ahead log grow.
func (s *Store) start() error {
	var err error
	if s.ck, err = openConn(s.catalogPath(), false, "busy_timeout=1000", "synchronous=FULL", "cache_size=-256", "wal_autocheckpoint=0"); err != nil {
		return fmt.Errorf("open checkpoint connection: %w", err)
	}
	if s.opt.ManualCompaction {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.worker.Go(func() { s.compactLoop(ctx) })
	s.worker.Go(func() { s.checkpointLoop(ctx) })
	return nil
}

// nudge wakes the background work after a commit.
func (s *Store) nudge() {
	for _, c := range []chan struct{}{s.wakeCompact, s.wakeCheckpoint} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

const (
	idleTick       = 5 * time.Second // how often ages are looked at
	errorPause     = 2 * time.Second // after background work failed
	doomedPerBatch = 64
)

// compactLoop compacts when it is due. A commit wakes it; a tick sees ages.
func (s *Store) compactLoop(ctx context.Context) {
	tick := time.NewTicker(idleTick)
	defer tick.Stop()
	for {
		idle := false
		select {
		case <-ctx.Done():
			return
		case <-s.wakeCompact:
		case <-tick.C:
			idle = true
		}
		if err := s.compactDue(ctx, idle); err != nil && ctx.Err() == nil {
			s.stats.compactErrors.Add(1)
			s.opt.Logger.Error("compaction failed; it will be tried again", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(errorPause):
			}
		}
	}
}

// compactDue does what is due: level 0 first, then merges, then cleaning.
func (s *Store) compactDue(ctx context.Context, idle bool) error {
	for _, tn := range *s.tenants.Load() {
		again := idle
		for s.due(tn) {
			if _, err := s.compactLevel0(ctx, tn, false); err != nil {
				return err
			}
			again = true
		}
		for again && !s.due(tn) {
			var err error
			if again, err = s.mergeOne(ctx, tn, false); err != nil {
				return err
			}
		}
		if idle {
			if err := s.keepAll(ctx, tn, false); err != nil {
				return err
			}
		}
	}
	if !idle {
		return nil
	}
	s.releaseIdle()
	if err := s.clean(); err != nil || !s.quiet() {
		return err
	}
	return s.shrink()
}

// releaseIdle gives back what compactions keep for the next one, when none came
// for a while.
func (s *Store) releaseIdle() {
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	for _, tn := range *s.tenants.Load() {
		if time.Since(tn.compacted) < releaseAfter {
			return
		}
	}
	s.pool, s.merger = rowPool{}, nil
}

// releaseAfter is longer than the pause between compactions at middling rates.
const releaseAfter = 3 * longPause

// clean deletes frames that wait for it while no commits do, and joins small
// blocks of series.
func (s *Store) clean() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return nil
	}
	if len(s.doomed) > 0 {
		var done func()
		err := s.w.transaction(func() (err error) {
			done, err = s.deleteDoomed(doomedPerBatch)
			return err
		})
		if err != nil {
			return err
		}
		done()
	}
	for _, tn := range *s.tenants.Load() {
		if err := s.joinSeries(tn); err != nil {
			return err
		}
	}
	return nil
}

// seriesBlocks is how many small blocks of series are kept apart.
const seriesBlocks = 256

// joinSeries writes the series of a tenant as few blocks again; wmu is held.
func (s *Store) joinSeries(tn *tenant) error {
	if tn.blocks < tn.joined*2+seriesBlocks || len(tn.unknown) > 0 {
		return nil // a damaged row stays for whoever can repair it
	}
	blocks := 0
	err := s.w.transaction(func() error {
		if err := s.w.exec("DELETE FROM series WHERE tenant = ?", tn.id); err != nil {
			return err
		}
		saved := tn.saved
		defer func() { tn.saved = saved }()
		for from := uint32(0); from < saved; blocks++ {
			to := min(from+1<<14, saved)
			tn.saved = from
			if err := s.saveSeries(tn, to); err != nil {
				return err
			}
			from = to
		}
		return nil
	})
	if err != nil {
		return err
	}
	tn.blocks, tn.joined = blocks, blocks
	return nil
}

// checkpointLoop moves the write-ahead log into the database file.
func (s *Store) checkpointLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wakeCheckpoint:
		}
		if s.walBytes.Load() < s.opt.WALBytes {
			continue
		}
		if err := s.checkpoint(); err != nil && ctx.Err() == nil {
			s.opt.Logger.Warn("checkpoint failed; it will be tried again", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	}
}

// checkpoint copies the log in two steps: the bulk beside running commits, and
// the little that came meanwhile with commits held, so that the next commit
// starts the log again from its beginning.
func (s *Store) checkpoint() error {
	s.ckMu.Lock()
	defer s.ckMu.Unlock()
	if _, err := walCheckpoint(s.ck, "PASSIVE"); err != nil {
		return err
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	mode := "PASSIVE"
	if fileSize(s.catalogPath()+"-wal") > 2*s.opt.WALBytes {
		mode = "TRUNCATE" // it grew beside a slow reader; give the space back
	}
	complete, err := walCheckpoint(s.ck, mode)
	if err != nil {
		return err
	}
	if complete {
		s.walBytes.Store(0)
	}
	s.stats.checkpoints.Add(1)
	return nil
}

func walCheckpoint(c *conn, mode string) (complete bool, err error) {
	err = c.query("PRAGMA wal_checkpoint("+mode+")", func(row []driver.Value) error {
		complete = asInt(row[0]) == 0 && asInt(row[1]) == asInt(row[2])
		return nil
	})
	return complete, err
}
