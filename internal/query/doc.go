// Package query answers SQL over the readings of a store.
//
// A statement is parsed here. Selects of one table with expressions,
// aggregates, buckets, filters, grouping, ordering and limits run in a
// vectorised executor that reads only the columns it needs, decodes units in
// parallel and answers from statistics what they can answer. Every other
// statement runs in SQLite over read-only virtual tables. SQLite defines what
// an expression means on both paths; a differential test holds them together.
//
// The dialect is described in docs/query.md.
package query
