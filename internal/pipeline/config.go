package pipeline

import (
	"runtime"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Config of a pipeline. The zero value of every field stands for its default.
type Config struct {
	// Tenant owns everything that this pipeline stores. Default: "default".
	Tenant telemetry.Tenant `yaml:"tenant"`

	// CommitInterval is the least time between the starts of two commits. A
	// longer one writes fewer bytes for each reading and acknowledges later;
	// 1s spares an SD card. Default: 2ms. Negative: no pause.
	CommitInterval time.Duration `yaml:"commit_interval"`

	// BatchBytes starts a commit before CommitInterval has passed once one
	// lane's batch holds so much. Default: 4 MiB.
	BatchBytes int `yaml:"batch_bytes"`

	// BufferBytes bounds what all batches hold together, those on their way to
	// the disk included. When it is spent, sockets are not read. Default: 32 MiB.
	BufferBytes int `yaml:"buffer_bytes"`

	// TopicCacheBytes bounds the memory in which topics are remembered, for all
	// lanes together; a topic of 45 bytes takes about 70. Topics beyond it are
	// looked up anew for every message. Default: 128 MiB.
	TopicCacheBytes int `yaml:"topic_cache_bytes"`

	// Lanes is the greatest number of bursts that are worked on at once.
	// Default: GOMAXPROCS.
	Lanes int `yaml:"lanes"`

	// QuarantinePayloadBytes is how much of a payload a quarantine record keeps;
	// a truncated payload cannot be replayed. Default: 256 KiB.
	QuarantinePayloadBytes int `yaml:"quarantine_payload_bytes"`

	// UnmatchedTopics is how many topics that no schema matches are listed with
	// their counts. Default: 100.
	UnmatchedTopics int `yaml:"unmatched_topics"`

	// HashKey keys the hashes of the session ledger, so that equal contents do
	// not show on disk. It is drawn once for a data directory and must stay the
	// same, else redeliveries across a restart are stored twice.
	HashKey [16]byte `yaml:"-"`

	// Clock stamps what the pipeline itself stamps, and is what sources ask for
	// Message.Received. Default: a new Clock.
	Clock *Clock `yaml:"-"`
}

// withDefaults returns the configuration with its defaults filled in.
func (c Config) withDefaults() Config {
	if c.Tenant == "" {
		c.Tenant = telemetry.DefaultTenant
	}
	switch {
	case c.CommitInterval == 0:
		c.CommitInterval = 2 * time.Millisecond
	case c.CommitInterval < 0:
		c.CommitInterval = 0
	}
	fill(&c.BatchBytes, 4<<20)
	fill(&c.BufferBytes, 32<<20)
	fill(&c.TopicCacheBytes, 128<<20)
	fill(&c.Lanes, runtime.GOMAXPROCS(0))
	fill(&c.QuarantinePayloadBytes, 256<<10)
	fill(&c.UnmatchedTopics, 100)
	if c.Clock == nil {
		c.Clock = NewClock(nil, nil)
	}
	return c
}

func fill(v *int, otherwise int) {
	if *v <= 0 {
		*v = otherwise
	}
}
