package pipeline

import (
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sourceCounters counts, for one lane, the messages of one source. They are
// guarded by the lane's lock, and so agree with each other at any time.
type sourceCounters struct {
	name string

	received, receivedBytes uint64
	stored                  uint64
	duplicate               uint64
	unmatched               uint64
	inFlight                uint64
	quarantined             reasonCounts
	dropped                 reasonCounts

	readings, storedReadings, duplicateReadings uint64
	quarantinedReadings, inFlightReadings       uint64
}

// SourceStats counts what became of the messages of one source since the start.
//
// Received = Stored + Duplicate + sum(Quarantined) + sum(Dropped) + Unmatched +
// InFlight, and Readings = StoredReadings + DuplicateReadings +
// QuarantinedReadings + InFlightReadings, in every snapshot. A redelivery is
// received again and is a duplicate.
type SourceStats struct {
	Source        string
	Received      uint64
	ReceivedBytes uint64 // of payloads
	Stored        uint64
	Duplicate     uint64
	Quarantined   map[telemetry.Reason]uint64
	Dropped       map[telemetry.Reason]uint64
	Unmatched     uint64
	InFlight      uint64

	Readings            uint64
	StoredReadings      uint64
	DuplicateReadings   uint64
	QuarantinedReadings uint64 // extracted, and refused by the store
	InFlightReadings    uint64
}

// Stats is a snapshot of what a pipeline did and does.
type Stats struct {
	Sources []SourceStats // by name

	Commits         uint64 // store commits; those that only acknowledge are not counted
	CommittedRows   uint64
	CommittedBytes  uint64
	TakenApart      uint64 // commits that the store refused
	LastCommit      time.Time
	CommitRows      Histogram // rows
	StageSeconds    Histogram
	CommitSeconds   Histogram // to make durable
	AckSeconds      Histogram // from the arrival of a commit's oldest message to its acknowledgement
	BufferedBytes   int64
	BufferBytes     int64 // the bound
	Blocked         int   // bursts that wait for room
	OpenSessions    int
	CachedTopics    int
	TopicCacheBytes int64
	Replayed        uint64 // quarantined messages that were stored by replay
	Trouble         error  // why commits do not succeed at present
	TroubleSince    time.Time
}

// Histogram counts values by upper bound; the last count has no bound.
type Histogram struct {
	Bounds []float64
	Counts []uint64 // len(Bounds)+1, not cumulative
	Count  uint64
	Sum    float64
}

var (
	secondsBounds = []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}
	rowsBounds    = []float64{1, 10, 100, 1000, 10_000, 100_000, 1_000_000}
)

func newHistogram(bounds []float64) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

func (h *Histogram) observe(v float64) {
	i := 0
	for i < len(h.Bounds) && v > h.Bounds[i] {
		i++
	}
	h.Counts[i]++
	h.Count++
	h.Sum += v
}

func (h Histogram) clone() Histogram {
	h.Counts = append([]uint64(nil), h.Counts...)
	return h
}

// commitStats is what the commit loop counts.
type commitStats struct {
	mu                          sync.Mutex
	commits, rows, bytes, apart uint64
	replayed                    uint64
	last                        time.Time
	size, stage, commit, ack    Histogram
}

func (s *commitStats) init() {
	s.size = newHistogram(rowsBounds)
	s.stage, s.commit, s.ack = newHistogram(secondsBounds), newHistogram(secondsBounds), newHistogram(secondsBounds)
}

func (s *commitStats) staged(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage.observe(d.Seconds())
}

func (s *commitStats) committed(rows int, bytes int64, d time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	s.rows += uint64(rows)
	s.bytes += uint64(bytes)
	s.size.observe(float64(rows))
	s.commit.observe(d.Seconds())
	s.last = now
}

func (s *commitStats) takenApart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apart++
}

func (s *commitStats) replay(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replayed += uint64(n)
}

func (s *commitStats) acknowledged(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ack.observe(d.Seconds())
}

// Stats returns a snapshot.
func (p *Pipeline) Stats() Stats {
	var out Stats
	at := map[string]int{}
	for _, l := range p.lanes {
		l.mu.Lock()
		for name, c := range l.sources {
			i, ok := at[name]
			if !ok {
				i = len(out.Sources)
				at[name] = i
				out.Sources = append(out.Sources, SourceStats{
					Source:      name,
					Quarantined: map[telemetry.Reason]uint64{},
					Dropped:     map[telemetry.Reason]uint64{},
				})
			}
			c.addTo(&out.Sources[i])
		}
		out.CachedTopics += l.topics.count
		l.mu.Unlock()
	}
	sortSources(out.Sources)

	s := &p.commits
	s.mu.Lock()
	out.Commits, out.CommittedRows, out.CommittedBytes, out.TakenApart = s.commits, s.rows, s.bytes, s.apart
	out.LastCommit, out.Replayed = s.last, s.replayed
	out.CommitRows, out.StageSeconds, out.CommitSeconds, out.AckSeconds = s.size.clone(), s.stage.clone(), s.commit.clone(), s.ack.clone()
	s.mu.Unlock()

	out.BufferedBytes, out.BufferBytes = p.budget.used.Load(), p.budget.limit
	out.Blocked = int(p.budget.waiting.Load())
	out.OpenSessions = int(p.openSessions.Load())
	out.TopicCacheBytes = p.cache.used.Load()
	if t := p.trouble.Load(); t != nil {
		out.Trouble, out.TroubleSince = t.err, t.since
	}
	return out
}

func (c *sourceCounters) addTo(s *SourceStats) {
	s.Received += c.received
	s.ReceivedBytes += c.receivedBytes
	s.Stored += c.stored
	s.Duplicate += c.duplicate
	s.Unmatched += c.unmatched
	s.InFlight += c.inFlight
	c.quarantined.addTo(s.Quarantined)
	c.dropped.addTo(s.Dropped)
	s.Readings += c.readings
	s.StoredReadings += c.storedReadings
	s.DuplicateReadings += c.duplicateReadings
	s.QuarantinedReadings += c.quarantinedReadings
	s.InFlightReadings += c.inFlightReadings
}

// Balance is received less everything that became of it: 0.
func (s *SourceStats) Balance() int64 {
	n := int64(s.Received) - int64(s.Stored+s.Duplicate+s.Unmatched+s.InFlight)
	for _, v := range s.Quarantined {
		n -= int64(v)
	}
	for _, v := range s.Dropped {
		n -= int64(v)
	}
	return n
}

// ReadingsBalance is the readings less everything that became of them: 0.
func (s *SourceStats) ReadingsBalance() int64 {
	return int64(s.Readings) - int64(s.StoredReadings+s.DuplicateReadings+s.QuarantinedReadings+s.InFlightReadings)
}
