package embedded

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// boolBytes views booleans as bytes, so that the library's vector search finds
// the next true one.
func boolBytes(b []bool) []byte {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}

// The runs and statistics of package chunk have the fields of those of package
// store, so that a query need not copy them for each block; the conversions here
// would not compile if they differed.
var (
	_ = store.Run(chunk.Run{})
	_ = store.ColumnStats(chunk.ColumnStats{})
)

func asStoreRuns(runs []chunk.Run) []store.Run {
	return unsafe.Slice((*store.Run)(unsafe.Pointer(unsafe.SliceData(runs))), len(runs))
}

func asStoreStats(stats []chunk.ColumnStats) []store.ColumnStats {
	return unsafe.Slice((*store.ColumnStats)(unsafe.Pointer(unsafe.SliceData(stats))), len(stats))
}

// unit is what units of frames and of segments share.
type unit struct {
	sc     *scan
	v      *tableVersion
	rows   int
	lo, hi int64
	hides  bool // some rows may be overwritten by level 0

	count sync.Once // of the rows that are left, where hides
}

func (u *unit) Table() *telemetry.Table             { return u.v.table }
func (u *unit) MinTime() int64                      { return u.lo }
func (u *unit) MaxTime() int64                      { return u.hi }
func (u *unit) Wanted(ref telemetry.SeriesRef) bool { return u.sc.isWanted(ref) }

// mayHide notes whether rows within the bounds may be overwritten. The rows are
// of the frame id, or of a segment of that arrival.
func (u *unit) mayHide(id int64, loSeries, hiSeries telemetry.SeriesRef, lo, hi int64) {
	if u.hides {
		return
	}
	for k, newer := range u.sc.replaced {
		if newer > id && k.series >= loSeries && k.series <= hiSeries && k.time >= lo && k.time <= hi {
			u.hides = true
			return
		}
	}
}

// hide removes the rows of dst that a frame newer than id overwrites.
func (u *unit) hide(dst *telemetry.Section, id int64) {
	keepRows(dst, func(row int) bool {
		return u.sc.replaced[rowKey{dst.Series[row], dst.Time[row]}] > id
	})
}

// plan says which of the table's columns to decode for the requested ones.
type readPlan struct {
	shape *telemetry.Table
	cols  []int // of the table, to decode, in order
	at    []int // for each requested column: its place in cols, or -1
}

func (u *unit) plan(columns []string) (readPlan, error) {
	t := u.v.table
	p := readPlan{
		shape: &telemetry.Table{Name: t.Name, Version: t.Version, Tags: t.Tags, Columns: make([]telemetry.Column, len(columns))},
		at:    make([]int, len(columns)),
	}
	for i, name := range columns {
		j := slices.IndexFunc(u.sc.columns, func(c telemetry.Column) bool { return c.Name == name })
		if j < 0 {
			return p, telemetry.Errorf(telemetry.CodeNotFound, "scan", "table %s has no column %q", t.Name, name)
		}
		want := u.sc.columns[j]
		p.shape.Columns[i] = want
		p.at[i] = -1
		c := t.ColumnIndex(name)
		if c < 0 || t.Columns[c].Type != want.Type && (t.Columns[c].Type != telemetry.Int || want.Type != telemetry.Float) {
			continue
		}
		p.at[i] = len(p.cols)
		p.cols = append(p.cols, c)
	}
	return p, nil
}

// finish gives dst the requested columns, once those of the plan are decoded.
func (p *readPlan) finish(dst *telemetry.Section, received bool) {
	dst.Table = p.shape
	if !received {
		dst.Received = dst.Received[:0]
	}
	complete := len(p.cols) == len(p.at)
	if !complete {
		decoded := dst.Columns
		dst.Columns = make([]telemetry.Vector, len(p.at))
		for i, at := range p.at {
			if at >= 0 {
				dst.Columns[i] = decoded[at]
			} else {
				nullVector(&dst.Columns[i], p.shape.Columns[i].Type, dst.Rows())
			}
		}
	}
	for i := range dst.Columns {
		if c := &dst.Columns[i]; c.Type == telemetry.Int && p.shape.Columns[i].Type == telemetry.Float {
			widen(c)
		}
	}
}

// frameUnit is sections of one table version in level 0.
type frameUnit struct {
	unit
	parts []framePart
}

type framePart struct {
	f *frame
	i int
}

func (u *frameUnit) Runs() []store.Run                   { return nil }
func (u *frameUnit) RunStats(string) []store.ColumnStats { return nil }

func (u *frameUnit) Rows() int {
	if u.hides {
		u.count.Do(func() {
			var sec telemetry.Section
			if _, err := u.Read(&sec, nil, false); err == nil {
				u.rows = sec.Rows()
			}
		})
	}
	return u.rows
}

