// Package telemetry holds the words that every room of Weir shares: tenants,
// tables, series, readings in columns, batches, acknowledgements, quarantine
// records and errors. It imports the standard library only, so that no
// technology leaks into the domain.
//
// Times are int64 nanoseconds since 1970-01-01T00:00:00Z.
package telemetry
