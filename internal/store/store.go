// Package store defines what a store of readings promises. The promises are
// tested by package storetest, which runs against every implementation.
package store

import (
	"context"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Store keeps the readings, series, schemas, quarantine and session ledger of a
// node. All methods may be called concurrently, except that Stage and
// Staged.Commit are called in one order (see Stage).
type Store interface {
	// PutTable records a table version with the document it was compiled from.
	// Equal content is accepted again; other content under the same name and
	// version is CodeConflict.
	PutTable(ctx context.Context, tenant telemetry.Tenant, t *telemetry.Table, document []byte) error
	// Tables returns every recorded version, by name and version ascending.
	Tables(ctx context.Context, tenant telemetry.Tenant) ([]TableRecord, error)

	// Series returns the ref of a series, issuing one if it is new. A new ref
	// becomes durable with the first commit that uses it. tags holds the values
	// of table.Tags in order; nil elements are null. topic and tags are copied. Versions of
	// one table name with the same tag names share their series.
	// Over the tenant's budget: CodeCardinality.
	Series(tenant telemetry.Tenant, table *telemetry.Table, topic []byte, tags [][]byte) (telemetry.SeriesRef, error)

	// OpenSession returns the ledger id of a session key and what it holds.
	OpenSession(ctx context.Context, key string) (telemetry.SessionID, []telemetry.LedgerEntry, error)

	// Stage finds duplicates (filling Section.Duplicates), encodes, and makes
	// the commit ready. It may run while the Commit of the one before is under
	// way; stages are committed or aborted in the order they were staged. The
	// Commit's memory belongs to the caller again when Stage returns.
	Stage(ctx context.Context, c *telemetry.Commit) (Staged, error)

	// Quarantined calls yield for matching records, newest first, until it
	// returns false.
	Quarantined(ctx context.Context, tenant telemetry.Tenant, f QuarantineFilter, yield func(*telemetry.Quarantined) bool) error

	// Scan pins a consistent view of one table for reading.
	Scan(ctx context.Context, r ScanRequest) (Scan, error)

	// Health returns nil when commits can be made durable, else why not.
	Health() error
	// Close ends background work and releases the files. Nothing is lost
	// without it.
	Close() error
}

// Staged is a commit that waits to be made durable.
type Staged interface {
	// Commit returns nil only after everything is durable. CodeRefused says
	// that this data will never be accepted: the caller bisects. After any
	// other error the same Staged may be committed again. It is the only
	// method besides Abort, and one of them must end the Staged.
	Commit(ctx context.Context) error
	// Abort forgets the staged commit, with its effect on duplicates.
	Abort()
}

// TableRecord is a recorded table version.
type TableRecord struct {
	Table    *telemetry.Table
	Document []byte
	Recorded int64 // when, ns UTC
}

// QuarantineFilter selects quarantine records; zero fields match all.
type QuarantineFilter struct {
	Schema string
	Reason telemetry.Reason
	Topic  string // an MQTT topic filter
	Since  int64
	Limit  int
	// BeforeID continues a listing: only ids below it.
	BeforeID int64
}

// ScanRequest says what a scan will read.
type ScanRequest struct {
	Tenant telemetry.Tenant
	Table  string
	From   int64 // inclusive
	To     int64 // exclusive
	// Match selects series by topic and tag values (in the order of
	// Scan.TagNames); nil matches all. It is called once per series at most.
	Match func(topic string, tags []Tag) bool
	// TagIs are values that the tags of all series have that Match accepts: a
	// store may use them to ask Match for fewer.
	TagIs []TagIs
	// Ranges are conditions on numeric columns, joined by AND, that units may
	// use to be left out. Rows that fail them may still come.
	Ranges []ValueRange
	// Answer is offered each segment of which the scan wants all rows, before its
	// units are made: where it returns true, the statistics were enough and the
	// units are left out. nil: nothing is offered. It is called by Scan, in one
	// goroutine.
	Answer func(Segment) bool
	// Rollups allows rollups in place of readings, where the scan is a RollupScan;
	// nil: none.
	Rollups *RollupRequest
}

// Segment is a part of the store that many units belong to, as a whole.
type Segment struct {
	Rows             int64
	Units            int
	MinTime, MaxTime int64
	// Stats returns the statistics of a numeric column, and false where they
	// are not kept.
	Stats func(column string) (ColumnStats, bool)
}

// SegmentCount says what a scan did with segments.
type SegmentCount struct {
	All      int // of the table
	Skipped  int // left out whole, by time, series or values
	Answered int // left out because ScanRequest.Answer took their statistics
	RolledUp int // left out because a rollup stands for them
}

// DeleteRequest says which rows a Delete takes.
type DeleteRequest struct {
	// ScanRequest bounds where they may stand.
	ScanRequest
	// Select calls yield with rows to delete, counted as Unit.Read gives them and
	// ascending, once or more for each unit.
	Select func(ctx context.Context, scan Scan, u Unit, yield func(rows []int32) error) error
}

// TimeSpan is a stretch of time, ns UTC.
type TimeSpan struct {
	From int64 // inclusive
	To   int64 // exclusive
}

// Deleted is what a Delete did.
type Deleted struct {
	Rows       int64 // that are gone
	Unreadable int64 // that could not be looked at, because they are damaged
}

// Tag is one tag value.
type Tag struct {
	Value string
	Null  bool
}

// TagIs says that a tag is not null and has a value.
type TagIs struct{ Tag, Value string }

// ValueRange is a condition min <= column <= max, which a null does not meet.
type ValueRange struct {
	Column   string
	Min, Max float64
}

// Scan is a pinned view. It must be closed; until then what it sees is not
// deleted. It is safe for concurrent use, so that units decode in parallel.
type Scan interface {
	// Columns is the union of the field columns of all versions, widest type
	// first declared order. Empty when nothing was ever recorded.
	Columns() []telemetry.Column
	TagNames() []string
	// Series describes one series that units contain.
	Series(ref telemetry.SeriesRef) SeriesInfo
	// MaxSeries is above every ref that units contain.
	MaxSeries() telemetry.SeriesRef
	// Units are the parts that may hold matching rows. A row stands in exactly
	// one unit and exactly once: duplicates and overwritten rows are gone.
	Units() []Unit
	// Skipped counts the units that statistics left out.
	Skipped() int
	// Segments counts segments; of a store that has none, it is zero.
	Segments() SegmentCount
	Close()
}

// SeriesInfo is a series in words.
type SeriesInfo struct {
	Topic string
	Tags  []Tag // parallel to Scan.TagNames
}

// Unit is a part of a scan that is decoded on its own.
type Unit interface {
	Rows() int
	// Table is the version that the unit's rows were checked by.
	Table() *telemetry.Table
	MinTime() int64
	MaxTime() int64
	// Runs describes the unit's rows as runs of one series in ascending time,
	// without decoding them; nil where they are not sorted so. Rows of series
	// that the request does not match may stand in a unit: skip their runs, or
	// ask Wanted.
	Runs() []Run
	// RunStats returns, parallel to Runs, the statistics of a numeric column,
	// or nil where they are not kept. They cover all rows of the run.
	RunStats(column string) []ColumnStats
	// Wanted reports whether the request matches the series.
	Wanted(ref telemetry.SeriesRef) bool
	// Read decodes into dst: Series and Time always, Received if asked, and the
	// named columns in their order, with the types of Scan.Columns (a column
	// that the version lacks is null throughout). It gives all rows of the unit,
	// also those outside the time range or of other series: the caller filters.
	// It returns the count of bytes that were decoded.
	Read(dst *telemetry.Section, columns []string, received bool) (int64, error)
}

// Ranged is a Unit that knows the least and greatest series of its rows without
// reading anything.
type Ranged interface {
	SeriesRange() (least, greatest telemetry.SeriesRef)
}

// Run is consecutive rows of one series in a unit, ascending in time.
type Run struct {
	Series           telemetry.SeriesRef
	Start, Rows      int // row index of the first, and how many
	MinTime, MaxTime int64
}

// ColumnStats covers the values of one numeric column in one run.
type ColumnStats struct {
	Count    int // values that are not null
	Min, Max float64
	Sum      float64
}
