package chunk

import (
	"encoding/binary"
	"fmt"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

const (
	frameMagic   = "WFRM"
	frameVersion = 1
	frameHeader  = 20

	featureSealed = 1 // of frames and segments

	noPart = 1<<32 - 1 // stands for the whole in additional data
)

// FrameSection is one section of a frame to be written. Rows listed in
// Section.Duplicates are left out; a section without rows to store is too.
type FrameSection struct {
	TableID uint32 // the catalog's id of the table version
	Section *telemetry.Section
}

// FrameOptions say how frames are sealed.
type FrameOptions struct {
	Sealer Sealer // nil, and Keys nil: not sealed
	// Keys finds the sealer of a key id, nil for one that is not known. It takes
	// the place of Sealer for reading.
	Keys     func(id uint32) Sealer
	Identity []byte // additional data that ties the frame to its place, as tenant and commit
}

// additional is what ties a frame's sealed bytes to its place and its header.
func (o FrameOptions) additional(header []byte) []byte {
	b := make([]byte, 0, len(o.Identity)+1+len(header))
	return append(append(append(b, o.Identity...), 'F'), header...)
}

// FrameMeta is what a reader knows of one section of a frame without decoding it.
type FrameMeta struct {
	TableID              uint32
	Rows                 int
	MinTime, MaxTime     int64
	MinSeries, MaxSeries telemetry.SeriesRef
	Types                []telemetry.ColumnType // of the field columns, in table order
}

// frameSection is FrameMeta with where its pages are.
type frameSection struct {
	pages []entry // series, time, received, columns
	start int     // offset of the first page in the frame
}

// Frame is a frame that was opened for reading. It is immutable and safe for
// concurrent use; it refers to the bytes it was opened on, or, where these are
// sealed, holds a copy in clear.
type Frame struct {
	data  []byte
	meta  []FrameMeta
	parts []frameSection
}

// Pages of a section before its field columns.
const (
	pageSeries = iota
	pageTime
	pageReceived
	pageColumns
)

func damagedFrame(format string, args ...any) *telemetry.Error {
	return telemetry.Errorf(telemetry.CodeDamaged, "open frame", format, args...)
}

// OpenFrame checks a frame's header and directory. The pages are checked when
// they are read.
func OpenFrame(data []byte, o FrameOptions) (*Frame, error) {
	if len(data) < frameHeader || string(data[:4]) != frameMagic {
		return nil, damagedFrame("frame of %d bytes does not begin with %s", len(data), frameMagic)
	}
	if data[4] != frameVersion {
		return nil, damagedFrame("frame has version %d; this program reads version %d", data[4], frameVersion).
			WithHint("it was written by a newer program, or is damaged")
	}
	if data[5]&^featureSealed != 0 || data[6] != 0 || data[7] != 0 {
		return nil, damagedFrame("frame has features %#x that this program does not know", data[5])
	}
	length := int64(binary.LittleEndian.Uint32(data[12:]))
	if frameHeader+length > int64(len(data)) {
		return nil, damagedFrame("frame of %d bytes is cut off within its directory", len(data))
	}
	dir := data[frameHeader : frameHeader+int(length)]
	if data[5]&featureSealed != 0 {
		dir = data[frameHeader:] // which is all of it
	}
	sum := checksumFrame(data[:16], dir)
	if sum != binary.LittleEndian.Uint32(data[16:]) {
		return nil, damagedFrame("checksum mismatch of frame header and directory, bytes 0 to %d", frameHeader+len(dir))
	}
	sealer, err := matchSealer("open frame", data[5]&featureSealed != 0, binary.LittleEndian.Uint32(data[8:]), o.Sealer, o.Keys)
	if err != nil {
		return nil, err
	}
	if sealer != nil {
		plain := make([]byte, frameHeader, len(data))
		copy(plain, data)
		if data, err = sealer.Open(plain, dir, o.additional(data[:16])); err != nil {
			return nil, damagedFrame("frame does not open: %v", err)
		}
		if frameHeader+length > int64(len(data)) {
			return nil, damagedFrame("frame of %d bytes is cut off within its directory", len(data))
		}
		dir = data[frameHeader : frameHeader+int(length)]
	}
	f := &Frame{data: data}
	r := reader{b: dir}
	f.readDirectory(&r, frameHeader+int(length))
	if err := r.end(); err != nil {
		return nil, damagedFrame("frame directory at byte %d: %v", frameHeader, err)
	}
	return f, nil
}

func checksumFrame(head, dir []byte) uint32 {
	return crc32Update(checksum(head), dir)
}

// matchSealer returns the sealer of a key. It refuses one for clear bytes, none
// for sealed ones, and one of another key.
func matchSealer(op string, sealed bool, key uint32, s Sealer, keys func(uint32) Sealer) (Sealer, error) {
	given := s != nil || keys != nil
	if sealed && keys != nil {
		if s = keys(key); s == nil {
			return nil, telemetry.Errorf(telemetry.CodeDamaged, op, "sealed with key %d, which the key ring does not have", key)
		}
	}
	switch {
	case sealed && !given:
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "sealed with key %d, and no key was given", key)
	case !sealed && given:
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "not sealed, and a key was given")
	case sealed && s.KeyID() != key:
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "sealed with key %d, and key %d was given", key, s.KeyID())
	}
	return s, nil
}

