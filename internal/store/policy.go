package store

import (
	"time"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Policy says which aggregates of a table are kept, and for how long.
type Policy struct {
	Retention time.Duration // the age at which readings are deleted; 0: never
	Rollups   []Rollup
}

// Rollup is one width of aggregates.
type Rollup struct {
	Every time.Duration // whole seconds that divide a day
	Keep  time.Duration // the age at which they are deleted; 0: never
}

// Keeper is a store that makes rollups and deletes what is old, in the background.
type Keeper interface {
	// SetPolicy says what holds for a table from now on. A store knows policies
	// only as long as it is open.
	SetPolicy(tenant telemetry.Tenant, table string, p Policy) error
	// RetentionTime is the time from which ages count, ns UTC. It may lag behind
	// the wall clock, where that may be wrong, and never goes back.
	RetentionTime() int64
}

// RollupRequest asks a scan for rollups in place of readings.
type RollupRequest struct {
	// Width is how wide the buckets are that the caller makes of them, in ns,
	// counted from 1970 (or a Monday): rollups of any width that divides it do. 0
	// makes one bucket of all time.
	Width int64
}

// RollupScan is a Scan that may answer stretches of time from rollups. What stands
// in a rollup unit stands in no other unit.
type RollupScan interface {
	RollupUnits() []RollupUnit
}

// RollupUnit is aggregates of one width: one row for each series and bucket.
// Buckets that the time range of the request cuts may be among them, and count
// for none of it: the readings of such a bucket are in other units, or gone.
type RollupUnit interface {
	Width() int64
	Rows() int
	Wanted(ref telemetry.SeriesRef) bool
	// Read decodes into dst: Series, Time (the start of the bucket), and the parts
	// in their order. A part of a field that the rollup lacks is null throughout;
	// numbers have the type that the field had when it was made, which may be Int
	// where Scan.Columns says Float. It returns the count of bytes decoded.
	Read(dst *telemetry.Section, parts []rollup.Ref) (int64, error)
}
