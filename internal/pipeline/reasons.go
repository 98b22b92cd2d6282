package pipeline

import (
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The reasons for dropping that are not reasons for quarantine.
const (
	// DroppedRetained: a retained value that the schema does not want.
	DroppedRetained telemetry.Reason = "retained"
	// DroppedEmpty: a valid message that holds no reading, as an empty list of rows.
	DroppedEmpty telemetry.Reason = "no_rows"
	// DroppedRecord: the store refused the quarantine record itself.
	DroppedRecord telemetry.Reason = "record_refused"
)

// reasons are all label values, in the order of their counters.
var reasons = [...]telemetry.Reason{
	telemetry.ReasonMalformed,
	telemetry.ReasonInvalid,
	telemetry.ReasonUnrepresentable,
	telemetry.ReasonTooLarge,
	telemetry.ReasonTime,
	telemetry.ReasonCardinality,
	telemetry.ReasonRefused,
	telemetry.ReasonTooLate,
	telemetry.ReasonBadTopic,
	DroppedRetained,
	DroppedEmpty,
	DroppedRecord,
	"other",
}

// firstDropOnly is the index of the first reason that no quarantine record has.
const firstDropOnly = 9

// QuarantineReasons are the reasons that records of the quarantine have.
func QuarantineReasons() []telemetry.Reason { return slices.Clone(reasons[:firstDropOnly]) }

// DropReasons are the reasons for which messages are dropped: those of the
// quarantine, where a schema wants no records, and those for dropping alone.
func DropReasons() []telemetry.Reason { return slices.Clone(reasons[:len(reasons)-1]) }

// reasonCounts counts by reason.
type reasonCounts [len(reasons)]uint64

func (c *reasonCounts) add(r telemetry.Reason, n uint64) {
	for i, o := range reasons {
		if o == r {
			c[i] += n
			return
		}
	}
	c[len(c)-1] += n
}

// addTo adds the counts that are not zero to a map.
func (c *reasonCounts) addTo(m map[telemetry.Reason]uint64) {
	for i, v := range c {
		if v != 0 {
			m[reasons[i]] += v
		}
	}
}