func (f *Frame) readDirectory(r *reader, at int) {
	sections := r.size(len(r.b))
	for range sections {
		var m FrameMeta
		m.TableID = r.number32()
		m.Rows = r.size(MaxFrameRows)
		m.MinTime = r.varint()
		m.MaxTime = m.MinTime + int64(r.uvarint())
		m.MinSeries = telemetry.SeriesRef(r.number32())
		m.MaxSeries = m.MinSeries + telemetry.SeriesRef(r.number32())
		columns := r.size(min(MaxColumns, len(r.b)))
		for _, t := range r.bytes(columns) {
			if t < byte(telemetry.Float) || t > byte(telemetry.JSON) {
				r.fail(errKind)
			}
			m.Types = append(m.Types, telemetry.ColumnType(t))
		}
		if m.Rows == 0 || m.MaxTime < m.MinTime || m.MaxSeries < m.MinSeries {
			r.fail(errRange)
		}
		if r.err != nil {
			return
		}
		p := frameSection{start: at, pages: make([]entry, columns+pageColumns)}
		for i := range p.pages {
			p.pages[i].read(r)
			at += p.pages[i].stored
			if at > len(f.data) {
				r.fail(errShort)
				return
			}
		}
		f.meta = append(f.meta, m)
		f.parts = append(f.parts, p)
	}
	if at != len(f.data) {
		r.fail(errTrailing)
	}
}

// Sections describes the frame's sections. Several may be of one table.
func (f *Frame) Sections() []FrameMeta { return f.meta }

// AllColumns returns the indexes of all field columns of t.
func AllColumns(t *telemetry.Table) []int {
	cols := make([]int, len(t.Columns))
	for i := range cols {
		cols[i] = i
	}
	return cols
}

// ReadSection decodes section i into dst: Series and Time always, Received if
// asked, and the field columns named by cols, as indexes into the table's
// columns, in that order (none for an empty cols; see AllColumns). t becomes
// dst.Table; its column types must be those of the frame. What dst held is
// overwritten and its memory reused. It returns the bytes that were decoded.
func (f *Frame) ReadSection(i int, dst *telemetry.Section, t *telemetry.Table, cols []int, received bool) (int64, error) {
	const op = "read frame"
	if i < 0 || i >= len(f.meta) {
		return 0, telemetry.Errorf(telemetry.CodeInvalid, op, "section %d of %d", i, len(f.meta))
	}
	m, p := &f.meta[i], &f.parts[i]
	if err := checkColumns(op, t, m.Types, cols); err != nil {
		return 0, err
	}
	s := getScratch()
	defer putScratch(s)
	d := frameReader{f: f, s: s, section: i}
	resetSection(dst, t, m.Rows, len(cols), received)
	s.series = grow(s.series, m.Rows)
	if err := d.page(pageSeries, "series", func(b []byte) error { return decodeInts(s.series, b, nil) }); err != nil {
		return d.bytes, err
	}
	if err := copySeries(dst.Series, s.series, m.MinSeries, m.MaxSeries); err != nil {
		return d.bytes, d.damaged(pageSeries, "series", err)
	}
	if err := d.page(pageTime, "time", func(b []byte) error { return decodeInts(asBits(dst.Time), b, nil) }); err != nil {
		return d.bytes, err
	}
	if received {
		err := d.page(pageReceived, "received_at", func(b []byte) error { return decodeInts(asBits(dst.Received), b, nil) })
		if err != nil {
			return d.bytes, err
		}
	}
	for j, c := range cols {
		err := d.page(pageColumns+c, t.Columns[c].Name, func(b []byte) error {
			return decodeColumn(&dst.Columns[j], p.types(m, c), b, m.Rows)
		})
		if err != nil {
			return d.bytes, err
		}
	}
	return d.bytes, nil
}

