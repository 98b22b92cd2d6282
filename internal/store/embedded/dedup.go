package embedded

import (
	"context"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// dedup finds the duplicates of one staged batch.
type dedup struct {
	s    *Store
	tn   *tenant
	st   *staged
	secs []dedupSection

	replaced []rowKey // keys whose stored rows this batch overwrites
}

// dedupSection is a section of the batch.
type dedupSection struct {
	sec *telemetry.Section
	v   *tableVersion
	// overwritten lists rows that a later row of the batch overwrites.
	overwritten []int32
}

func (d *dedup) run(ctx context.Context) error {
	pages := d.tn.marks.pages
	for i := range d.secs {
		sec := d.secs[i].sec
		for row, ref := range sec.Series {
			mark := &pages[ref>>markPageBits][ref&(1<<markPageBits-1)]
			if t := sec.Time[row]; t > *mark {
				*mark = t
			}
		}
	}
	return nil
}
