package chunk

// Sealer encrypts and authenticates what a chunk writes. A nil Sealer leaves
// the bytes as they are. Implementations are safe for concurrent use.
//
// A page, a segment's block head and footer, and a frame's directory are sealed
// one by one, so that a reader opens only what it wants. The additional data
// ties sealed bytes to their place: a page moved to another block, column or
// file does not open.
type Sealer interface {
	// KeyID names the data key; it stands in clear in the header, so that a
	// reader can choose the key. It is never 0.
	KeyID() uint32
	// Seal appends the sealed form of plain to dst.
	Seal(dst, plain, additional []byte) []byte
	// Open appends the plain form of sealed to dst, or fails when it was
	// changed, moved, or sealed with another key.
	Open(dst, sealed, additional []byte) ([]byte, error)
}
