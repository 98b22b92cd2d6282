package chunk

import (
	"encoding/binary"
	"sort"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Run is consecutive rows of one series in a block, ascending in time. It has
// the fields of store.Run, so that store.Run(r) converts it.
type Run struct {
	Series           telemetry.SeriesRef
	Start, Rows      int
	MinTime, MaxTime int64
}

// headScratch is the memory for one block's head.
type headScratch struct {
	series, rows, min, max []uint64
	stats                  []byte
	entries                []entry
	offsets                []int64
}

// Head is the decoded head of a block: its runs and statistics. It is
// immutable to its callers, who may keep it for as long as they need and use it
// concurrently: statistics are decoded when they are first asked for, and kept.
type Head struct {
	rows  int
	runs  []Run
	stats []headStats // a column each
}

type headStats struct {
	encoded []byte
	decoded atomic.Pointer[decodedStats]
}

type decodedStats struct {
	perRun []ColumnStats // nil: not kept
	all    ColumnStats
	kept   bool // all is
}

// Runs describes the block's rows as runs. A long run of one series may be cut
// at full hours. The slice is shared.
func (h *Head) Runs() []Run { return h.runs }

// FindRun returns the run that may hold the row of a series at a time.
func (h *Head) FindRun(series telemetry.SeriesRef, time int64) (Run, bool) {
	i := sort.Search(len(h.runs), func(i int) bool {
		r := &h.runs[i]
		return r.Series > series || r.Series == series && r.MaxTime >= time
	})
	if i == len(h.runs) || h.runs[i].Series != series || time < h.runs[i].MinTime {
		return Run{}, false
	}
	return h.runs[i], true
}

// LastRun returns the last run of a series.
func (h *Head) LastRun(series telemetry.SeriesRef) (Run, bool) {
	i := sort.Search(len(h.runs), func(i int) bool { return h.runs[i].Series > series }) - 1
	if i < 0 || h.runs[i].Series != series {
		return Run{}, false
	}
	return h.runs[i], true
}

func (h *Head) columnStats(col int) *decodedStats {
	s := &h.stats[col]
	if d := s.decoded.Load(); d != nil {
		return d
	}
	d := &decodedStats{}
	// The head was checked as it was read; what does not decode is not kept.
	stats, perRun, err := readStats(s.encoded, h.runs, h.rows)
	if err == nil && len(stats) > 0 {
		d.kept = true
		for _, st := range stats {
			d.all.add(st)
		}
		if perRun {
			d.perRun = stats
		}
	}
	s.decoded.Store(d)
	return d
}

// RunStats returns, parallel to Runs, the statistics of a field column, or nil
// where they are not kept: textual and boolean columns, columns with a NaN, and
// blocks whose runs are short. The slice is shared.
func (h *Head) RunStats(col int) []ColumnStats {
	if col < 0 || col >= len(h.stats) {
		return nil
	}
	return h.columnStats(col).perRun
}

// Stats returns the statistics of a field column over the whole block, and
// false where they are not kept.
func (h *Head) Stats(col int) (ColumnStats, bool) {
	if col < 0 || col >= len(h.stats) {
		return ColumnStats{}, false
	}
	d := h.columnStats(col)
	return d.all, d.kept
}

// blockReader reads parts of one block.
type blockReader struct {
	s     *Segment
	sc    *scratch
	i     int
	m     *BlockMeta
	whole []byte // the block from its begin, as far as it was read
	times bool   // the head has the runs' times
	runs  int
	stats []byte // the statistics of all columns
	bytes int64
}

// wholeBlock is the length up to which a block is read at once: a second read
// costs more than the bytes that may not be wanted.
const wholeBlock = 64 << 10

func (b *blockReader) damaged(part string, offset, length int64, err error) error {
	return b.s.damaged("read segment", "block %d, %s, bytes %d to %d: %v", b.i, part, offset, offset+length, err)
}

// open reads and checks the head.
func (b *blockReader) open() error {
	b.m = &b.s.blocks[b.i]
	n := int64(b.m.head)
	if b.m.Length <= wholeBlock {
		n = b.m.Length
	}
	b.sc.read = grow(b.sc.read, int(n))
	b.whole = b.sc.read
	if err := readFull(b.s.r, b.whole, b.m.Offset); err != nil {
		return b.s.failed("read segment", "a block", err)
	}
	head := b.whole[:b.m.head]
	b.bytes += int64(len(head))
	err := b.openHead(head)
	if err != nil {
		return b.damaged("head", b.m.Offset, int64(len(head)), err)
	}
	return nil
}

func (b *blockReader) openHead(head []byte) error {
	if b.s.opts.Sealer != nil {
		b.sc.place = b.s.place(uint32(b.i), blockHead).additional(b.sc.place[:0])
		plain, err := b.s.opts.Sealer.Open(b.sc.head[:0], head, b.sc.place)
		if err != nil {
			return err
		}
		b.sc.head, head = plain, plain
	} else {
		n := len(head) - 4
		if n < 0 {
			return errShort
		}
		if checksum(head[:n]) != binary.LittleEndian.Uint32(head[n:]) {
			return errChecksum
		}
		head = head[:n]
	}
	r := reader{b: head}
	h := &b.sc.heads
	b.runs = r.size(b.m.Rows)
	h.series, h.rows = grow(h.series, b.runs), grow(h.rows, b.runs)
	r.stream(h.series)
	r.stream(h.rows)
	switch r.byte() {
	case 0:
	case 1:
		b.times = true
		h.min, h.max = grow(h.min, b.runs), grow(h.max, b.runs)
		r.ints(h.min)
		r.ints(h.max)
	default:
		r.fail(errKind)
	}
	if r.err != nil {
		return r.err
	}
	left, last := uint64(b.m.Rows), uint64(b.m.MinSeries)
	for i, n := range h.rows {
		if ref := h.series[i]; n == 0 || n > left || ref < last || ref > uint64(b.m.MaxSeries) {
			return errRange
		}
		left -= n
		last = h.series[i]
	}
	if left != 0 {
		return errRows
	}
	pages := len(b.s.table.Columns) + blockColumns - 1
	h.entries, h.offsets = grow(h.entries, pages), grow(h.offsets, pages)
	at := b.m.Offset + int64(b.m.head)
	for i := range h.entries {
		h.entries[i].read(&r)
		h.offsets[i] = at
		at += int64(h.entries[i].stored)
	}
	if r.err == nil && at != b.m.Offset+b.m.Length {
		return errRows
	}
	b.stats = r.b
	return r.err
}

// page reads, checks and decodes one page.
func (b *blockReader) page(page int, name string, decode func(body []byte) error) error {
	e, offset := b.sc.heads.entries[page-1], b.sc.heads.offsets[page-1]
	b.bytes += int64(e.stored)
	var stored []byte
	if from := offset - b.m.Offset; from+int64(e.stored) <= int64(len(b.whole)) {
		stored = b.whole[from : from+int64(e.stored)]
	} else {
		b.sc.part = grow(b.sc.part, e.stored)
		stored = b.sc.part
		if err := readFull(b.s.r, stored, offset); err != nil {
			return b.s.failed("read segment", name, err)
		}
	}
	body, err := b.sc.openPage(stored, e, b.s.place(uint32(b.i), uint32(page)))
	if err == nil {
		err = decode(body)
	}
	if err != nil {
		return b.damaged(name, offset, int64(e.stored), err)
	}
	return nil
}

func (s *Segment) block(sc *scratch, i int) (blockReader, error) {
	b := blockReader{s: s, sc: sc, i: i}
	if i < 0 || i >= len(s.blocks) {
		return b, telemetry.Errorf(telemetry.CodeInvalid, "read segment", "block %d of %d", i, len(s.blocks))
	}
	return b, b.open()
}

// ReadBlock decodes block i into dst: Series and Time always, Received if
// asked, and the field columns named by cols, as indexes into the table's
// columns, in that order. What dst held is overwritten and its memory reused.
// dst.Table becomes Table(). It returns the bytes that were decoded.
func (s *Segment) ReadBlock(i int, dst *telemetry.Section, cols []int, received bool) (int64, error) {
	for _, c := range cols {
		if c < 0 || c >= len(s.table.Columns) {
			return 0, telemetry.Errorf(telemetry.CodeInvalid, "read segment", "column %d of %d", c, len(s.table.Columns))
		}
	}
	sc := getScratch()
	defer putScratch(sc)
	b, err := s.block(sc, i)
	if err != nil {
		return b.bytes, err
	}
	resetSection(dst, s.table, b.m.Rows, len(cols), received)
	b.series(dst.Series)
	if err := b.page(blockTime, "time", func(body []byte) error { return decodeInts(asBits(dst.Time), body, nil) }); err != nil {
		return b.bytes, err
	}
	if received {
		if err := b.received(dst); err != nil {
			return b.bytes, err
		}
	}
	for j, c := range cols {
		col := &s.table.Columns[c]
		err := b.page(blockColumns+c, col.Name, func(body []byte) error {
			return decodeColumn(&dst.Columns[j], col.Type, body, b.m.Rows)
		})
		if err != nil {
			return b.bytes, err
		}
	}
	return b.bytes, nil
}

// series fills dst from the runs.
func (b *blockReader) series(dst []telemetry.SeriesRef) {
	h := &b.sc.heads
	for i, n := range h.rows {
		fill(dst[:n], telemetry.SeriesRef(h.series[i]))
		dst = dst[n:]
	}
}

// received needs the times and the series of dst.
func (b *blockReader) received(dst *telemetry.Section) error {
	var arrivals *Arrivals
	if b.s.arrivals.n > 0 {
		var err error
		if arrivals, err = b.s.readArrivals(); err != nil {
			return err
		}
	}
	return b.page(blockReceived, "received_at", func(body []byte) error {
		if len(body) == 0 || body[0] != formArrivals {
			return decodeInts(asBits(dst.Received), body, dst.Time)
		}
		if arrivals == nil {
			return errForm
		}
		rest, err := decodeStream(asBits(dst.Received), body[1:], transform{kind: formInts})
		if err != nil {
			return err
		}
		if len(rest) != 0 {
			return errTrailing
		}
		return arrivals.decode(dst)
	})
}

// Head reads the head of block i.
func (s *Segment) Head(i int) (*Head, error) {
	sc := getScratch()
	defer putScratch(sc)
	b, err := s.block(sc, i)
	if err != nil {
		return nil, err
	}
	return b.head()
}

func (b *blockReader) head() (*Head, error) {
	sc := b.sc
	head := &Head{rows: b.m.Rows, runs: make([]Run, b.runs), stats: make([]headStats, len(b.s.table.Columns))}
	var times []int64
	if !b.times {
		// Short runs have their times in the time page only.
		sc.ints = grow(sc.ints, b.m.Rows)
		if err := b.page(blockTime, "time", func(body []byte) error { return decodeInts(sc.ints, body, nil) }); err != nil {
			return nil, err
		}
		times = asTimes(sc.ints)
	}
	start := 0
	for i := range head.runs {
		n := int(sc.heads.rows[i])
		r := Run{Series: telemetry.SeriesRef(sc.heads.series[i]), Start: start, Rows: n}
		if b.times {
			r.MinTime = int64(sc.heads.min[i])
			r.MaxTime = r.MinTime + int64(sc.heads.max[i])
		} else {
			r.MinTime, r.MaxTime = times[start], times[start+n-1]
		}
		head.runs[i] = r
		start += n
	}
	r := reader{b: append([]byte(nil), b.stats...)}
	for i := range head.stats {
		head.stats[i].encoded = r.bytes(r.size(len(r.b)))
		if r.err == nil {
			_, _, err := readStats(head.stats[i].encoded, head.runs, head.rows)
			if err != nil {
				r.fail(err)
			}
		}
	}
	if err := r.end(); err != nil {
		return nil, b.damaged("head", b.m.Offset, int64(b.m.head), err)
	}
	return head, nil
}

// Runs reads the runs of block i.
func (s *Segment) Runs(i int) ([]Run, error) {
	h, err := s.Head(i)
	if err != nil {
		return nil, err
	}
	return h.runs, nil
}

// RunStats reads the statistics of a field column in block i; see Head.RunStats.
func (s *Segment) RunStats(i, col int) ([]ColumnStats, error) {
	h, err := s.Head(i)
	if err != nil {
		return nil, err
	}
	return h.RunStats(col), nil
}
