package chunk

import (
	"encoding/binary"
	"errors"
	"io"
	"sort"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// OpenOptions say how a segment is opened.
type OpenOptions struct {
	Name     string                 // names the file in errors
	Sealer   Sealer                 // nil, and Keys nil: not sealed
	Keys     func(id uint32) Sealer // as in FrameOptions
	Identity []byte
}

// BlockMeta is what the footer says of a block.
type BlockMeta struct {
	Offset, Length       int64
	Rows                 int
	MinTime, MaxTime     int64
	MinSeries, MaxSeries telemetry.SeriesRef

	head int32 // bytes of the head
}

// Segment is an open segment file. It is safe for concurrent use and holds
// about 64 bytes of memory per block, plus the arrival table once received_at
// was asked for.
type Segment struct {
	r        io.ReaderAt
	opts     OpenOptions
	meta     SegmentMeta
	table    *telemetry.Table
	blocks   []BlockMeta
	footer   int64         // offset
	totals   []ColumnStats // a field column each; nil: not kept
	arrivals struct {
		n      int
		entry  entry
		offset int64
		table  atomic.Pointer[Arrivals]
	}
}

func (s *Segment) damaged(op, format string, args ...any) *telemetry.Error {
	e := telemetry.Errorf(telemetry.CodeDamaged, op, format, args...)
	if s.opts.Name != "" {
		e.Message = "segment " + s.opts.Name + ": " + e.Message
	}
	return e
}

// OpenSegment reads the header, the trailer and the footer, and nothing else.
func OpenSegment(r io.ReaderAt, size int64, o OpenOptions) (*Segment, error) {
	const op = "open segment"
	s := &Segment{r: r, opts: o}
	if size < segmentHeader+segmentTrailer {
		return nil, s.damaged(op, "a file of %d bytes is no segment", size)
	}
	var head [segmentHeader]byte
	var trailer [segmentTrailer]byte
	if err := readFull(r, head[:], 0); err != nil {
		return nil, s.failed(op, "the header", err)
	}
	if err := readFull(r, trailer[:], size-segmentTrailer); err != nil {
		return nil, s.failed(op, "the trailer", err)
	}
	le := binary.LittleEndian
	if string(head[:4]) != segmentMagic {
		return nil, s.damaged(op, "it does not begin with %s", segmentMagic)
	}
	if checksum(head[:12]) != le.Uint32(head[12:]) {
		return nil, s.damaged(op, "checksum mismatch of the header, bytes 0 to 16")
	}
	if head[4] == 0 || head[4] > segmentVersion || head[5]&^featureSealed != 0 || head[6]|head[7] != 0 {
		return nil, s.damaged(op, "version %d with features %#x; this program reads versions up to %d", head[4], head[5], segmentVersion).
			WithHint("it was written by a newer program")
	}
	if string(trailer[20:]) != segmentEnd || checksum(trailer[:16]) != le.Uint32(trailer[16:]) {
		return nil, s.damaged(op, "the trailer, bytes %d to %d, is damaged, or the file is cut off", size-segmentTrailer, size)
	}
	sealer, err := matchSealer(op, head[5]&featureSealed != 0, le.Uint32(head[8:]), o.Sealer, o.Keys)
	if err != nil {
		return nil, err
	}
	s.opts.Sealer = sealer
	offset, length := le.Uint64(trailer[:]), int64(le.Uint32(trailer[8:]))
	if offset < segmentHeader || int64(offset) != size-segmentTrailer-length {
		return nil, s.damaged(op, "the footer should stand at bytes %d to %d of %d", offset, offset+uint64(length), size)
	}
	s.footer = int64(offset)
	footer := make([]byte, length)
	if err := readFull(r, footer, s.footer); err != nil {
		return nil, s.failed(op, "the footer", err)
	}
	if checksum(footer) != le.Uint32(trailer[12:]) {
		return nil, s.damaged(op, "checksum mismatch of the footer, bytes %d to %d", offset, offset+uint64(length))
	}
	if sealer != nil {
		if footer, err = s.opts.Sealer.Open(nil, footer, s.place(noPart, placeFooter).additional(nil)); err != nil {
			return nil, s.damaged(op, "the footer does not open: %v", err)
		}
	}
	if err := s.readFooter(footer, head[4]); err != nil {
		return nil, s.damaged(op, "the footer at byte %d: %v", offset, err)
	}
	s.meta.Bytes = size
	return s, nil
}

func (s *Segment) place(part, page uint32) place {
	return segmentPlace(s.opts.Sealer, s.opts.Identity, part, page)
}

// failed tells damage, which a short file is, from a disk that does not answer.
func (s *Segment) failed(op, what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.damaged(op, "%s is cut off: %v", what, err)
	}
	return telemetry.Errorf(telemetry.CodeUnavailable, op, "segment %s: read %s: %v", s.opts.Name, what, err)
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func readTable(r *reader) *telemetry.Table {
	t := &telemetry.Table{Name: r.string(), Version: r.size(1<<31 - 1)}
	t.Identity = telemetry.Identity(r.byte())
	t.TimeInPayload = r.byte() == 1
	for range r.size(min(MaxColumns, len(r.b))) {
		t.Tags = append(t.Tags, r.string())
	}
	for range r.size(min(MaxColumns, len(r.b))) {
		c := telemetry.Column{Name: r.string(), Type: telemetry.ColumnType(r.byte())}
		c.Unit = r.string()
		if c.Type < telemetry.Float || c.Type > telemetry.JSON {
			r.fail(errKind)
		}
		t.Columns = append(t.Columns, c)
	}
	return t
}

func (s *Segment) readFooter(b []byte, version byte) error {
	r := reader{b: b}
	s.meta.TableID = r.number32()
	s.table = readTable(&r)
	rows := r.uvarint()
	// A block takes at least 16 bytes of the file, which bounds what is
	// allocated for them.
	n := r.size(int((s.footer - segmentHeader) / 16))
	s.blocks = make([]BlockMeta, n)
	v := make([]uint64, n)
	at, total := int64(segmentHeader), uint64(0)
	for field := 0; field < 7 && n > 0; field++ {
		r.ints(v)
		for i, x := range v {
			m := &s.blocks[i]
			switch field {
			case 0:
				if x > uint64(s.footer-at) {
					return errRange
				}
				m.Offset, m.Length = at, int64(x)
				at += int64(x)
			case 1:
				if x > uint64(m.Length) || x > 1<<31-1 {
					return errRange
				}
				m.head = int32(x)
			case 2:
				if x == 0 || x > MaxBlockRows {
					return errRange
				}
				m.Rows = int(x)
				total += x
			case 3:
				m.MinSeries = telemetry.SeriesRef(x)
			case 4:
				m.MaxSeries = m.MinSeries + telemetry.SeriesRef(x)
			case 5:
				m.MinTime = int64(x)
			case 6:
				m.MaxTime = m.MinTime + int64(x)
			}
		}
	}
	s.arrivals.n = r.size(maxArrivals)
	if s.arrivals.n > 0 {
		s.arrivals.offset = at
		s.arrivals.entry.read(&r)
		at += int64(s.arrivals.entry.stored)
	}
	if version >= 2 {
		s.totals = readTotals(&r, len(s.table.Columns), rows)
	}
	if err := r.end(); err != nil {
		return err
	}
	if at != s.footer || total != rows {
		return errRows
	}
	s.summarize(int64(rows))
	return nil
}

func (s *Segment) summarize(rows int64) {
	m := &s.meta
	m.Rows, m.Blocks = rows, len(s.blocks)
	for i := range s.blocks {
		b := &s.blocks[i]
		if i == 0 {
			m.MinSeries, m.MinTime, m.MaxTime = b.MinSeries, b.MinTime, b.MaxTime
		}
		m.MaxSeries = b.MaxSeries
		m.MinTime, m.MaxTime = min(m.MinTime, b.MinTime), max(m.MaxTime, b.MaxTime)
	}
}

// Meta returns what the catalog keeps of the segment.
func (s *Segment) Meta() SegmentMeta { return s.meta }

// Table returns the table as the segment records it.
func (s *Segment) Table() *telemetry.Table { return s.table }

// Blocks returns the blocks in the order of their rows. The slice is shared.
func (s *Segment) Blocks() []BlockMeta { return s.blocks }

// Find returns the range of blocks, from first up to and without last, that
// may hold rows of a series.
func (s *Segment) Find(ref telemetry.SeriesRef) (first, last int) {
	first = sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].MaxSeries >= ref })
	last = first + sort.Search(len(s.blocks)-first, func(i int) bool { return s.blocks[first+i].MinSeries > ref })
	return first, last
}

// readArrivals returns the arrival table, which is read once.
func (s *Segment) readArrivals() (*Arrivals, error) {
	if a := s.arrivals.table.Load(); a != nil {
		return a, nil
	}
	a := &Arrivals{}
	if s.arrivals.n > 0 {
		sc := getScratch()
		defer putScratch(sc)
		stored := make([]byte, s.arrivals.entry.stored)
		if err := readFull(s.r, stored, s.arrivals.offset); err != nil {
			return nil, s.failed("read segment", "the arrivals", err)
		}
		body, err := sc.openPage(stored, s.arrivals.entry, s.place(noPart, placeArrivals))
		if err == nil {
			a, err = readArrivals(body, s.arrivals.n)
		}
		if err != nil {
			return nil, s.damaged("read segment", "arrivals at bytes %d to %d: %v", s.arrivals.offset, s.arrivals.offset+int64(len(stored)), err)
		}
	}
	s.arrivals.table.Store(a)
	return a, nil
}
