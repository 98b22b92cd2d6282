// Package wire reads and writes MQTT 3.1.1 and MQTT 5 control packets, for the
// client source, the embedded broker's publish path, the load generator and
// the tests' scripted brokers.
//
// PUBLISH is parsed in place: its topic, payload and properties point into the
// caller's buffer and nothing is allocated. Encoders append to the caller's
// buffer. Every refusal is an *Error that names the clause of the standard and
// the MQTT 5 reason code that the connection is to be closed with.
//
// A reader walks a buffer with ReadHeader, takes the body and gives it to the
// Parse function of the packet's type:
//
//	h, n, err := wire.ReadHeader(buf)   // n is 0 while the header is incomplete
//	body := buf[n : n+h.Remaining]
//	err = wire.ParsePublish(&p, version, h.First, body)
//
// The clauses are those of OASIS MQTT Version 5.0; where 3.1.1 says the same
// under another number, the number of version 5 is named.
package wire
