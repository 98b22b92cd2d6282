package embedded

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Segments do not change, so rows that `weir delete` takes are first only struck
// out: the catalog lists, for a segment, the numbers of the rows that are gone. One
// transaction does it for all segments of a statement. Scans leave the rows out at
// once; merges, and a rewrite when Options.DeletedAge is over, take them from the
// disk. Until then the rows are there to be compared with, so that a message that is
// delivered again does not bring them back. docs/format/catalog.md describes it.

// deletion is the deleted rows of a segment. It does not change.
type deletion struct {
	number  int64 // unique among these and the ids of segments
	created int64 // ns UTC
	rows    int64 // how many
	runs    []rowRun
	err     error // why they are not known
	mac     [16]byte
}

func (d *deletion) memory() int64 { return int64(len(d.runs)) * rowRunBytes }

// rowRun is n consecutive rows of a segment.
type rowRun struct{ from, n uint32 }

// rowRunBytes is the memory of a run.
const rowRunBytes = 8

// maxDeletionBytes bounds the memory of all deletions of a store.
const maxDeletionBytes = 64 << 20

// addRow appends a row that follows all before it.
func addRow(runs []rowRun, row uint32) []rowRun {
	if n := len(runs); n > 0 && runs[n-1].from+runs[n-1].n == row {
		runs[n-1].n++
		return runs
	}
	return append(runs, rowRun{row, 1})
}

// joinRuns returns the rows of both, which are disjoint.
func joinRuns(a, b []rowRun) []rowRun {
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, func(x, y rowRun) int { return int(int64(x.from) - int64(y.from)) })
	out := all[:0]
	for _, r := range all {
		if n := len(out); n > 0 && out[n-1].from+out[n-1].n == r.from {
			out[n-1].n += r.n
			continue
		}
		out = append(out, r)
	}
	return out
}

func countRuns(runs []rowRun) (rows int64) {
	for _, r := range runs {
		rows += int64(r.n)
	}
	return rows
}

// within returns the runs of the rows from up to and without to, counted from from.
func within(runs []rowRun, from, to uint32) []rowRun {
	at, _ := slices.BinarySearchFunc(runs, from, func(r rowRun, row uint32) int {
		if r.from+r.n <= row {
			return -1
		}
		return 1
	})
	var out []rowRun
	for ; at < len(runs) && runs[at].from < to; at++ {
		lo, hi := max(runs[at].from, from), min(runs[at].from+runs[at].n, to)
		out = append(out, rowRun{lo - from, hi - lo})
	}
	return out
}

// dropRuns removes the rows of the runs from a section.
func dropRuns(sec *telemetry.Section, runs []rowRun) {
	at := 0
	keepRows(sec, func(row int) bool {
		for at < len(runs) && int(runs[at].from+runs[at].n) <= row {
			at++
		}
		return at < len(runs) && int(runs[at].from) <= row
	})
}

func encodeRuns(runs []rowRun) []byte {
	b, end := []byte{}, uint32(0)
	for _, r := range runs {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.from-end)), uint64(r.n))
		end = r.from + r.n
	}
	return b
}

func decodeRuns(b []byte) (runs []rowRun, ok bool) {
	end := uint64(0)
	for len(b) > 0 {
		gap, w := binary.Uvarint(b)
		if w <= 0 {
			return nil, false
		}
		n, v := binary.Uvarint(b[w:])
		if v <= 0 || n == 0 || gap > 1<<32 || n > 1<<32 || end+gap+n > 1<<32-1 {
			return nil, false
		}
		runs = append(runs, rowRun{uint32(end + gap), uint32(n)})
		end += gap + n
		b = b[w+v:]
	}
	return runs, true
}

// state numbers what a segment holds: it changes when rows of it are deleted, so
// that whatever was computed from it is known to be old.
func (g *segment) state() int64 {
	if g.deletion != nil {
		return g.deletion.number
	}
	return g.id
}

// isRecent reports whether rows of the segment were deleted so lately that they
// are still needed to recognise a redelivery.
func (s *Store) isRecent(g *segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return g.deletion != nil && s.opt.Now().Sub(time.Unix(0, g.deletion.created)).Abs() < s.opt.DeletedAge
}

// loadDeletions reads what is deleted of the segments. A list that is damaged
// makes its segment unreadable, because its rows would come back otherwise.
func (s *Store) loadDeletions() error {
	byID, found, unknown := map[int64]*segment{}, map[*tenant]*foundDeletions{}, int64(0)
	for _, tn := range *s.tenants.Load() {
		found[tn] = &foundDeletions{}
		for _, g := range tn.segs {
			byID[g.id] = g
		}
	}
	err := s.eachRow(s.w, deletionsTable, "", "", func(r *catalogRow) error {
		row := r.v
		d := &deletion{number: asInt(row[2]), created: asInt(row[3]), rows: asInt(row[4])}
		ok := false
		if d.runs, ok = decodeRuns(asBytes(row[5])); !r.intact || !ok || countRuns(d.runs) != d.rows {
			d = &deletion{err: damagedRow("deletions", asInt(row[0]))}
			s.damaged(d.err)
		}
		s.nextSegment.Store(max(s.nextSegment.Load(), d.number+1))
		g := byID[asInt(row[0])]
		if g == nil {
			unknown++ // its segment's row is damaged
			return nil
		}
		g.deletion = d
		s.deletionBytes.Add(d.memory())
		if of := found[g.tn]; d.err != nil {
			of.damaged++
			of.void = append(of.void, d)
		} else {
			d.mac = s.deletionMAC(g, row)
			of.add(d)
		}
		return nil
	})
	for tn, of := range found {
		s.checkDeletions(tn, of, unknown)
	}
	return err
}

// deletedSource gives the rows of a segment that are not deleted. Blocks without any
// are not read: they may be damaged, and given up for that.
type deletedSource struct {
	seg   *chunk.Segment
	runs  []rowRun
	read  func(block int, dst *telemetry.Section) error
	block int
	row   uint32 // number of the block's first row
}

// rowsOf reads all columns of a segment's blocks.
func rowsOf(seg *chunk.Segment) func(block int, dst *telemetry.Section) error {
	cols := chunk.AllColumns(seg.Table())
	return func(block int, dst *telemetry.Section) error {
		_, err := seg.ReadBlock(block, dst, cols, true)
		return err
	}
}

// Next implements chunk.Source.
func (d *deletedSource) Next(dst *telemetry.Section) (bool, error) {
	for blocks := d.seg.Blocks(); d.block < len(blocks); {
		block, from := d.block, d.row
		d.block, d.row = block+1, from+uint32(blocks[block].Rows)
		gone := within(d.runs, from, d.row)
		if countRuns(gone) == int64(blocks[block].Rows) {
			continue
		}
		if err := d.read(block, dst); err != nil {
			return false, err
		}
		dropRuns(dst, gone)
		return true, nil
	}
	return false, nil
}
