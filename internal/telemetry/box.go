package telemetry

// Box seals what a part of the node keeps in files of its own. A nil Box leaves it
// in clear. It is safe for concurrent use.
type Box interface {
	// Seal appends the sealed form of plain to dst. place ties it to where it
	// stands: it opens nowhere else.
	Seal(dst, plain []byte, place string) ([]byte, error)
	// Open appends the plain form of sealed to dst, or fails when it was changed,
	// moved, or sealed by another node.
	Open(dst, sealed []byte, place string) ([]byte, error)
}
