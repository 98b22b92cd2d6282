// Package record reads what devices keep: the compact records of
// docs/format/record.md, with the binary plans of docs/format/plan.md that made
// them. It gives the values that the server's plan would have taken from the same
// payload: the same float64 bit for bit, the same int64, the same text.
package record
