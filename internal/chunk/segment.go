package chunk

import (
	"io"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// SegmentOptions say how a segment is written. The zero value is good.
type SegmentOptions struct {
	// BlockRows is about how many rows a block holds; 0 is DefaultBlockRows.
	BlockRows int
	// Arrivals predicts received_at from series and time (see Arrivals); nil
	// stores received_at without it, which costs more where bursts are large.
	Arrivals *Arrivals
	Sealer   Sealer // nil: not sealed
	Identity []byte // additional data that ties the segment to its place, as tenant and segment id
}

// SegmentMeta is what the catalog keeps of a segment.
type SegmentMeta struct {
	TableID              uint32
	Rows                 int64
	Blocks               int
	Bytes                int64 // size of the file
	MinTime, MaxTime     int64
	MinSeries, MaxSeries telemetry.SeriesRef
}

// BlockMeta is what the footer says of a block.
type BlockMeta struct {
	Offset, Length       int64
	Rows                 int
	MinTime, MaxTime     int64
	MinSeries, MaxSeries telemetry.SeriesRef
}

// Run is consecutive rows of one series in a block, ascending in time. It has
// the fields of store.Run, so that store.Run(r) converts it.
type Run struct {
	Series           telemetry.SeriesRef
	Start, Rows      int
	MinTime, MaxTime int64
}

// ColumnStats covers the values of one numeric column in one run or block. It
// has the fields of store.ColumnStats. Integers beyond 2^53 are rounded to the
// nearest float64; sums of decimal columns are exact before that rounding.
type ColumnStats struct {
	Count    int // values that are not null
	Min, Max float64
	Sum      float64
}

// SegmentWriter writes one segment file. It is used by one goroutine.
type SegmentWriter struct{}

// NewSegmentWriter starts a segment of one table version. tableID is the
// catalog's id of it. The writer does not buffer more than one block and does
// not sync or close w.
func NewSegmentWriter(w io.Writer, tableID uint32, t *telemetry.Table, o SegmentOptions) *SegmentWriter {
	return &SegmentWriter{}
}

// Append adds rows, which must continue the order by (series, time); equal keys
// keep the order they come in. The section holds all columns of the table and
// belongs to the caller again when Append returns. After an error the writer
// only returns that error.
func (w *SegmentWriter) Append(sec *telemetry.Section) error {
	return telemetry.Errorf(telemetry.CodeInternal, "write segment", "not built yet")
}

// Close writes what is left and the footer.
func (w *SegmentWriter) Close() (SegmentMeta, error) {
	return SegmentMeta{}, telemetry.Errorf(telemetry.CodeInternal, "write segment", "not built yet")
}

// OpenOptions say how a segment is opened.
type OpenOptions struct {
	Name     string // names the file in errors
	Sealer   Sealer
	Identity []byte
}

// Segment is an open segment file. It is safe for concurrent use and holds
// about 64 bytes of memory per block, plus the arrival table once received_at
// was asked for.
type Segment struct{}

// OpenSegment reads the trailer and the footer, and nothing else.
func OpenSegment(r io.ReaderAt, size int64, o OpenOptions) (*Segment, error) {
	return nil, telemetry.Errorf(telemetry.CodeInternal, "open segment", "not built yet")
}

// Meta returns what the catalog keeps of the segment.
func (s *Segment) Meta() SegmentMeta { return SegmentMeta{} }

// Table returns the table as the segment records it.
func (s *Segment) Table() *telemetry.Table { return nil }

// Blocks returns the blocks in the order of their rows. The slice is shared.
func (s *Segment) Blocks() []BlockMeta { return nil }

// Find returns the range of blocks, from first up to and without last, that
// may hold rows of a series.
func (s *Segment) Find(ref telemetry.SeriesRef) (first, last int) { return 0, 0 }

// Head is the decoded head of a block: its runs and statistics. It is
// immutable; a caller may keep it for as long as it needs.
type Head struct{}

// Head reads the head of block i.
func (s *Segment) Head(i int) (*Head, error) {
	return nil, telemetry.Errorf(telemetry.CodeInternal, "read segment", "not built yet")
}

// Runs describes the block's rows as runs. The slice is shared.
func (h *Head) Runs() []Run { return nil }

// RunStats returns, parallel to Runs, the statistics of a field column, or nil
// where they are not kept: textual and boolean columns, columns with a NaN, and
// blocks whose runs are short.
func (h *Head) RunStats(col int) []ColumnStats { return nil }

// Stats returns the statistics of a field column over the whole block, and
// false where they are not kept.
func (h *Head) Stats(col int) (ColumnStats, bool) { return ColumnStats{}, false }

// Runs reads the runs of block i.
func (s *Segment) Runs(i int) ([]Run, error) { return nil, nil }

// RunStats reads the statistics of a field column in block i; see Head.RunStats.
func (s *Segment) RunStats(i, col int) ([]ColumnStats, error) { return nil, nil }

// ReadBlock decodes block i into dst: Series and Time always, Received if
// asked, and the field columns named by cols, as indexes into the table's
// columns, in that order. What dst held is overwritten and its memory reused.
// dst.Table becomes Table(). It returns the bytes that were decoded.
func (s *Segment) ReadBlock(i int, dst *telemetry.Section, cols []int, received bool) (int64, error) {
	return 0, telemetry.Errorf(telemetry.CodeInternal, "read segment", "not built yet")
}

// Damage names one damaged place of a segment.
type Damage struct {
	Offset, Length int64
	Block          int    // -1: header, footer or trailer
	Part           string // "head", "time", "received_at", a column's name, "footer"
	Err            error
}

// Verify reads and decodes everything and returns all that is damaged.
func (s *Segment) Verify() []Damage { return nil }
