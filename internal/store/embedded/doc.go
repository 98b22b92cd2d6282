// Package embedded is the store that a node carries in itself: SQLite for what
// must be transactional (tables, series, session ledger, quarantine and level
// 0, the fresh batches) and immutable segment files for the rest. The layout of
// data_dir is docs/format/catalog.md; the bytes of frames and segments are
// package chunk.
//
// A reading walks down three steps. Stage finds duplicates and encodes a commit
// into one frame for each tenant; Commit writes the frames in one SQLite
// transaction with one fsync; compaction merges frames into segments that are
// sorted by (series, time), and segments into larger ones. Each step replaces
// its sources in one transaction, so a crash leaves one or the other.
package embedded
