package schema

import (
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// RetainedPolicy says what becomes of a retained value that a broker sends when
// a subscription is made.
type RetainedPolicy uint8

// The policies.
const (
	RetainedLatest RetainedPolicy = iota // stored only if it differs from the series' latest reading
	RetainedNever                        // not stored
	RetainedAlways                       // stored like any other message
)

// Plan is a compiled schema document. It is immutable and safe for concurrent
// use.
type Plan struct {
	file        string
	document    []byte
	name        string
	version     int
	table       *telemetry.Table
	filter      string
	onDrop      bool
	retained    RetainedPolicy
	expectEvery time.Duration
	retention   time.Duration
	rollups     []Rollup
	payloadTags int

	device   bool // profile: device
	format   payloadFormat
	root     *node
	timeAs   timeFormat
	zone     *time.Location
	whens    int     // how many conditions `when` has
	slotMask uint64  // of the columns that the walk fills
	prefill  bool    // columns are made null before the walk, not after
	rowSlots []int32 // with rows: the columns that stand outside of them; never nil
	rowTags  []int32
	restSlot int // the place of _rest, -1 without
	library  *jsonschema.Schema
	slow     string // the keyword that asks for the library, and its line
	pattern  pattern
	when     []whenSpec
	timeText string // the pointer of the time
}

// payloadFormat is how a payload is written.
type payloadFormat uint8

const (
	formatJSON payloadFormat = iota
	formatValue
	formatText
)

// Table is what storage and queries know of the plan.
func (p *Plan) Table() *telemetry.Table { return p.table }

// Name is the document's name, which is its table's name unless a breaking
// version was accepted.
func (p *Plan) Name() string { return p.name }

// Version is the document's version.
func (p *Plan) Version() int { return p.version }

// File is where the document was read from.
func (p *Plan) File() string { return p.file }

// Document is the document as it was read.
func (p *Plan) Document() []byte { return p.document }

// Filter is the MQTT topic filter that the plan's topic pattern stands for.
func (p *Plan) Filter() string { return p.filter }

// OnInvalidDrop reports whether invalid messages are dropped, not quarantined.
func (p *Plan) OnInvalidDrop() bool { return p.onDrop }

// Retained says what becomes of retained values at subscribe.
func (p *Plan) Retained() RetainedPolicy { return p.retained }

// ExpectEvery is the longest silence that is normal, 0 where none was given.
func (p *Plan) ExpectEvery() time.Duration { return p.expectEvery }

// Retention is the age at which readings are deleted, 0 for never.
func (p *Plan) Retention() time.Duration { return p.retention }

// Rollups are the aggregates that the document asks for, the narrowest buckets
// first.
func (p *Plan) Rollups() []Rollup { return p.rollups }

// PayloadTags says how many of Table().Tags come from the payload; they stand
// after those that the topic gives.
func (p *Plan) PayloadTags() int { return p.payloadTags }

// Captures appends the values of the topic's named captures to dst, in the order
// of Table().Tags, and reports whether the topic matches the plan's pattern.
// The values point into topic.
func (p *Plan) Captures(topic []byte, dst [][]byte) ([][]byte, bool) {
	return p.pattern.match(topic, dst)
}

// Slow names the keyword of the payload's schema, and its line, that sends the
// schema to the full library; "" where the one-pass plan decides alone.
func (p *Plan) Slow() string { return p.slow }

// WithTable returns a copy of the plan that fills a table of another name, as
// "env_v2" after a breaking version was accepted.
func (p *Plan) WithTable(name string) *Plan {
	t := *p.table
	t.Name = name
	q := *p
	q.table = &t
	return &q
}
