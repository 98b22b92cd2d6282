// Package card knows the cards that recorders write: it formats them, reads them
// back, damaged or not, and replays logs of writes to prove what power cuts leave.
// The format is docs/format/segment.md; the firmware's side is firmware/core.
package card
