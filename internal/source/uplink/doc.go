// Package uplink takes what recorders hand over (docs/format/uplink.md): it reads
// their batches from weir/up/{device}, stores each record once, asks for what is
// missing, and says on weir/down/{device} how far everything is durable.
//
// It stands between the sources and the pipeline: a Gateway is a telemetry.Sink
// that keeps the messages of weir/up/ to itself and passes on everything else. What
// it knows of a device (which sequences of which epochs are stored) are marks of
// the device's own session, durable in the transaction that stores the readings.
package uplink
