package embedded

import (
	"errors"
	"maps"
	"os"
	"slices"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// partsOf decides into which partitions the rows of sections go: those with at
// least a quarter of the rows have their own segment, the others share one,
// unless there is only one of them.
func (s *Store) partsOf(secs []*telemetry.Section) map[int64]bool {
	counts := map[int64]int64{}
	total := int64(0)
	for _, sec := range secs {
		s.countPartitions(sec, counts)
		total += int64(sec.Rows())
	}
	return ownPartitions(counts, total)
}

// countPartitions counts the rows of each partition. Rows of one burst lie in
// one, so only changes are looked up.
func (s *Store) countPartitions(sec *telemetry.Section, counts map[int64]int64) {
	lo, hi, n, run := int64(maxTime), int64(minTime), int64(0), int64(0)
	for _, t := range sec.Time {
		if t < lo || t >= hi {
			if run > 0 {
				counts[n] += run
			}
			n, run = s.partitionOf(t), 0
			lo, hi = n*int64(s.opt.Partition), (n+1)*int64(s.opt.Partition)
		}
		run++
	}
	if run > 0 {
		counts[n] += run
	}
}

func ownPartitions(counts map[int64]int64, total int64) map[int64]bool {
	own := map[int64]bool{}
	for p, n := range counts {
		if n*4 >= total || len(counts) <= 2 || n >= ownPartitionRows {
			own[p] = true
		}
	}
	if len(counts)-len(own) == 1 {
		for p := range counts {
			own[p] = true
		}
	}
	if len(own) < len(counts) {
		own[mixedPartition] = true // the others share one
	}
	return own
}

// ownPartitionRows is how many rows always have a segment of their own.
const ownPartitionRows = 256 << 10

// segmentsWriter writes the sorted rows of one table, a segment for each
// partition that has its own.
type segmentsWriter struct {
	c        *compaction
	v        *tableVersion
	arrivals *chunk.Arrivals
	parts    map[int64]bool
	open     map[int64]*openSegment
	scratch  telemetry.Section
}

// openSegment is a segment that is being written.
type openSegment struct {
	g    *segment
	out  *output
	w    *chunk.SegmentWriter
	rows int
}

// append takes sorted rows. A segment that has many gets a file of its own.
func (o *openSegment) append(sec *telemetry.Section) error {
	if o.rows += sec.Rows(); o.rows >= o.out.s.opt.CarryRows {
		if err := o.out.spill(); err != nil {
			return err
		}
	}
	return o.w.Append(sec)
}

// append takes sorted rows.
func (w *segmentsWriter) append(sec *telemetry.Section) error {
	if w.v.identity == telemetry.IdentityTimeValues {
		sec = w.withoutDuplicates(sec)
	}
	if len(w.parts) == 1 && w.only() != mixedPartition {
		o, err := w.segment(w.only())
		if err != nil {
			return err
		}
		return o.append(sec)
	}
	for from, n := 0, sec.Rows(); from < n; {
		p := w.target(sec.Time[from])
		to := from + 1
		for to < n && w.target(sec.Time[to]) == p {
			to++
		}
		o, err := w.segment(p)
		if err != nil {
			return err
		}
		w.scratch.Reset(w.v.table)
		appendRows(&w.scratch, sec, from, to)
		if err := o.append(&w.scratch); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// only returns the one partition of parts.
func (w *segmentsWriter) only() int64 {
	for p := range w.parts {
		return p
	}
	return mixedPartition
}

func (w *segmentsWriter) target(t int64) int64 {
	if p := w.c.s.partitionOf(t); w.parts[p] {
		return p
	}
	return mixedPartition
}

// withoutDuplicates drops rows that equal one of the same key before them. Stage
// found the duplicates that it could; this finds those that it was in doubt about.
func (w *segmentsWriter) withoutDuplicates(sec *telemetry.Section) *telemetry.Section {
	var drop []int
	for i := 1; i < sec.Rows(); i++ {
		for j := i - 1; j >= 0 && sec.Time[j] == sec.Time[i] && sec.Series[j] == sec.Series[i]; j-- {
			if sameRow(sec, w.v.table, i, sec, w.v.table, j) {
				drop = append(drop, i)
				break
			}
		}
	}
	if len(drop) == 0 {
		return sec
	}
	out := *sec
	keepRows(&out, func(row int) bool {
		_, found := slices.BinarySearch(drop, row)
		return found
	})
	return &out
}

// segment returns the open segment of a partition, starting it if need be.
func (w *segmentsWriter) segment(p int64) (*openSegment, error) {
	if o := w.open[p]; o != nil {
		return o, nil
	}
	s := w.c.s
	id := s.nextSegment.Add(1) - 1
	g := &segment{id: id, tn: w.c.tn, v: w.v, partition: p, arrival: w.c.arrival, created: s.opt.Now().UnixNano(), tag: s.newTag()}
	so := chunk.SegmentOptions{Arrivals: w.arrivals, Identity: g.tag}
	var err error
	if so.Sealer, err = s.sealer(w.c.tn); err != nil {
		return nil, err
	}
	out := &output{s: s, id: id}
	o := &openSegment{g: g, out: out, w: chunk.NewSegmentWriter(out, w.v.id, w.v.table, so)}
	if w.open == nil {
		w.open = map[int64]*openSegment{}
	}
	w.open[p] = o
	return o, nil
}

// close finishes the segments, or removes them. They are durable after syncAll.
func (w *segmentsWriter) close(ok bool) error {
	var errs []error
	for _, p := range slices.Sorted(maps.Keys(w.open)) {
		o := w.open[p]
		if !ok {
			errs = append(errs, o.out.discard())
			continue
		}
		w.c.out = append(w.c.out, o.g)
		meta, err := o.w.Close()
		errs = append(errs, err)
		g := o.g
		g.rows, g.size, g.minTime, g.maxTime = meta.Rows, meta.Bytes, meta.MinTime, meta.MaxTime
		if o.out.file != nil {
			w.c.unsynced = append(w.c.unsynced, o.out.file.f)
		} else if err == nil {
			errs = append(errs, w.c.addSmall(g, o.out.buf))
		}
	}
	w.open = nil
	if len(w.c.unsynced) >= maxUnsynced {
		errs = append(errs, w.c.syncAll())
	}
	return errors.Join(errs...)
}

// maxUnsynced bounds the files that a step keeps open.
const maxUnsynced = 256

// syncAll makes the step's finished files durable and closes them. That is done for
// all together, because the first sync makes the file system write what it knows of
// all of them, and the others find little left to do.
func (c *compaction) syncAll() error {
	var errs []error
	kept := c.unsynced[:0]
	for _, f := range c.unsynced {
		if p := c.packing.file; p != nil && p.f == f && !c.complete {
			kept = append(kept, f) // more is to come
			continue
		}
		errs = append(errs, f.Sync(), f.Close())
	}
	clear(c.unsynced[len(kept):])
	c.unsynced = kept
	return errors.Join(errs...)
}

// steadyBytes is how much of a segment waits in memory at most: it is sent to the
// disk as it grows, so that neither its sync at the end nor that of a commit
// beside it has megabytes to write.
const steadyBytes = 512 << 10

// steadyFile is a file that is sent to the disk as it grows.
type steadyFile struct {
	f         *os.File
	size, out int64 // written, and of that on its way to the disk
}

// Write implements io.Writer.
func (s *steadyFile) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	s.size += int64(n)
	if s.size-s.out >= steadyBytes {
		startWriting(s.f, s.out, s.size-s.out)
		s.out = s.size
	}
	if err != nil {
		err = telemetry.Errorf(telemetry.CodeUnavailable, "write segment", "%w", err)
	}
	return n, err
}
