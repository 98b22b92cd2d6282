package chunk

import "github.com/weir-telemetry/weir/internal/telemetry"

// Merger sorts the rows of decoded frames by (series, time, arrival) for a
// segment. It is used by one goroutine and may be reused after Reset.
type Merger struct{}

// NewMerger returns a Merger for the rows of one table version.
func NewMerger(t *telemetry.Table) *Merger { return &Merger{} }

// Add takes a section with all columns and received times, in the order of
// arrival. The Merger refers to it until Merge has returned or Reset is called.
func (m *Merger) Add(sec *telemetry.Section) {}

// Rows counts the rows that were added.
func (m *Merger) Rows() int { return 0 }

// Arrivals builds the arrival table of the rows added, or returns nil where it
// would not pay.
func (m *Merger) Arrivals() *Arrivals { return nil }

// Merge calls yield with sections of the sorted rows. Where the table's
// identity is IdentityTime, only the last arrival of a (series, time) is given;
// else all rows are. The section given is valid until yield returns.
func (m *Merger) Merge(yield func(*telemetry.Section) error) error { return nil }

// Reset forgets the rows and keeps the memory.
func (m *Merger) Reset() {}

// Source gives rows sorted by (series, time), a section at a time.
type Source interface {
	// Next overwrites dst with the next rows and returns false at the end.
	Next(dst *telemetry.Section) (bool, error)
}

// Source returns a Source of the segment's rows.
func (s *Segment) Source() Source { return nil }

// Source returns a Source of the merger's rows.
func (m *Merger) Source() Source { return nil }

// MergeSources merges sorted sources of one table into one order, holding one
// section of each in memory. Sources are given from the oldest arrival to the
// newest: rows with equal keys keep that order, and with IdentityTime the
// newest wins.
func MergeSources(t *telemetry.Table, sources []Source, yield func(*telemetry.Section) error) error {
	return nil
}

// MergeArrivals joins the arrival tables of segments that are merged; nil where
// none would pay.
func MergeArrivals(segs []*Segment) (*Arrivals, error) { return nil, nil }
