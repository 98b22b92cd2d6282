package telemetry

import "context"

// Message is one PUBLISH as it stands in the receive buffer. Topic and Payload
// are valid only until Session.Add returns.
type Message struct {
	Topic    []byte
	Payload  []byte
	Size     int // payload bytes as announced; larger than len(Payload) where the source truncated it
	Received int64
	Token    uint64 // handed back to Acker.Ack; ascending within a session. Ignored for QoS 0
	PacketID uint16
	QoS      uint8
	Dup      bool
	Retained bool // a retained value sent at subscribe
}

// Acker is the way back of a session: it is told, in the order of arrival, up to
// which token everything is durable (stored, quarantined, or decided to need no
// storing). Ack is called from the commit loop: it must not block and must not
// call back into the session; a source hands the token to its own writer.
type Acker interface {
	Ack(upTo uint64)
}

// Sink is what sources write to.
type Sink interface {
	// OpenSession returns the session of that key, with its ledger loaded. A
	// key names one MQTT session across reconnects and restarts, as
	// "mqtt:plant:weir-3f2a" or "broker:client7". At most one is open per key.
	// source names the source in metrics and quarantine records.
	OpenSession(ctx context.Context, source, key string, acker Acker) (Session, error)
}

// Session takes the messages of one MQTT session. Its methods are called by one
// goroutine at a time; Begin, Add, Release and End form a burst: all that one
// read from the socket brought.
type Session interface {
	// Begin waits until the pipeline has room: this is where back-pressure
	// reaches the socket. It returns ctx's error, or an error once the
	// pipeline has stopped; then nothing more may be added.
	Begin(ctx context.Context) error

	// Add takes one message. It never fails: what cannot be stored is
	// quarantined or counted, and its token is acknowledged in its turn.
	// It returns true while the burst may go on; after false the caller should
	// End and Begin again, because the batch is full.
	Add(m *Message) bool

	// Release ends a QoS 2 packet id (PUBREL came). The token is acknowledged
	// once the removal is durable; then PUBCOMP may be sent.
	Release(packetID uint16, token uint64)

	// End closes the burst and lets the commit loop see it.
	End()

	// Confirm says that the peer is known to have received every
	// acknowledgement up to this token, as a PINGRESP after it proves: ledger
	// entries up to there end.
	Confirm(upTo uint64)

	// Reset says that the broker no longer knows the session (session present
	// was 0): all its ledger entries end.
	Reset()

	// Close ends the use of the session by this source; its ledger stays.
	// After Close returns, the Acker is not called any more.
	Close()
}
