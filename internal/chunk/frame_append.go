package chunk

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/klauspost/compress/zstd"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func crc32Update(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// AppendFrame appends one frame with the sections to dst. Sections over
// MaxFrameRows become several. It fails only with CodeRefused, when a section
// contradicts itself (a dictionary code without entry, a column of another
// length), and then returns dst as it was.
func AppendFrame(dst []byte, secs []FrameSection, o FrameOptions) ([]byte, error) {
	for i := range secs {
		if err := checkSection("append frame", secs[i].Section); err != nil {
			return dst, err
		}
	}
	w := frameWriter{s: getScratch(), opts: o}
	defer putScratch(w.s)
	for i := range secs {
		sec := secs[i].Section
		if len(sec.Duplicates) > 0 {
			sec = w.s.withoutDuplicates(sec)
		}
		for from := 0; from < sec.Rows(); {
			part := sec
			to := fit(sec, from, min(from+MaxFrameRows, sec.Rows()), maxText)
			if from > 0 || to < sec.Rows() {
				part = slice(sec, from, to)
			}
			w.section(secs[i].TableID, part)
			from = to
		}
	}
	return w.appendTo(dst), nil
}

// frameWriter collects the directory and the pages apart, because the directory
// comes first and its length is known last.
type frameWriter struct {
	s        *scratch
	opts     FrameOptions
	sections int
}

func (w *frameWriter) section(table uint32, sec *telemetry.Section) {
	s := w.s
	if w.sections == 0 {
		s.dir, s.pages = s.dir[:0], s.pages[:0]
	}
	w.sections++
	rows := sec.Rows()
	s.series = grow(s.series, rows)
	minSeries, maxSeries := sec.Series[0], sec.Series[0]
	for i, ref := range sec.Series {
		minSeries, maxSeries = min(minSeries, ref), max(maxSeries, ref)
		s.series[i] = uint64(ref)
	}
	minTime, maxTime := sec.Time[0], sec.Time[0]
	for _, t := range sec.Time {
		minTime, maxTime = min(minTime, t), max(maxTime, t)
	}
	d := binary.AppendUvarint(s.dir, uint64(table))
	d = binary.AppendUvarint(d, uint64(rows))
	d = appendVarint(d, minTime)
	d = binary.AppendUvarint(d, uint64(maxTime)-uint64(minTime))
	d = binary.AppendUvarint(d, uint64(minSeries))
	d = binary.AppendUvarint(d, uint64(maxSeries-minSeries))
	d = binary.AppendUvarint(d, uint64(len(sec.Columns)))
	for i := range sec.Columns {
		d = append(d, byte(sec.Columns[i].Type))
	}
	e := effort{fast: true}
	page := func(squeeze *zstd.Encoder, from int) {
		var en entry
		s.pages, en = s.storePage(s.pages, from, squeeze, place{})
		d = en.append(d)
	}
	from := len(s.pages)
	s.pages = s.appendInts(s.pages, s.series, e)
	page(nil, from)
	from = len(s.pages)
	s.pages = s.appendInts(s.pages, asBits(sec.Time), e)
	page(nil, from)
	from = len(s.pages)
	s.pages = s.appendInts(s.pages, asBits(sec.Received), e)
	page(nil, from)
	for i := range sec.Columns {
		from = len(s.pages)
		c := &sec.Columns[i]
		s.pages = s.appendColumn(s.pages, c, rows, e)
		// Packed numbers do not shrink further; texts that repeat no whole
		// value may.
		var squeeze *zstd.Encoder
		if c.Type.Textual() && s.pages[from]&formMask == formPlain {
			squeeze = zstdFast()
		}
		page(squeeze, from)
	}
	s.dir = d
}

