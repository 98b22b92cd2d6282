package telemetry

// Commit is what becomes durable in one step: all of it or nothing.
type Commit struct {
	Batches []*Batch // at most one per tenant
	Ledger  []LedgerOp
}

// Batch is one tenant's part of a Commit.
type Batch struct {
	Tenant     Tenant
	Sections   []*Section // several of one table version are allowed
	Quarantine []Quarantined
	// Resolved are quarantine ids that this batch's readings replace: they are
	// deleted in the same step, so that a replay stores exactly once.
	Resolved []int64
}

// Reason says why a message was quarantined, dropped or not matched.
type Reason string

// The reasons. They are label values of metrics and part of the disk format.
const (
	ReasonMalformed       Reason = "malformed"       // not what the schema's format promises, as JSON
	ReasonInvalid         Reason = "invalid"         // parsed, and refused by the schema
	ReasonUnrepresentable Reason = "unrepresentable" // valid, and neither float64 nor int64 can hold it
	ReasonTooLarge        Reason = "too_large"       // over the size limit; the payload kept is truncated
	ReasonTime            Reason = "bad_time"        // the time field cannot be read or is out of range
	ReasonCardinality     Reason = "cardinality"     // the series budget is spent
	ReasonRefused         Reason = "refused"         // the store refused this reading and not its neighbours
	ReasonTooLate         Reason = "too_late"        // older than the retention
	ReasonUnmatched       Reason = "unmatched"       // no schema matches the topic
	ReasonBadTopic        Reason = "bad_topic"       // a topic name that the standard forbids
)

// Quarantined is a message that could not become readings, with why.
type Quarantined struct {
	ID       int64 // issued by the store
	Received int64
	Source   string
	Topic    string
	Payload  []byte
	Size     int // bytes as announced; larger than len(Payload) where it was truncated
	Reason   Reason
	Detail   string // one sentence for a person
	Pointer  string // JSON pointer (RFC 6901) of the offending value; "" is the whole payload
	Offset   int    // byte offset in the payload, -1 where it has none
	Schema   string
	Version  int
}

// SessionID names a session of the ledger; the store issues it.
type SessionID uint32

// LedgerOpKind is what a LedgerOp does.
type LedgerOpKind uint8

// The ledger operations. Their numbers are part of the disk format.
const (
	LedgerPut   LedgerOpKind = 1 // the commit holds this packet id
	LedgerDrop  LedgerOpKind = 2 // the entry of this packet id ended
	LedgerReset LedgerOpKind = 3 // the broker says that the session is gone: all its entries ended
)

// LedgerOp is one change of the session ledger, which decides about redelivery
// where the payload carries no time.
type LedgerOp struct {
	Session  SessionID
	PacketID uint16
	QoS      uint8
	Kind     LedgerOpKind
	Hash     uint64 // keyed hash of topic and payload
}

// LedgerEntry is a packet id that a session's commits hold.
type LedgerEntry struct {
	PacketID uint16
	QoS      uint8
	Hash     uint64
}
