// Package node assembles a running Weir from its configuration: store, schemas,
// pipeline, sources, broker, queries, HTTP and the control socket. It is the one
// package that knows every room, and it owns the order in which they start and
// stop.
package node
