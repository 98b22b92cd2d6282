package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// rollupJob makes the rollups of some segments of one table, in one pass over their
// readings in the order of series and time. It holds a block of each segment and a
// bucket of each width.
type rollupJob struct {
	c       *compaction
	name    *tableName
	segs    []*segment // ascending by arrival
	widths  []int64    // ascending
	part    int64      // partition of the rollups
	before  int64      // readings at or after it are left out
	seen    int64
	final   bool
	sources []int64
	columns []telemetry.Column
	open    map[int64]*openSegment
	rows    int
}

// rollUp adds the rollups of segments to a step. before bounds the readings that
// they hold.
func (c *compaction) rollUp(ctx context.Context, name *tableName, part int64, segs []*segment, widths []int64, before int64, final bool) error {
	s := c.s
	j := &rollupJob{c: c, name: name, segs: segs, widths: widths, part: part, before: before, final: final, open: map[int64]*openSegment{}}
	j.seen = s.floorOf(c.tn)
	for _, g := range segs {
		j.sources = append(j.sources, g.state())
	}
	slices.Sort(j.sources)
	j.columns = rollup.Fields(joinColumns(name.versions))
	err := j.run(ctx)
	return errors.Join(err, j.close(err == nil))
}

// floorOf returns the newest frame that is compacted.
func (s *Store) floorOf(tn *tenant) int64 {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return tn.manifest.floor
}

func (j *rollupJob) run(ctx context.Context) error {
	keys, _ := j.c.s.pendingReplaced(j.c.tn)
	var sources []chunk.Source
	for _, g := range j.segs {
		seg, err := j.c.s.openSegment(g)
		if err != nil {
			return &sourceError{g.id, err}
		}
		union := &unionSource{seg: seg, plan: planUnion(g.v.table, j.columns)}
		src := chunk.Source(union)
		if g.deletion != nil {
			src = &deletedSource{seg: seg, runs: g.deletion.runs, read: union.read}
		}
		if keys != nil {
			src = &droppingSource{src: src, drop: keys, arrival: g.arrival}
		}
		sources = append(sources, &checkedSource{ctx: ctx, src: src, g: g})
	}
	build := rollup.NewBuilder(j.name.name, j.columns, j.widths, j.emit)
	union := &telemetry.Table{Name: j.name.name, Columns: j.columns, Identity: telemetry.IdentityNone}
	err := chunk.MergeSources(union, sources, func(sec *telemetry.Section) error {
		if j.before < maxTime {
			keepRows(sec, func(row int) bool { return sec.Time[row] >= j.before })
		}
		if err := build.Add(sec); err != nil {
			return err
		}
		return j.pause(ctx, sec.Rows())
	})
	if err != nil {
		return err
	}
	return build.Close()
}

// pauseRows is after how many readings level 0 is looked at.
const pauseRows = 1 << 18

// pause lets level 0 be compacted where that is due.
func (j *rollupJob) pause(ctx context.Context, rows int) error {
	if j.rows += rows; j.rows < pauseRows {
		return nil
	}
	j.rows = 0
	return j.c.s.compactMeanwhile(ctx, j.c.tn)
}

// emit takes rows of a width.
func (j *rollupJob) emit(width int64, rows *telemetry.Section) error {
	o := j.open[width]
	if o == nil {
		s := j.c.s
		g := &segment{
			id: s.nextSegment.Add(1) - 1, tn: j.c.tn, v: rollupVersion, partition: j.part,
			created: s.opt.Now().UnixNano(), tag: s.newTag(), rollup: &rollupOf{
				table: j.name.name, width: width, sources: j.sources, from: j.segs, seen: j.seen, final: j.final,
			},
		}
		so := chunk.SegmentOptions{Identity: g.tag}
		var err error
		if so.Sealer, err = s.sealer(j.c.tn); err != nil {
			return err
		}
		out := &output{s: s, id: g.id}
		o = &openSegment{g: g, out: out, w: chunk.NewSegmentWriter(out, 0, rows.Table, so)}
		j.open[width] = o
	}
	return o.append(rows)
}

// close finishes the rollups, or removes them.
func (j *rollupJob) close(ok bool) error {
	var errs []error
	for _, w := range slices.Sorted(maps.Keys(j.open)) {
		o := j.open[w]
		if !ok {
			errs = append(errs, o.out.discard())
			continue
		}
		meta, err := o.w.Close()
		errs = append(errs, err)
		g := o.g
		g.rows, g.size, g.minTime, g.maxTime = meta.Rows, meta.Bytes, meta.MinTime, meta.MaxTime
		j.c.rolled = append(j.c.rolled, g)
		if o.out.file != nil {
			j.c.unsynced = append(j.c.unsynced, o.out.file.f)
		} else if err == nil {
			errs = append(errs, j.c.addSmall(g, o.out.buf))
		}
	}
	return errors.Join(errs...)
}

// unionSource gives the rows of a segment in the columns of all versions together.
type unionSource struct {
	seg  *chunk.Segment
	plan readPlan
	next int
}

// planUnion says how rows of a version become rows of the columns.
func planUnion(t *telemetry.Table, columns []telemetry.Column) readPlan {
	p := readPlan{shape: &telemetry.Table{Name: t.Name, Columns: columns}, at: make([]int, len(columns))}
	for i, want := range columns {
		p.at[i] = -1
		c := t.ColumnIndex(want.Name)
		if c < 0 || t.Columns[c].Type != want.Type && (t.Columns[c].Type != telemetry.Int || want.Type != telemetry.Float) {
			continue
		}
		p.at[i] = len(p.cols)
		p.cols = append(p.cols, c)
	}
	return p
}

// Next implements chunk.Source.
func (u *unionSource) Next(dst *telemetry.Section) (bool, error) {
	if u.next >= len(u.seg.Blocks()) {
		return false, nil
	}
	if err := u.read(u.next, dst); err != nil {
		return false, err
	}
	u.next++
	return true, nil
}

func (u *unionSource) read(block int, dst *telemetry.Section) error {
	if _, err := u.seg.ReadBlock(block, dst, u.plan.cols, false); err != nil {
		return err
	}
	u.plan.finish(dst, false)
	dst.Received = append(dst.Received[:0], make([]int64, dst.Rows())...) // merging wants it; nobody reads it
	return nil
}

// estimate bounds how many rows the rollups of segments would have, by the runs of
// their blocks, and returns how many readings they hold.
func (s *Store) estimate(segs []*segment, width int64) (rows, readings int64, err error) {
	for _, g := range segs {
		seg, err := s.openSegment(g)
		if err != nil {
			return 0, 0, fmt.Errorf("look at segment: %w", err)
		}
		readings += g.rows
		last := rowKey{time: minTime}
		for b := range seg.Blocks() {
			runs, err := seg.Runs(b)
			if err != nil {
				return 0, 0, s.readError("segment", g.id, err)
			}
			for _, r := range runs {
				from, to := rollup.StartOf(r.MinTime, width), rollup.StartOf(r.MaxTime, width)
				n := min((to-from)/width+1, int64(r.Rows))
				if last == (rowKey{r.Series, from}) {
					n-- // the run before it ended in the same bucket
				}
				rows += n
				last = rowKey{r.Series, to}
			}
		}
	}
	return rows, readings, nil
}
