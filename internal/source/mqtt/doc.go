// Package mqtt is the source that subscribes to an external MQTT broker, in
// versions 3.1.1 and 5.
//
// One goroutine reads the socket into a buffer that grows under load, parses
// every complete PUBLISH where it stands and gives the burst to a
// telemetry.Session. A second goroutine writes: when the commit loop says up to
// which token everything is durable, it turns the tokens back into packet
// identifiers and writes thousands of acknowledgements in one call. Nothing is
// allocated per message.
//
// What the source promises:
//
//   - A QoS 1 or 2 message is acknowledged only after the sink said that it is
//     durable, on the connection that delivered it, in the order of arrival. A
//     token of an earlier connection is forgotten: its packet identifier may mean
//     another message by now, and the broker sends the message again anyway.
//   - The session is persistent (clean start off, with an expiry). The broker
//     keeps what arrives while the node is away, within its own limits.
//   - Payloads over the limit are drained without being held; their beginning goes
//     to the sink with the announced size. They never cost the connection.
//   - A peer that breaks the standard is told why (MQTT 5) and left; connections
//     that do not last are spaced by a growing backoff, so that a message which
//     breaks every connection makes no hot loop.
//
// What the peer is known to have received (Session.Confirm) is derived from a
// PINGRESP that answers a PINGREQ sent after the acknowledgements. This relies on
// the broker handling one connection's packets in order, and on it sending what
// is to be redelivered before it answers a PINGREQ. Some brokers redeliver
// asynchronously, therefore the first seconds of a resumed session confirm
// nothing (Config.ConfirmGrace).
package mqtt
