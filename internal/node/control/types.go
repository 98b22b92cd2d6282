package control

import (
	"context"
	"io"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Reason is one thing that keeps a node from being ready, or that a person
// should know about.
type Reason struct {
	Part    string `json:"part"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Degraded reasons do not make the node unready: it does its work.
	Degraded bool `json:"degraded,omitempty"`
}

// Status is what a node says about itself.
type Status struct {
	Version   string         `json:"version"`
	PID       int            `json:"pid"`
	Started   time.Time      `json:"started"`
	DataDir   string         `json:"data_dir"`
	Listeners []Listener     `json:"listeners"`
	Ready     bool           `json:"ready"`
	Reasons   []Reason       `json:"reasons"`
	Sources   []SourceStatus `json:"sources"`
	Schemas   []SchemaStatus `json:"schemas"`
	Unmatched []TopicCount   `json:"unmatched,omitempty"`
}

// Listener is an address that the node answers on.
type Listener struct {
	What    string `json:"what"`
	Address string `json:"address"`
}

// SourceStatus is one source with its counts. Received is the sum of all others.
type SourceStatus struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	URL         string            `json:"url,omitempty"` // of the broker, for kind mqtt
	Connected   bool              `json:"connected"`
	Detail      string            `json:"detail,omitempty"`
	Received    uint64            `json:"received"`
	Stored      uint64            `json:"stored"`
	Duplicate   uint64            `json:"duplicate"`
	Quarantined uint64            `json:"quarantined"`
	Dropped     map[string]uint64 `json:"dropped,omitempty"`
	Unmatched   uint64            `json:"unmatched"`
	InFlight    uint64            `json:"in_flight"`
}

// SchemaStatus is one active schema.
type SchemaStatus struct {
	Name    string   `json:"name"`
	Version int      `json:"version"`
	Table   string   `json:"table"`
	Filter  string   `json:"filter"`
	File    string   `json:"file"`
	Columns []string `json:"columns"`
	Tags    []string `json:"tags"`
}

// TopicCount is a topic that no schema matches.
type TopicCount struct {
	Topic string `json:"topic"`
	Count uint64 `json:"count"`
}

// Filter selects quarantine records; zero fields match all.
type Filter struct {
	Schema string           `json:"schema,omitempty"`
	Reason telemetry.Reason `json:"reason,omitempty"`
	Topic  string           `json:"topic,omitempty"` // an MQTT topic filter
	Since  time.Time        `json:"since,omitzero"`
	Limit  int              `json:"limit,omitempty"`
}

// Record is a quarantined message.
type Record struct {
	ID        int64            `json:"id"`
	Received  time.Time        `json:"received"`
	Source    string           `json:"source"`
	Topic     string           `json:"topic"`
	Payload   []byte           `json:"payload"`
	Size      int              `json:"size"`
	Truncated bool             `json:"truncated,omitempty"`
	Reason    telemetry.Reason `json:"reason"`
	Detail    string           `json:"detail"`
	Pointer   string           `json:"pointer"`
	Offset    int              `json:"offset"`
	Schema    string           `json:"schema,omitempty"`
	Version   int              `json:"version,omitempty"`
}

// Replayed is what a replay did. Tried = Stored + Kept.
type Replayed struct {
	Tried     int `json:"tried"`     // records that matched
	Stored    int `json:"stored"`    // of those: valid now, and gone from quarantine
	Kept      int `json:"kept"`      // of those: still wrong
	Readings  int `json:"readings"`  // that were stored
	Duplicate int `json:"duplicate"` // readings that were stored already
}

// Accepted is what accepting a schema document did.
type Accepted struct {
	Name    string   `json:"name"`
	Version int      `json:"version"`
	Table   string   `json:"table"`
	Breaks  []string `json:"breaks,omitempty"` // what made a new table necessary
}

// Delete says which readings to delete.
type Delete struct {
	Table string `json:"table"`
	Where string `json:"where"` // a condition, as SQL has it after WHERE
	// DryRun only counts them.
	DryRun bool `json:"dry_run,omitempty"`
}

// Deleted is what a Delete did, or would do.
type Deleted struct {
	Readings   int64 `json:"readings"`
	Unreadable int64 `json:"unreadable,omitempty"` // damaged, and so left alone
	// Final is a span of time, within that of the condition, of which rollups alone
	// are left, which a deletion does not reach; nil: there is none.
	Final *Span `json:"final,omitempty"`
}

// Span is a stretch of time, its end exclusive.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Backend is what a node offers to the commands; Client offers the same from
// another process.
type Backend interface {
	Status(ctx context.Context) (*Status, error)
	// Quarantined calls yield for each matching record, newest first, until it
	// returns false.
	Quarantined(ctx context.Context, f Filter, yield func(*Record) bool) error
	// Replay tries matching records again; what is valid now is stored, and its
	// record deleted in the same commit.
	Replay(ctx context.Context, f Filter) (*Replayed, error)
	// Accept records a schema document. Where it breaks the stored table it is
	// refused with CodeConflict, or, with breaking, opens a new table.
	Accept(ctx context.Context, file string, document []byte, breaking bool) (*Accepted, error)
	// Check says what Accept would do without breaking, and does nothing.
	Check(ctx context.Context, file string, document []byte) (*Accepted, error)
	// Delete deletes the readings that a condition selects: all, or none.
	Delete(ctx context.Context, d Delete) (*Deleted, error)
	// Query runs one statement and writes its rows as table, json or csv.
	Query(ctx context.Context, sql, format string, w io.Writer) error
}

// status of an error code in HTTP.
func statusOf(code telemetry.Code) int {
	switch code {
	case telemetry.CodeInvalid, telemetry.CodeRefused:
		return 400
	case telemetry.CodeNotFound:
		return 404
	case telemetry.CodeConflict:
		return 409
	case telemetry.CodeLimit, telemetry.CodeCardinality:
		return 422
	case telemetry.CodeUnavailable:
		return 503
	}
	return 500
}
