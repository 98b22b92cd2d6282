package chunk

import (
	"encoding/binary"
	"math"
)

// columnTotal is the statistics of a field column over a whole segment.
type columnTotal struct {
	ColumnStats
	lost float64 // Neumaier: what rounding took from the sum
	none bool    // some block has no statistics of the column
}

func newTotals(columns int) []columnTotal { return make([]columnTotal, columns) }

// add joins the statistics of more rows.
func (t *columnTotal) add(o ColumnStats) {
	if o.Count == 0 {
		return
	}
	if t.Count == 0 {
		t.Min, t.Max = o.Min, o.Max
	}
	t.Count += o.Count
	t.Min, t.Max = math.Min(t.Min, o.Min), math.Max(t.Max, o.Max)
	sum := t.Sum + o.Sum
	if math.Abs(t.Sum) >= math.Abs(o.Sum) {
		t.lost += t.Sum - sum + o.Sum
	} else {
		t.lost += o.Sum - sum + t.Sum
	}
	t.Sum = sum
}

func (t *columnTotal) sum() float64 {
	if t.lost != t.lost || math.IsInf(t.Sum, 0) {
		return t.Sum
	}
	return t.Sum + t.lost
}

// total adds the statistics of a block, as they were just written, to the
// segment's.
func (w *SegmentWriter) total(col int, written []byte) {
	t := &w.totals[col]
	if t.none {
		return
	}
	r := reader{b: written}
	r.size(len(r.b)) // the length in front
	w.runs = w.runs[:0]
	start := int32(0)
	for _, end := range w.ends {
		w.runs = append(w.runs, Run{Rows: int(end - start)})
		start = end
	}
	stats, _, err := readStats(r.b, w.runs, w.buf.Rows())
	if err != nil || len(stats) == 0 {
		*t = columnTotal{none: true}
		return
	}
	for _, st := range stats {
		t.add(st)
	}
}

func appendTotals(dst []byte, totals []columnTotal) []byte {
	for i := range totals {
		t := &totals[i]
		if t.none {
			dst = append(dst, 0)
			continue
		}
		dst = append(dst, 1)
		dst = binary.AppendUvarint(dst, uint64(t.Count))
		for _, x := range [...]float64{t.Min, t.Max, t.sum()} {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
		}
	}
	return dst
}

// readTotals reads what appendTotals wrote; a total that is not kept has the
// count -1.
func readTotals(r *reader, columns int, rows uint64) []ColumnStats {
	totals := make([]ColumnStats, columns)
	for i := range totals {
		t := &totals[i]
		switch r.byte() {
		case 0:
			t.Count = -1
		case 1:
			n := r.uvarint()
			if n > rows {
				r.fail(errRange)
			}
			t.Count = int(n)
			t.Min, t.Max = math.Float64frombits(r.uint64()), math.Float64frombits(r.uint64())
			t.Sum = math.Float64frombits(r.uint64())
		default:
			r.fail(errKind)
		}
	}
	return totals
}

// Total returns the statistics of a field column over all rows of the segment,
// and false where they are not kept.
func (s *Segment) Total(col int) (ColumnStats, bool) {
	if col < 0 || col >= len(s.totals) || s.totals[col].Count < 0 {
		return ColumnStats{}, false
	}
	return s.totals[col], true
}