func (p *frameSection) types(m *FrameMeta, col int) telemetry.ColumnType { return m.Types[col] }

// frameReader reads the pages of one section.
type frameReader struct {
	f       *Frame
	s       *scratch
	section int
	bytes   int64
}

func (d *frameReader) offset(page int) int {
	at := d.f.parts[d.section].start
	for _, e := range d.f.parts[d.section].pages[:page] {
		at += e.stored
	}
	return at
}

func (d *frameReader) damaged(page int, name string, err error) error {
	return telemetry.Errorf(telemetry.CodeDamaged, "read frame", "section %d, %s, page of %d bytes at byte %d: %v",
		d.section, name, d.f.parts[d.section].pages[page].stored, d.offset(page), err)
}

func (d *frameReader) page(page int, name string, decode func([]byte) error) error {
	e := d.f.parts[d.section].pages[page]
	at := d.offset(page)
	d.bytes += int64(e.stored)
	body, err := d.s.openPage(d.f.data[at:at+e.stored], e, place{})
	if err == nil {
		err = decode(body)
	}
	if err != nil {
		return d.damaged(page, name, err)
	}
	return nil
}

// checkColumns refuses columns that the bytes do not have, or have otherwise.
func checkColumns(op string, t *telemetry.Table, types []telemetry.ColumnType, cols []int) error {
	if len(t.Columns) != len(types) {
		return telemetry.Errorf(telemetry.CodeInvalid, op, "table %q version %d has %d columns, the data %d",
			t.Name, t.Version, len(t.Columns), len(types))
	}
	for i := range types {
		if types[i] != t.Columns[i].Type {
			return telemetry.Errorf(telemetry.CodeInvalid, op, "column %q is %s in table %q version %d, and %s in the data",
				t.Columns[i].Name, t.Columns[i].Type, t.Name, t.Version, types[i])
		}
	}
	for _, c := range cols {
		if c < 0 || c >= len(types) {
			return telemetry.Errorf(telemetry.CodeInvalid, op, "column %d of %d", c, len(types))
		}
	}
	return nil
}

// resetSection gives dst the length of rows in all that will be decoded.
func resetSection(dst *telemetry.Section, t *telemetry.Table, rows, cols int, received bool) {
	dst.Table = t
	dst.Series = grow(dst.Series, rows)
	dst.Time = grow(dst.Time, rows)
	dst.Received = grow(dst.Received, rows)
	if !received {
		dst.Received = dst.Received[:0]
	}
	dst.OnlyIfChanged, dst.Duplicates = dst.OnlyIfChanged[:0], dst.Duplicates[:0]
	if cap(dst.Columns) < cols {
		dst.Columns = append(dst.Columns[:cap(dst.Columns)], make([]telemetry.Vector, cols-cap(dst.Columns))...)
	}
	dst.Columns = dst.Columns[:cols]
}

func copySeries(dst []telemetry.SeriesRef, src []uint64, lo, hi telemetry.SeriesRef) error {
	var wrong bool
	for i, v := range src {
		wrong = wrong || v-uint64(lo) > uint64(hi-lo)
		dst[i] = telemetry.SeriesRef(v)
	}
	if wrong {
		return fmt.Errorf("series out of the range %d to %d that the directory says", lo, hi)
	}
	return nil
}
