// Package transfer carries readings between a store and files: CSV, NDJSON and
// Parquet both ways, dumps of InfluxDB and of PostgreSQL (TimescaleDB) inwards.
// docs/import.md describes the files.
//
// Outwards, Scan gives the rows of one stretch of time in an order that depends
// on the readings alone, with bounded memory, and an Encoder writes them.
// Inwards, a Reader gives batches of rows with a mark after each; whoever stores
// a batch stores its mark in the same step, so that an import that was killed
// goes on where it ended and gives each reading once.
package transfer
