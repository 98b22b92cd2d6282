package embedded

import (
	"log/slog"
	"time"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Options configure a store. The zero value of every field but Dir is a
// sensible default.
type Options struct {
	// Dir is the data directory. It is created if it is missing.
	Dir string
	// ReadOnly opens the store for scans beside no running node: nothing is
	// written, and Stage fails.
	ReadOnly bool
	// Logger receives what background work has to say; nil discards it.
	Logger *slog.Logger
	// Now is the clock of ages and creation times; nil is time.Now.
	Now func() time.Time

	// Sealing is how the store's keys are unlocked; nil leaves it in clear. What a
	// store is made as it stays.
	Sealing *seal.Credentials
	// Forget is called when the store clears away what a tenant left whose keys
	// were destroyed: whoever keeps more of it does the same. It may be called
	// again after a crash.
	Forget func(telemetry.Tenant) error

	// MaxSeries is the series budget of each tenant. Default 10,000,000.
	MaxSeries int

	// QuarantineRecords and QuarantineBytes bound the quarantine of each
	// tenant; over them the oldest records go first and are counted in Stats.
	// Defaults 100,000 records and 64 MB.
	QuarantineRecords int
	QuarantineBytes   int64

	// Partition is the length of the time partitions that segments are cut by.
	// Default 24h.
	Partition time.Duration
	// CompactRows is how many level-0 rows of one tenant start a compaction.
	// Default: as many as CompactMemory holds.
	CompactRows int
	// CompactAge is the age at which level-0 rows are compacted however few
	// they are. Default 10 minutes.
	CompactAge time.Duration
	// CompactMemory is the memory budget in bytes of one compaction at high
	// rates; below 60,000 rows a second it uses less. Default 32 MB.
	CompactMemory int64
	// CarryRows is below how many rows a table waits in level 0 for more, where few
	// tables do, instead of making a small segment at each compaction; no longer
	// than CompactAge. Smaller segments share a file. Default 16,384.
	CarryRows int
	// MergeFanIn is how many segments of about one size are merged into one.
	// Default 8.
	MergeFanIn int
	// SegmentRows is the size at which segments are no longer merged. Default
	// 4,000,000 rows.
	SegmentRows int
	// DeletedAge is how long deleted rows are kept to recognise a redelivery,
	// before a compaction takes them from the disk. Default 1 hour.
	DeletedAge time.Duration
	// RollupRows is how many readings a partition of a table holds at least before
	// rollups are made of it: fewer are read as fast. Default 16,384.
	RollupRows int
	// RollupFactor is how many readings a row of a rollup stands for at least, on
	// average: a rollup that saves less is not made while the readings are there.
	// Default 4.
	RollupFactor int
	// Clock is what retention goes by: the wall clock, and one that only goes on.
	// nil: the machine's.
	Clock func() (wall time.Time, mono time.Duration)
	// ManualCompaction turns background compaction and checkpoints off; tests
	// call Compact.
	ManualCompaction bool

	// CacheBytes bounds the memory of decoded series and time columns that
	// duplicate look-ups and scans keep. Default 8 MB.
	CacheBytes int64
	// HeadBytes bounds the memory of the runs and statistics of blocks. 100,000,000
	// readings of six fields have about 15 MB of them; where they do not fit, queries
	// that statistics answer read them again each time. Default twice CacheBytes.
	HeadBytes int64
	// OpenFiles is how many segment files stay open while nobody reads them.
	// Default 128.
	OpenFiles int
	// PageSize of a new catalog.db, in bytes. Default 4096: a commit of few rows
	// then writes 4.6 KB to the log, with 8192 it is 8.6 KB, and large commits
	// cost the same.
	PageSize int
	// WALBytes is the size of the write-ahead log at which checkpoints start;
	// its size stays under about twice that. Default 16 MB.
	WALBytes int64
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	setDefault(&o.MaxSeries, 10_000_000)
	setDefault(&o.QuarantineRecords, 100_000)
	setDefault(&o.QuarantineBytes, 64<<20)
	setDefault(&o.Partition, 24*time.Hour)
	setDefault(&o.CompactAge, 10*time.Minute)
	setDefault(&o.CompactMemory, 32<<20)
	setDefault(&o.CarryRows, 16<<10)
	setDefault(&o.MergeFanIn, 8)
	setDefault(&o.DeletedAge, time.Hour)
	setDefault(&o.SegmentRows, 4_000_000)
	setDefault(&o.RollupRows, 16<<10)
	setDefault(&o.RollupFactor, 4)
	setDefault(&o.CacheBytes, 8<<20)
	setDefault(&o.HeadBytes, 2*o.CacheBytes)
	setDefault(&o.OpenFiles, 128)
	setDefault(&o.PageSize, 4096)
	setDefault(&o.WALBytes, 16<<20)
	return o
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