func (w *frameWriter) appendTo(dst []byte) []byte {
	s := w.s
	if w.sections == 0 {
		s.dir, s.pages = s.dir[:0], s.pages[:0]
	}
	start := len(dst)
	dst = append(dst, frameMagic...)
	var key uint32
	features := byte(0)
	if w.opts.Sealer != nil {
		key, features = w.opts.Sealer.KeyID(), featureSealed
	}
	dst = append(dst, frameVersion, features, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, key)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // length and checksum follow below
	s.head = binary.AppendUvarint(s.head[:0], uint64(w.sections))
	s.head = append(s.head, s.dir...)
	binary.LittleEndian.PutUint32(dst[start+12:], uint32(len(s.head)))
	if w.opts.Sealer == nil {
		binary.LittleEndian.PutUint32(dst[start+16:], checksumFrame(dst[start:start+16], s.head))
		return append(append(dst, s.head...), s.pages...)
	}
	// All together: a commit of few rows would double with a nonce and a tag for
	// each page, and whoever reads a frame reads it whole.
	s.sealed = append(append(s.sealed[:0], s.head...), s.pages...)
	s.place = append(append(append(s.place[:0], w.opts.Identity...), 'F'), dst[start:start+16]...)
	dst = w.opts.Sealer.Seal(dst, s.sealed, s.place)
	binary.LittleEndian.PutUint32(dst[start+16:], checksumFrame(dst[start:start+16], dst[start+frameHeader:]))
	return dst
}

// checkSection refuses a section whose columns do not fit each other, so that
// the encoders may index without asking.
func checkSection(op string, sec *telemetry.Section) error {
	rows := sec.Rows()
	refuse := func(format string, args ...any) error {
		return telemetry.Errorf(telemetry.CodeRefused, op, format, args...)
	}
	if len(sec.Time) != rows || len(sec.Received) != rows || len(sec.Columns) > MaxColumns {
		return refuse("section of %d rows has %d times, %d received times and %d columns",
			rows, len(sec.Time), len(sec.Received), len(sec.Columns))
	}
	for i := range sec.Columns {
		c := &sec.Columns[i]
		if c.Type < telemetry.Float || c.Type > telemetry.JSON {
			return refuse("column %d has the unknown type %d", i, c.Type)
		}
		if !c.Type.Textual() || c.Dict != nil {
			if len(c.Bits) < rows {
				return refuse("column %d has %d values for %d rows", i, len(c.Bits), rows)
			}
		}
		if !c.Type.Textual() {
			continue
		}
		if c.Dict != nil {
			for _, text := range c.Dict {
				if len(text) > maxText {
					return refuse("column %d has a text of %d bytes, more than %d", i, len(text), maxText)
				}
			}
			for row, code := range c.Bits[:rows] {
				if code >= uint64(len(c.Dict)) && !c.Nulls.Get(row) {
					return refuse("column %d has code %d in a dictionary of %d", i, code, len(c.Dict))
				}
			}
			continue
		}
		if len(c.Ends) < rows || uint64(len(c.Bytes)) > math.MaxUint32 {
			return refuse("column %d has %d texts for %d rows", i, len(c.Ends), rows)
		}
		last := uint32(0)
		for _, end := range c.Ends[:rows] {
			if end < last || int(end) > len(c.Bytes) {
				return refuse("column %d has a text that ends at %d, after %d", i, end, last)
			}
			if end-last > maxText {
				return refuse("column %d has a text of %d bytes, more than %d", i, end-last, maxText)
			}
			last = end
		}
	}
	for i, d := range sec.Duplicates {
		if d < 0 || int(d) >= rows || i > 0 && d <= sec.Duplicates[i-1] {
			return refuse("duplicate rows are not ascending within %d rows", rows)
		}
	}
	return nil
}

// withoutDuplicates returns a copy of sec without its duplicate rows.
func (s *scratch) withoutDuplicates(sec *telemetry.Section) *telemetry.Section {
	out := &s.fresh
	resetLike(out, sec)
	from := 0
	for _, d := range sec.Duplicates {
		appendRows(out, sec, from, int(d))
		from = int(d) + 1
	}
	appendRows(out, sec, from, sec.Rows())
	return out
}
