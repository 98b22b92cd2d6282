package embedded

import (
	"os"
	"sync/atomic"
	"time"
)

// counters are what Stats is made of.
type counters struct {
	commits, rows, duplicates, frameBytes atomic.Int64
	lookups, stalls                       atomic.Int64
	compactions, compactedRows            atomic.Int64
	segmentBytes, mergedBytes, mergedRows atomic.Int64
	compactErrors, checkpoints, damaged   atomic.Int64
	deleted, carriedBytes                 atomic.Int64
	rollups, rollupRows, rollupBytes      atomic.Int64
	retiredRows, retiredBytes             atomic.Int64
	retiredRollups                        atomic.Int64
}

// Stats is the state of a store in numbers, for metrics.
type Stats struct {
	Commits        int64 // since the start, as all counts
	Rows           int64 // stored
	Duplicates     int64 // found and not stored
	Lookups        int64 // rows that were not above their series' watermark
	Stalls         int64 // commits that waited because compaction was far behind
	FrameBytes     int64 // bytes of level-0 frames written
	Level0Frames   int   // compaction debt
	Level0Rows     int64
	Level0Bytes    int64
	Level0OldestNS int64 // when the oldest level-0 frame was made, ns UTC; 0: none
	Segments       int
	SegmentRows    int64
	SegmentSize    int64 // bytes of live segments
	SegmentBytes   int64 // bytes of segments written from level 0
	CarriedBytes   int64 // bytes of frames that compactions wrote again
	MergedBytes    int64 // bytes of segments written by merges
	MergeDebtBytes int64 // bytes of segments that merges are due to rewrite
	MergedRows     int64
	Compactions    int64
	CompactedRows  int64
	CompactErrors  int64
	Checkpoints    int64
	WALSize        int64 // bytes of the write-ahead log file
	CatalogSize    int64 // bytes of catalog.db
	Series         int
	SeriesMemory   int64 // bytes that the series catalog and watermarks hold
	Quarantined    int64 // records kept
	QuarantineSize int64 // bytes kept
	QuarantineLost int64 // records that went because the budget was spent
	LedgerEntries  int
	Deleted        int64 // rows that Delete took
	DeletedKept    int64 // deleted rows that are still on the disk
	Damaged        int64 // times that damaged data was met

	Rollups         int           // live segments of aggregates
	RollupSize      int64         // their bytes
	RollupsMade     int64         // since the start
	RollupRows      int64         // written
	RollupBytes     int64         // written
	RollupDebt      int           // partitions whose rollups are to be made
	RetiredRows     int64         // readings deleted by age
	RetiredBytes    int64         // what their segments took
	RetiredRollups  int64         // rollups deleted by age
	RetentionTimeNS int64         // from which ages count, ns UTC; 0: none is known
	RetentionAhead  time.Duration // of a wall clock that is not believed; 0: it is
}

// Stats returns the state of the store. It is cheap enough for every scrape.
func (s *Store) Stats() Stats {
	c := &s.stats
	st := Stats{
		Commits: c.commits.Load(), Rows: c.rows.Load(), Duplicates: c.duplicates.Load(), Lookups: c.lookups.Load(), Stalls: c.stalls.Load(),
		FrameBytes: c.frameBytes.Load(), SegmentBytes: c.segmentBytes.Load(), MergedBytes: c.mergedBytes.Load(),
		MergedRows: c.mergedRows.Load(), Compactions: c.compactions.Load(), CompactedRows: c.compactedRows.Load(),
		CompactErrors: c.compactErrors.Load(), Checkpoints: c.checkpoints.Load(), Damaged: c.damaged.Load(), Deleted: c.deleted.Load(), CarriedBytes: c.carriedBytes.Load(),
		WALSize: fileSize(s.catalogPath() + "-wal"), CatalogSize: fileSize(s.catalogPath()),
	}
	for _, tn := range *s.tenants.Load() {
		st.Series += int(tn.series.count.Load())
		st.SeriesMemory += tn.series.memory() + int64(tn.series.count.Load())*8
		s.mu.Lock()
		frames, segs := tn.frames, tn.segs
		s.mu.Unlock()
		st.MergeDebtBytes += s.mergeDebt(segs)
		for _, f := range frames {
			st.Level0Frames++
			st.Level0Rows += int64(f.rows)
			st.Level0Bytes += int64(f.size)
		}
		if len(frames) > 0 && (st.Level0OldestNS == 0 || frames[0].created < st.Level0OldestNS) {
			st.Level0OldestNS = frames[0].created
		}
		for _, g := range segs {
			st.Segments++
			st.SegmentRows += g.rows
			st.SegmentSize += g.size
			st.DeletedKept += s.deletedRows(g)
		}
		s.mu.Lock()
		rollups := tn.rollups
		s.mu.Unlock()
		st.Rollups += len(rollups)
		for _, g := range rollups {
			st.RollupSize += g.size
		}
		st.RollupDebt += int(tn.rollupDebt.Load())
		q := &tn.quarantine
		q.mu.Lock()
		st.Quarantined += int64(q.records)
		st.QuarantineSize += q.bytes
		st.QuarantineLost += q.dropped
		q.mu.Unlock()
	}
	st.RollupsMade, st.RollupRows, st.RollupBytes = c.rollups.Load(), c.rollupRows.Load(), c.rollupBytes.Load()
	st.RetiredRows, st.RetiredBytes, st.RetiredRollups = c.retiredRows.Load(), c.retiredBytes.Load(), c.retiredRollups.Load()
	st.RetentionTimeNS, _, st.RetentionAhead = s.trusted.state()
	s.ledger.mu.Lock()
	st.LedgerEntries = s.ledger.entries
	s.ledger.mu.Unlock()
	return st
}

// WriteAmplification is how many bytes the store has written for each byte of the
// frames that were committed, as they were compressed: a frame twice, to the log and
// by its checkpoint, and again carried, as a segment, in each merge, and for rollups. 0: nothing
// was committed.
func (s *Stats) WriteAmplification() float64 {
	if s.FrameBytes == 0 {
		return 0
	}
	return float64(2*s.FrameBytes+2*s.CarriedBytes+s.SegmentBytes+s.MergedBytes+s.RollupBytes) / float64(s.FrameBytes)
}

// mergeDebt is how many bytes the merges that are due will read.
func (s *Store) mergeDebt(segs []*segment) (bytes int64) {
	for _, group := range s.mergeGroups(segs) {
		for _, g := range s.pickRun(group, s.fanIn(group)) {
			bytes += g.size
		}
	}
	for _, p := range s.pickPacks(s.packsOf(segs), s.opt.MergeFanIn) {
		bytes += p.size
	}
	return bytes
}

// deletedRows is how many rows of a segment are deleted.
func (s *Store) deletedRows(g *segment) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.deletion == nil {
		return 0
	}
	return g.deletion.rows
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
