package pipeline

import (
	"slices"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestReasonsForDroppingAloneAreNoReasonsForQuarantine(t *testing.T) {
	quarantine, drop := QuarantineReasons(), DropReasons()
	for _, r := range []telemetry.Reason{DroppedRetained, DroppedEmpty, DroppedRecord} {
		if slices.Contains(quarantine, r) || !slices.Contains(drop, r) {
			t.Errorf("%s is in the wrong list", r)
		}
	}
	for _, r := range []telemetry.Reason{telemetry.ReasonMalformed, telemetry.ReasonBadTopic} {
		if !slices.Contains(quarantine, r) || !slices.Contains(drop, r) {
			t.Errorf("%s is missing", r)
		}
	}
}
