package pipeline

import (
	"slices"
	"sort"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// settle moves the messages of a durable batch from in flight to where they ended.
// The lane is locked.
func (b *batch) settle() {
	for _, t := range b.tallies {
		t.source.inFlight -= t.messages
		t.source.inFlightReadings -= t.readings
		t.source.stored += t.messages
		t.source.storedReadings += t.readings
	}
	for _, bu := range b.active {
		if len(bu.section.Duplicates) > 0 || len(bu.refused) > 0 {
			bu.correct()
		}
	}
	for i := range b.quarantine {
		q := &b.quarantine[i]
		c := b.lane.sources[q.Source]
		c.inFlight--
		c.quarantined.add(q.Reason, 1)
	}
	for _, lost := range b.lost {
		lost.source.quarantined.add(lost.reason, ^uint64(0)) // one less
		lost.source.dropped.add(DroppedRecord, 1)
	}
}

// correct takes back from stored what the store had already, or refused. A message
// of several rows is quarantined if one of them was refused, and a duplicate if
// all of them were.
func (bu *builder) correct() {
	for _, row := range bu.section.Duplicates {
		c := bu.source(row)
		c.storedReadings--
		c.duplicateReadings++
		if !bu.inSpan(row) {
			c.stored--
			c.duplicate++
		}
	}
	for _, row := range bu.refused {
		c := bu.source(row)
		c.storedReadings--
		c.quarantinedReadings++
		if !bu.inSpan(row) {
			c.stored--
			c.quarantined.add(telemetry.ReasonRefused, 1)
		}
	}
	for _, s := range bu.spans {
		c := bu.source(s.first)
		switch {
		case within(bu.refused, s) > 0:
			c.stored--
			c.quarantined.add(telemetry.ReasonRefused, 1)
		case within(bu.section.Duplicates, s) == int(s.n):
			c.stored--
			c.duplicate++
		}
	}
}

// source returns who a row came from.
func (bu *builder) source(row int32) *sourceCounters {
	i := sort.Search(len(bu.runs), func(i int) bool { return bu.runs[i].first > row })
	return bu.runs[i-1].source
}

// inSpan reports whether a row is one of several of its message.
func (bu *builder) inSpan(row int32) bool {
	i := sort.Search(len(bu.spans), func(i int) bool { return bu.spans[i].first > row })
	return i > 0 && row < bu.spans[i-1].first+bu.spans[i-1].n
}

// within counts the rows of an ascending list that belong to a span.
func within(rows []int32, s span) int {
	from, _ := slices.BinarySearch(rows, s.first)
	to, _ := slices.BinarySearch(rows, s.first+s.n)
	return to - from
}