// Read implements store.Unit.
func (u *frameUnit) Read(dst *telemetry.Section, columns []string, received bool) (int64, error) {
	p, err := u.plan(columns)
	if err != nil {
		return 0, err
	}
	var bytes int64
	var more telemetry.Section
	for i, part := range u.parts {
		fr, err := u.sc.s.openFrame(part.f)
		if err != nil {
			return bytes, err
		}
		into := dst
		if i > 0 {
			into = &more
		}
		n, err := fr.ReadSection(part.i, into, u.v.table, p.cols, received)
		if err != nil {
			return bytes, u.sc.s.readError("frame", part.f.id, err)
		}
		bytes += n
		if err := u.sc.unknown(into); err != nil {
			return bytes, err
		}
		if u.hides {
			u.hide(into, part.f.id)
		}
		if i > 0 {
			appendRows(dst, into, 0, into.Rows())
		}
	}
	p.finish(dst, received)
	return bytes, nil
}

// readError names the frame or segment that an error of package chunk is about,
// and counts damage.
func (s *Store) readError(what string, id int64, err error) error {
	err = &telemetry.Error{Code: telemetry.CodeOf(err), Op: "read " + what, Message: what + " " + itoa(id) + ": " + err.Error(), Err: err}
	if telemetry.CodeOf(err) == telemetry.CodeDamaged {
		s.damaged(err)
	}
	return err
}

// lostReadings says of damage which readings it is about, and what can be done.
func lostReadings(err error, g *segment, rows, from, to int64) error {
	if telemetry.CodeOf(err) != telemetry.CodeDamaged {
		return err
	}
	l := Loss{Kind: LossSegment, Table: g.v.name.name, Rows: rows, From: from, To: to}
	if g.rollup != nil {
		l.Kind, l.Table = LossRollup, g.rollup.table
	}
	return (&telemetry.Error{Code: telemetry.CodeDamaged, Op: "scan", Message: l.Extent() + " cannot be read: " + messageOf(err), Err: err}).
		WithHint("other times and tables answer; " + acceptHint)
}

// segmentUnit is one block of a segment.
type segmentUnit struct {
	unit
	g     *segment
	seg   *chunk.Segment
	block int
	first uint32   // number of its first row in the segment
	gone  []rowRun // of its rows: deleted
}

var _ store.Ranged = (*segmentUnit)(nil)

// SeriesRange implements store.Ranged.
func (u *segmentUnit) SeriesRange() (least, greatest telemetry.SeriesRef) {
	b := &u.seg.Blocks()[u.block]
	return b.MinSeries, b.MaxSeries
}

func (u *segmentUnit) Rows() int {
	if u.hides {
		u.count.Do(func() {
			var sec telemetry.Section
			if _, err := u.Read(&sec, nil, false); err == nil {
				u.rows = sec.Rows()
			}
		})
	}
	return u.rows
}

// Runs implements store.Unit.
func (u *segmentUnit) Runs() []store.Run {
	if u.hides || len(u.sc.tn.unknown) > 0 {
		return nil
	}
	head, err := u.sc.s.segmentHead(u.g, u.seg, u.block)
	if err != nil {
		return nil // Read reports it
	}
	return asStoreRuns(head.Runs())
}

// RunStats implements store.Unit.
func (u *segmentUnit) RunStats(column string) []store.ColumnStats {
	c := u.v.table.ColumnIndex(column)
	if u.hides || c < 0 || len(u.sc.tn.unknown) > 0 {
		return nil
	}
	head, err := u.sc.s.segmentHead(u.g, u.seg, u.block)
	if err != nil {
		return nil
	}
	return asStoreStats(head.RunStats(c))
}

// Read implements store.Unit.
func (u *segmentUnit) Read(dst *telemetry.Section, columns []string, received bool) (int64, error) {
	p, err := u.plan(columns)
	if err != nil {
		return 0, err
	}
	n, err := u.seg.ReadBlock(u.block, dst, p.cols, received)
	if err != nil {
		b := u.seg.Blocks()[u.block]
		return n, lostReadings(u.sc.s.readError("segment", u.g.id, err), u.g, int64(b.Rows), b.MinTime, b.MaxTime)
	}
	if err := u.sc.unknown(dst); err != nil {
		return n, err
	}
	if len(u.gone) > 0 {
		dropRuns(dst, u.gone)
	}
	if u.hides {
		u.hide(dst, u.g.arrival)
	}
	p.finish(dst, received)
	return n, nil
}

// brokenUnit stands for rows that cannot be read: it gives the error instead of
// leaving them out in silence.
type brokenUnit struct {
	sc     *scan
	v      *tableVersion
	rows   int
	lo, hi int64
	err    error
}

func (u *brokenUnit) Rows() int                                              { return u.rows }
func (u *brokenUnit) MinTime() int64                                         { return u.lo }
func (u *brokenUnit) MaxTime() int64                                         { return u.hi }
func (u *brokenUnit) Runs() []store.Run                                      { return nil }
func (u *brokenUnit) RunStats(string) []store.ColumnStats                    { return nil }
func (u *brokenUnit) Wanted(ref telemetry.SeriesRef) bool                    { return u.sc.isWanted(ref) }
func (u *brokenUnit) Read(*telemetry.Section, []string, bool) (int64, error) { return 0, u.err }

// Table implements store.Unit; a frame that cannot be opened may hold any version.
func (u *brokenUnit) Table() *telemetry.Table {
	if u.v != nil {
		return u.v.table
	}
	return u.sc.name.versions[len(u.sc.name.versions)-1].table
}
