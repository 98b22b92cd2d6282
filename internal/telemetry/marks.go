package telemetry

// Row is one reading that was checked before it came, by a device that runs the
// same schemas. Its slices are valid only until AddRow returns.
type Row struct {
	Schema   string
	Version  int
	Topic    []byte
	Time     int64 // UTC; where the schema has no time in the payload, when the device received it
	Received int64
	Tags     []Tag   // payload tags, in the order of the schema
	Values   []Value // parallel to the columns of the table
}

// Tag is the value of a payload tag.
type Tag struct {
	Text []byte
	Null bool
}

// Mark is a number that a source keeps under an id.
type Mark struct {
	ID    uint16
	Value uint64
}

// MarkSession is a Session of a source that knows by itself what came before. Its
// marks become durable in the transaction that stores what was added in the same
// burst, also where the store refuses a part of it and that is quarantined.
type MarkSession interface {
	Session

	// Marks returns the marks that the session has, in no order.
	Marks() []Mark
	// AddRow takes one reading, as Add does. It returns false, and takes
	// nothing, where no active schema has the name and version, or other columns.
	AddRow(r *Row) (taken, more bool)
	// Refuse quarantines what could not be read; only Topic, Payload and Received
	// of the message count.
	Refuse(m *Message, reason Reason, detail string) bool
	// Mark sets a mark, Unmark removes it.
	Mark(id uint16, value uint64)
	Unmark(id uint16)
	// Token is acknowledged when everything up to here is durable.
	Token(token uint64)
}
