package embedded

import (
	"database/sql/driver"
	"errors"
	"fmt"
)

// While readings come, the write-ahead log and the pages that deleted frames left
// in catalog.db are used again and again. When none have come for a while they
// are only space that the readings seem to take, so it is given back.
const (
	doomedPerQuiet = 4096    // frames that one quiet tick deletes
	shrinkLog      = 1 << 20 // bytes of log that are worth a checkpoint
	shrinkPages    = 64      // free pages that are worth writing the others anew
	shrinkLive     = 4096    // pages in use above which catalog.db is not written anew
)

// quiet reports whether nothing was committed since it was last asked. Only the
// compaction loop asks.
func (s *Store) quiet() bool {
	n := s.stats.commits.Load()
	same := n == s.quietCommits
	s.quietCommits = n
	return same
}

// shrink gives unused space of catalog.db and its log back to the file system.
// What the catalog holds in use is little, because rows stand in segments: it is
// written anew in one transaction, and the log is emptied.
func (s *Store) shrink() error {
	err := s.deleteAllDoomed()
	vacuumed := false
	if err == nil {
		vacuumed, err = s.vacuum()
	}
	if err != nil {
		// On a full disk the log now takes all the room that there was.
		return errors.Join(fmt.Errorf("give back space of %s: %w", catalogFile, err), s.emptyLog())
	}
	if !vacuumed && fileSize(s.catalogPath()+"-wal") < shrinkLog {
		return nil
	}
	return s.emptyLog()
}

func (s *Store) emptyLog() error {
	s.ckMu.Lock()
	defer s.ckMu.Unlock()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return nil
	}
	complete, err := s.truncateLog()
	if err != nil {
		return fmt.Errorf("empty the write-ahead log: %w", err)
	}
	if complete {
		s.walBytes.Store(0)
	}
	s.stats.checkpoints.Add(1)
	return nil
}

// truncateLog empties the log, unless a reader needs it: commits wait meanwhile, so
// readers are not waited for.
func (s *Store) truncateLog() (complete bool, err error) {
	none := func([]driver.Value) error { return nil }
	if err := s.ck.query("PRAGMA busy_timeout=20", none); err != nil {
		return false, err
	}
	complete, err = walCheckpoint(s.ck, "TRUNCATE")
	return complete, errors.Join(err, s.ck.query("PRAGMA busy_timeout=1000", none))
}

func (s *Store) deleteAllDoomed() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil || len(s.doomed) == 0 {
		return nil
	}
	var done func()
	err := s.w.transaction(func() (err error) {
		done, err = s.deleteDoomed(doomedPerQuiet)
		return err
	})
	if err == nil {
		done()
	}
	return err
}

// vacuum writes catalog.db anew where much of it is free and little is in use.
func (s *Store) vacuum() (done bool, err error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.w == nil {
		return false, nil
	}
	var pages, free int64
	for pragma, n := range map[string]*int64{"page_count": &pages, "freelist_count": &free} {
		if err := s.w.query("PRAGMA "+pragma, func(row []driver.Value) error { *n = asInt(row[0]); return nil }); err != nil {
			return false, err
		}
	}
	if live := pages - free; free < shrinkPages || free < live/2 || live > shrinkLive {
		return false, nil
	}
	return true, s.w.exec("VACUUM")
}
