package chunk

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

const (
	segmentMagic   = "WSEG"
	segmentEnd     = "GESW"
	segmentVersion = 2
	segmentHeader  = 16
	segmentTrailer = 24
)

// Pages of a block, as additional data counts them.
const (
	blockHead = iota
	blockTime
	blockReceived
	blockColumns

	placeFooter   = 0
	placeArrivals = 1
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

func segmentPlace(s Sealer, identity []byte, part, page uint32) place {
	return place{sealer: s, identity: identity, kind: 'S', part: part, page: page}
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

// SegmentWriter writes one segment file. It is used by one goroutine.
type SegmentWriter struct {
	w       io.Writer
	table   *telemetry.Table
	opts    SegmentOptions
	meta    SegmentMeta
	buf     telemetry.Section
	last    int     // rows of the run before the one at the end of buf
	runFrom int     // where the run at the end of buf begins
	ends    []int32 // of the runs
	series  []int32 // where the rows of a series end
	totals  []columnTotal
	runs    []Run      // of the block whose totals are added
	squeeze []squeezer // a column each
	footer  [7][]uint64
	lastKey key
	err     error
}

type key struct {
	series telemetry.SeriesRef
	time   int64
}

// squeezer learns whether zstd pays for a column: packed noise does not shrink,
// and trying it costs more than all the rest.
type squeezer struct{ skip, wait int }

func (q *squeezer) try() bool {
	if q.skip > 0 {
		q.skip--
		return false
	}
	return true
}

func (q *squeezer) learn(paid bool) {
	if paid {
		q.wait = 0
		return
	}
	q.wait = min(q.wait*2+1, 31)
	q.skip = q.wait
}

// NewSegmentWriter starts a segment of one table version. tableID is the
// catalog's id of it. The writer does not buffer more than one block and does
// not sync or close w.
func NewSegmentWriter(w io.Writer, tableID uint32, t *telemetry.Table, o SegmentOptions) *SegmentWriter {
	if o.BlockRows <= 0 {
		o.BlockRows = DefaultBlockRows
	}
	o.BlockRows = min(o.BlockRows, MaxBlockRows)
	sw := &SegmentWriter{w: w, table: t, opts: o, meta: SegmentMeta{TableID: tableID}, squeeze: make([]squeezer, len(t.Columns)+blockColumns), totals: newTotals(len(t.Columns))}
	sw.buf.Reset(t)
	head := append(make([]byte, 0, segmentHeader), segmentMagic...)
	features, keyID := byte(0), uint32(0)
	if o.Sealer != nil {
		features, keyID = featureSealed, o.Sealer.KeyID()
	}
	head = append(head, segmentVersion, features, 0, 0)
	head = binary.LittleEndian.AppendUint32(head, keyID)
	sw.write(binary.LittleEndian.AppendUint32(head, checksum(head)))
	return sw
}

func (w *SegmentWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = fmt.Errorf("write segment: %w", err)
		return
	}
	w.meta.Bytes += int64(len(b))
}

// Append adds rows, which must continue the order by (series, time); equal keys
// keep the order they come in. The section holds all columns of the table and
// belongs to the caller again when Append returns. After an error the writer
// only returns that error.
func (w *SegmentWriter) Append(sec *telemetry.Section) error {
	if w.err == nil {
		w.err = w.check(sec)
	}
	rows := sec.Rows()
	wordy := w.err == nil && w.wordy(sec)
	for from := 0; from < rows && w.err == nil; {
		ref := sec.Series[from]
		to := from + 1
		for to < rows && sec.Series[to] == ref {
			to++
		}
		if n := w.buf.Rows(); n == 0 || w.buf.Series[n-1] != ref {
			// A block ends with a run where the next, if it is as long as this
			// one, would be torn.
			w.last = n - w.runFrom
			if n >= w.opts.BlockRows/2 && n+w.last > w.opts.BlockRows {
				w.flush()
				n = 0
			}
			w.runFrom = n
		}
		for from < to && w.err == nil {
			n := min(to-from, w.opts.BlockRows-w.buf.Rows())
			if wordy {
				n = fit(sec, from, from+n, blockText) - from
			}
			appendRows(&w.buf, sec, from, from+n)
			from += n
			if w.buf.Rows() >= w.opts.BlockRows || wordy && fit(&w.buf, 0, w.buf.Rows(), blockText) < w.buf.Rows() {
				w.flush()
				w.runFrom = 0
			}
		}
	}
	return w.err
}

// wordy reports whether the texts of sec may fill a block before its rows do.
func (w *SegmentWriter) wordy(sec *telemetry.Section) bool {
	for i := range sec.Columns {
		v, held := &sec.Columns[i], &w.buf.Columns[i]
		if len(v.Bytes)+len(held.Bytes) > blockText {
			return true
		}
		for _, text := range v.Dict {
			if len(text) > blockText/w.opts.BlockRows {
				return true
			}
		}
	}
	return false
}

func (w *SegmentWriter) check(sec *telemetry.Section) error {
	const op = "write segment"
	if err := checkSection(op, sec); err != nil {
		return err
	}
	if len(sec.Columns) != len(w.table.Columns) {
		return telemetry.Errorf(telemetry.CodeInvalid, op, "section has %d columns, table %q %d", len(sec.Columns), w.table.Name, len(w.table.Columns))
	}
	for i := range sec.Columns {
		if sec.Columns[i].Type != w.table.Columns[i].Type {
			return telemetry.Errorf(telemetry.CodeInvalid, op, "column %q is %s, in table %q %s",
				w.table.Columns[i].Name, sec.Columns[i].Type, w.table.Name, w.table.Columns[i].Type)
		}
	}
	last := w.lastKey
	begun := w.meta.Rows > 0 || w.buf.Rows() > 0
	for i, ref := range sec.Series {
		if begun && (ref < last.series || ref == last.series && sec.Time[i] < last.time) {
			return telemetry.Errorf(telemetry.CodeInvalid, op, "row of series %d at %d comes after series %d at %d", ref, sec.Time[i], last.series, last.time)
		}
		last, begun = key{ref, sec.Time[i]}, true
	}
	w.lastKey = last
	return nil
}

// flush writes the buffered rows as a block.
func (w *SegmentWriter) flush() {
	sec := &w.buf
	rows := sec.Rows()
	if rows == 0 || w.err != nil {
		return
	}
	s := getScratch()
	defer putScratch(s)
	w.cutRuns()
	minTime, maxTime := sec.Time[0], sec.Time[0]
	for _, t := range sec.Time {
		minTime, maxTime = min(minTime, t), max(maxTime, t)
	}

	b := blockWriter{w: w, s: s, block: uint32(w.meta.Blocks), e: effort{runs: w.series}}
	s.pages = s.pages[:0]
	s.dir = s.dir[:0]
	stats := w.buildPages(&b)
	head := w.appendHead(s.head[:0], s)
	head = append(append(head, s.dir...), stats...)
	if w.opts.Sealer != nil {
		b.s.place = segmentPlace(w.opts.Sealer, w.opts.Identity, b.block, blockHead).additional(b.s.place[:0])
		b.s.sealed = w.opts.Sealer.Seal(b.s.sealed[:0], head, b.s.place)
		head = b.s.sealed
	} else {
		head = binary.LittleEndian.AppendUint32(head, checksum(head))
		s.head = head
	}
	length := len(head) + len(s.pages)
	w.write(head)
	w.write(s.pages)

	first, last := sec.Series[0], sec.Series[rows-1]
	for i, v := range [...]uint64{uint64(length), uint64(len(head)), uint64(rows), uint64(first), uint64(last - first), uint64(minTime), uint64(maxTime - minTime)} {
		w.footer[i] = append(w.footer[i], v)
	}
	m := &w.meta
	if m.Blocks == 0 {
		m.MinSeries, m.MinTime, m.MaxTime = first, minTime, maxTime
	}
	m.MaxSeries, m.MinTime, m.MaxTime = last, min(m.MinTime, minTime), max(m.MaxTime, maxTime)
	m.Blocks++
	m.Rows += int64(rows)
	w.buf.Reset(w.table)
}

// Runs of many rows are cut at full hours, so that their statistics answer
// aggregates by hours and days without the rows.
const (
	cutHour = int64(3600 * 1e9)
	cutRows = 256 // that a part has on average: statistics take some ten bytes a column
)

// cutRuns finds where the series of the buffered rows end, and the runs.
func (w *SegmentWriter) cutRuns() {
	sec := &w.buf
	w.series, w.ends = w.series[:0], w.ends[:0]
	start := 0
	for i, rows := 1, sec.Rows(); i <= rows; i++ {
		if i < rows && sec.Series[i] == sec.Series[i-1] {
			continue
		}
		w.series = append(w.series, int32(i))
		w.cutRun(start, i)
		start = i
	}
}

// cutRun adds the ends of the runs in rows of one series.
func (w *SegmentWriter) cutRun(from, to int) {
	times := w.buf.Time
	first, last := hourOf(times[from]), hourOf(times[to-1])
	if last > first && uint64(last-first) < uint64((to-from)/cutRows) {
		for hour := first + 1; hour <= last; hour++ {
			n, _ := slices.BinarySearch(times[from:to], hour*cutHour)
			if n > 0 {
				from += n
				w.ends = append(w.ends, int32(from))
			}
		}
	}
	w.ends = append(w.ends, int32(to))
}

func hourOf(t int64) int64 {
	h := t / cutHour
	if t%cutHour < 0 {
		h--
	}
	return h
}

// blockWriter adds pages to a block.
type blockWriter struct {
	w     *SegmentWriter
	s     *scratch
	block uint32
	e     effort
}

// page ends the page that begins at from.
func (b *blockWriter) page(n, from int) {
	q := &b.w.squeeze[n]
	var level *zstd.Encoder
	try := q.try() && len(b.s.pages)-from >= minZstdBytes
	if try {
		level = zstdGood()
	}
	var e entry
	b.s.pages, e = b.s.storePage(b.s.pages, from, level, segmentPlace(b.w.opts.Sealer, b.w.opts.Identity, b.block, uint32(n)))
	if try {
		q.learn(e.raw > 0)
	}
	b.s.dir = e.append(b.s.dir)
}

// buildPages fills the scratch's pages and directory, and returns the statistics.
func (w *SegmentWriter) buildPages(b *blockWriter) (stats []byte) {
	s, sec := b.s, &w.buf
	from := len(s.pages)
	s.pages = s.appendInts(s.pages, asBits(sec.Time), b.e)
	b.page(blockTime, from)
	from = len(s.pages)
	s.pages = s.appendReceived(s.pages, sec, w.opts.Arrivals, b.e)
	b.page(blockReceived, from)
	stats = s.heads.stats[:0]
	for i := range sec.Columns {
		from = len(s.pages)
		s.pages = s.appendColumn(s.pages, &sec.Columns[i], sec.Rows(), b.e)
		b.page(blockColumns+i, from)
		at := len(stats)
		stats = s.appendStats(stats, &sec.Columns[i], w.ends)
		w.total(i, stats[at:])
	}
	s.heads.stats = stats
	return stats
}

// appendHead appends the runs of the block.
func (w *SegmentWriter) appendHead(dst []byte, s *scratch) []byte {
	sec, runs := &w.buf, len(w.ends)
	h := &s.heads
	h.series, h.rows = grow(h.series, runs), grow(h.rows, runs)
	h.min, h.max = grow(h.min, runs), grow(h.max, runs)
	start := int32(0)
	for i, end := range w.ends {
		h.series[i], h.rows[i] = uint64(sec.Series[start]), uint64(end-start)
		h.min[i], h.max[i] = uint64(sec.Time[start]), uint64(sec.Time[end-1]-sec.Time[start])
		start = end
	}
	dst = binary.AppendUvarint(dst, uint64(runs))
	dst = s.planner.appendStream(dst, h.series, nil, false)
	dst = s.planner.appendStream(dst, h.rows, nil, false)
	if sec.Rows() < minStatsRun/2*runs {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = s.appendInts(dst, h.min, effort{})
	return s.appendInts(dst, h.max, effort{})
}

// Close writes what is left and the footer.
func (w *SegmentWriter) Close() (SegmentMeta, error) {
	w.flush()
	s := getScratch()
	defer putScratch(s)
	t := w.table
	f := binary.AppendUvarint(nil, uint64(w.meta.TableID))
	f = appendTable(f, t)
	f = binary.AppendUvarint(f, uint64(w.meta.Rows))
	f = binary.AppendUvarint(f, uint64(w.meta.Blocks))
	for _, v := range w.footer {
		if len(v) > 0 {
			f = s.appendInts(f, v, effort{})
		}
	}
	k := 0
	if w.opts.Arrivals != nil && w.meta.Rows > 0 {
		k = w.opts.Arrivals.Len()
	}
	f = binary.AppendUvarint(f, uint64(k))
	if k > 0 {
		body := w.opts.Arrivals.append(s, nil)
		body, e := s.storePage(body, 0, zstdGood(), segmentPlace(w.opts.Sealer, w.opts.Identity, noPart, placeArrivals))
		w.write(body)
		f = e.append(f)
	}
	f = appendTotals(f, w.totals)
	if w.opts.Sealer != nil {
		f = w.opts.Sealer.Seal(nil, f, segmentPlace(w.opts.Sealer, w.opts.Identity, noPart, placeFooter).additional(nil))
	}
	trailer := binary.LittleEndian.AppendUint64(make([]byte, 0, segmentTrailer), uint64(w.meta.Bytes))
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(len(f)))
	trailer = binary.LittleEndian.AppendUint32(trailer, checksum(f))
	trailer = binary.LittleEndian.AppendUint32(trailer, checksum(trailer))
	w.write(f)
	w.write(append(trailer, segmentEnd...))
	if w.err != nil {
		return SegmentMeta{}, w.err
	}
	meta := w.meta
	w.err = telemetry.Errorf(telemetry.CodeInvalid, "write segment", "the segment is closed")
	return meta, nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendTable(f []byte, t *telemetry.Table) []byte {
	f = appendString(f, t.Name)
	f = binary.AppendUvarint(f, uint64(t.Version))
	timed := byte(0)
	if t.TimeInPayload {
		timed = 1
	}
	f = append(f, byte(t.Identity), timed)
	f = binary.AppendUvarint(f, uint64(len(t.Tags)))
	for _, tag := range t.Tags {
		f = appendString(f, tag)
	}
	f = binary.AppendUvarint(f, uint64(len(t.Columns)))
	for _, c := range t.Columns {
		f = appendString(f, c.Name)
		f = append(f, byte(c.Type))
		f = appendString(f, c.Unit)
	}
	return f
}
