package chunk

// The limits of the formats. A reader refuses what exceeds them before it
// allocates.
const (
	MaxFrameRows     = 1 << 16 // rows of one frame section
	MaxBlockRows     = 1 << 16 // rows of one segment block
	MaxColumns       = 1 << 12 // field columns of a table
	MaxPageBytes     = 64 << 20
	DefaultBlockRows = 8192
)
