package chunk

import "github.com/weir-telemetry/weir/internal/telemetry"

// FrameSection is one section of a frame to be written. Rows listed in
// Section.Duplicates are left out; a section without rows to store is too.
type FrameSection struct {
	TableID uint32 // the catalog's id of the table version
	Section *telemetry.Section
}

// FrameOptions say how frames are sealed.
type FrameOptions struct {
	Sealer   Sealer // nil: not sealed
	Identity []byte // additional data that ties the frame to its place, as tenant and commit
}

// FrameMeta is what a reader knows of one section of a frame without decoding it.
type FrameMeta struct {
	TableID              uint32
	Rows                 int
	MinTime, MaxTime     int64
	MinSeries, MaxSeries telemetry.SeriesRef
	Types                []telemetry.ColumnType // of the field columns, in table order
}

// AppendFrame appends one frame with the sections to dst. Sections over
// MaxFrameRows become several. It fails only with CodeRefused, when a section
// contradicts itself (a dictionary code without entry, a column of another
// length), and then returns dst as it was.
func AppendFrame(dst []byte, secs []FrameSection, o FrameOptions) ([]byte, error) {
	return dst, telemetry.Errorf(telemetry.CodeInternal, "append frame", "not built yet")
}

// Frame is a frame that was opened for reading. It is immutable and safe for
// concurrent use; it refers to the bytes it was opened on.
type Frame struct {
	data []byte
	meta []FrameMeta
}

// OpenFrame checks a frame's header and directory. The pages are checked when
// they are read.
func OpenFrame(data []byte, o FrameOptions) (*Frame, error) {
	return nil, telemetry.Errorf(telemetry.CodeInternal, "open frame", "not built yet")
}

// Sections describes the frame's sections. Several may be of one table.
func (f *Frame) Sections() []FrameMeta { return f.meta }

// ReadSection decodes section i into dst: Series and Time always, Received if
// asked, and the field columns named by cols, as indexes into the table's
// columns, in that order (none for an empty cols; see AllColumns). t becomes
// dst.Table; its column types must be those of the frame. What dst held is
// overwritten and its memory reused. It returns the bytes that were decoded.
func (f *Frame) ReadSection(i int, dst *telemetry.Section, t *telemetry.Table, cols []int, received bool) (int64, error) {
	return 0, telemetry.Errorf(telemetry.CodeInternal, "read frame", "not built yet")
}

// AllColumns returns the indexes of all field columns of t.
func AllColumns(t *telemetry.Table) []int {
	cols := make([]int, len(t.Columns))
	for i := range cols {
		cols[i] = i
	}
	return cols
}
