// Package broker is the embedded MQTT broker of a node: tcp, tls and WebSocket
// listeners, MQTT 3.1, 3.1.1 and 5.
//
// # Who does what
//
// Every connection is wrapped before it is given to mochi-mqtt/server. The
// wrapper (conn) reads the client's bytes into a large borrowed buffer and cuts
// them into packets. CONNECT, DISCONNECT and AUTH go on to mochi, which answers
// CONNACK, keeps the registry of clients and the expiry of their sessions, the
// index of subscriptions, the index of retained messages and the $SYS topics.
// What carries messages is handled here:
//
//   - PUBLISH is parsed in place and goes to the telemetry.Sink, a burst per read
//     (publish.go). PUBACK, PUBREC and PUBCOMP are written when the sink says that
//     the commit is durable, in the order of arrival (acks.go). mochi acknowledges
//     before anything is durable and takes 4.6 µs for a message.
//   - Subscribers get the message at its receipt; they do not wait for the
//     commit (fanout.go, outbox.go). mochi's own delivery (2.7.9) is not used: it
//     drops QoS 1 messages when a channel of a fixed length is full; a subscriber
//     with receive maximum 1 was seen to get two of five messages and then none,
//     because a message that had to wait takes its slot for ever; and twenty
//     messages queued within a second came to a resumed session in random order.
//   - SUBSCRIBE and UNSUBSCRIBE change mochi's indexes (subscribe.go).
//   - A will is a PUBLISH too: it reaches the sink and keeps its properties (will.go).
//
// # What is promised
//
//   - A QoS 1 or 2 message is acknowledged after its commit, never before. A client
//     may send as many messages as its packet identifiers allow without waiting.
//     Back-pressure of the sink stops the reading of its socket, and of no other.
//   - Sessions, subscriptions and retained messages survive a restart where
//     Config.Dir is set. A retained message whose PUBLISH was acknowledged survives
//     kill -9 and power cuts: its record is synced before the acknowledgement. A
//     subscription whose SUBACK was sent survives kill -9; a power cut may take the
//     last second of them.
//     They are in a journal, docs/format/broker-journal.md.
//   - Messages that wait for a subscriber that is away survive an orderly Stop, not a
//     crash. They are stored readings by then; only their forwarding is lost.
//   - A message reaches each subscriber at most once per QoS 2 packet id as long as
//     the node runs. The sink's ledger keeps that promise for stored readings across
//     crashes too.
//   - A will is not published when the node itself stops (section 3.1.2.5 lets a
//     server defer it): its clients come back and are not away.
//
// # Names for the sink
//
// The session of a client is "broker:<client id>". Clients whose id was made up by
// the broker, and whose session ends with the connection, share the sessions
// "broker~1", "broker~2" and so on, so that a command line tool called
// every second does not leave a ledger for each call. Wills come from "broker~wills".
package broker
