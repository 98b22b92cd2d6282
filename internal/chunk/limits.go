package chunk

// The limits of the formats. A reader refuses what exceeds them before it
// allocates.
const (
	MaxFrameRows     = 1 << 16 // rows of one frame section
	MaxBlockRows     = 1 << 16 // rows of one segment block
	MaxColumns       = 1 << 12 // field columns of a table
	MaxPageBytes     = 64 << 20
	DefaultBlockRows = 8192

	// maxText is the longest text, and about the most bytes of text that a
	// writer puts into one page, so that no page exceeds MaxPageBytes.
	maxText = 16 << 20
	// blockText is how many bytes of one text column end a segment block, so
	// that reading one takes little memory.
	blockText = 4 << 20
)
