// Package chunk turns telemetry sections into bytes and back: frames, which
// hold the fresh rows of one commit and are written fast, and segments, which
// hold the sorted rows of one table version and time partition and are written
// small. Both are made of pages; a page is one column of one run of rows,
// encoded, checksummed and, where it pays, compressed.
//
// The bytes are described in docs/format/frame.md and
// docs/format/store-segment.md. Nothing here knows files, catalogs or clocks: a
// frame is appended to the caller's buffer, a segment is written to an
// io.Writer and read through an io.ReaderAt.
//
// Every decoder takes any bytes: it returns a *telemetry.Error of CodeDamaged
// that names the place, never panics, and allocates no more than the limits of
// the formats allow.
package chunk
