package chunk

import (
	"encoding/binary"
	"math"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Kinds of statistics in a block's head.
const (
	statsNone    = 0
	statsDecimal = 1
	statsRaw     = 2
	statsPacked  = 3
	statsPerRun  = 16
)

// minStatsRun is the mean length of runs from which on there are statistics of
// each run, not of the block alone: they take about 7 bytes a run and column.
const minStatsRun = 32

// minPackedStats is from how many entries on decimal statistics take streams, a
// field each, instead of numbers one by one.
const minPackedStats = 8

// ColumnStats covers the values of one numeric column in one run or block. It
// has the fields of store.ColumnStats. Integers beyond 2^53 are rounded to the
// nearest float64; sums of decimal columns are exact before that rounding.
type ColumnStats struct {
	Count    int // values that are not null
	Min, Max float64
	Sum      float64
}

// add joins the statistics of other rows.
func (s *ColumnStats) add(o ColumnStats) {
	if o.Count == 0 {
		return
	}
	if s.Count == 0 {
		*s = o
		return
	}
	s.Count += o.Count
	s.Min, s.Max = math.Min(s.Min, o.Min), math.Max(s.Max, o.Max)
	s.Sum += o.Sum
}

// appendStats appends the statistics of a column that was just encoded, of which
// s.exponent and s.ints are left. ends are the ends of the runs.
func (s *scratch) appendStats(dst []byte, v *telemetry.Vector, ends []int32) []byte {
	rows := int(ends[len(ends)-1])
	perRun := byte(0)
	if rows >= minStatsRun*len(ends) {
		perRun = statsPerRun
	} else {
		ends = ends[len(ends)-1:]
	}
	if v.Type != telemetry.Float && v.Type != telemetry.Int {
		return append(dst, 1, statsNone)
	}
	values, valueEnds := v.Bits[:rows], ends
	if anyNull(v.Nulls, rows) {
		values = s.keep(values, v.Nulls)
		valueEnds = s.keepRuns(ends, v.Nulls)
	}
	exp, ints := 0, values
	if v.Type == telemetry.Float && len(values) > 0 {
		exp, ints = s.exponent, s.ints
	}
	from := len(dst)
	dst = append(dst, 0) // the length; one byte is enough for most
	ok := false
	switch {
	case exp >= 0 && len(ends) >= minPackedStats:
		dst = append(dst, statsPacked|perRun, byte(exp))
		dst, ok = s.packedStats(dst, ints, ends, valueEnds)
	case exp >= 0:
		dst = append(dst, statsDecimal|perRun, byte(exp))
		dst, ok = decimalStats(dst, ints, ends, valueEnds)
	}
	if !ok {
		dst = append(dst[:from+1], statsRaw|perRun)
		dst, ok = rawStats(dst, values, ends, valueEnds, v.Type == telemetry.Int)
	}
	if !ok {
		return append(dst[:from], 1, statsNone)
	}
	return prefixLength(dst, from)
}

// prefixLength puts the length of dst[from+1:] at dst[from:].
func prefixLength(dst []byte, from int) []byte {
	n := len(dst) - from - 1
	if n < 0x80 {
		dst[from] = byte(n)
		return dst
	}
	var b [binary.MaxVarintLen64]byte
	head := binary.AppendUvarint(b[:0], uint64(n))
	dst = append(dst, head[1:]...)
	copy(dst[from+len(head):], dst[from+1:from+1+n])
	copy(dst[from:], head)
	return dst
}

// decimalEntry returns the least and greatest of integers, and their sum; false
// where the sum of a block might not fit: 2^16 rows of 2^46 are the most that
// surely do; 2^46 hundredths are 7 * 10^11.
func decimalEntry(part []uint64) (lo, hi, sum int64, ok bool) {
	lo, hi = int64(part[0]), int64(part[0])
	for _, u := range part {
		x := int64(u)
		lo, hi = min(lo, x), max(hi, x)
		sum += x
	}
	return lo, hi, sum, lo >= -1<<46 && hi <= 1<<46
}

// decimalStats appends one entry for each run; false where a sum might not fit.
// ends counts rows, valueEnds the values that are not null.
func decimalStats(dst []byte, v []uint64, ends, valueEnds []int32) ([]byte, bool) {
	row, start := int32(0), int32(0)
	for i, e := range valueEnds {
		part := v[start:e]
		dst = binary.AppendUvarint(dst, uint64(int(ends[i]-row)-len(part)))
		row, start = ends[i], e
		if len(part) == 0 {
			continue
		}
		lo, hi, sum, ok := decimalEntry(part)
		if !ok {
			return dst, false
		}
		dst = appendVarint(dst, lo)
		dst = binary.AppendUvarint(dst, uint64(hi-lo))
		dst = binary.AppendUvarint(dst, uint64(sum-lo*int64(len(part))))
	}
	return dst, true
}

// packedStats is decimalStats with a stream for each field of the entries.
func (s *scratch) packedStats(dst []byte, v []uint64, ends, valueEnds []int32) ([]byte, bool) {
	n := len(ends)
	s.entries = grow(s.entries, 4*n)
	nulls, least, span, sums := s.entries[:n], s.entries[n:2*n], s.entries[2*n:3*n], s.entries[3*n:]
	row, start := int32(0), int32(0)
	for i, e := range valueEnds {
		part := v[start:e]
		nulls[i] = uint64(int(ends[i]-row) - len(part))
		row, start = ends[i], e
		least[i], span[i], sums[i] = 0, 0, 0
		if len(part) == 0 {
			continue
		}
		lo, hi, sum, ok := decimalEntry(part)
		if !ok {
			return dst, false
		}
		least[i], span[i], sums[i] = uint64(lo), uint64(hi-lo), uint64(sum-lo*int64(len(part)))
	}
	for _, field := range [][]uint64{nulls, least, span, sums} {
		dst = s.planner.appendStream(dst, field, nil, false)
	}
	return dst, true
}

// rawStats is decimalStats for values that are no decimals; false where one is
// not a number.
func rawStats(dst []byte, v []uint64, ends, valueEnds []int32, ints bool) ([]byte, bool) {
	row, start := int32(0), int32(0)
	for i, e := range valueEnds {
		part := v[start:e]
		dst = binary.AppendUvarint(dst, uint64(int(ends[i]-row)-len(part)))
		row, start = ends[i], e
		if len(part) == 0 {
			continue
		}
		var st ColumnStats
		lost := 0.0 // Neumaier: what rounding took from the sum
		for n, u := range part {
			x := math.Float64frombits(u)
			if ints {
				x = float64(int64(u))
			}
			if x != x {
				return dst, false
			}
			if n == 0 {
				st.Min, st.Max = x, x
			}
			st.Min, st.Max = math.Min(st.Min, x), math.Max(st.Max, x)
			sum := st.Sum + x
			if math.Abs(st.Sum) >= math.Abs(x) {
				lost += st.Sum - sum + x
			} else {
				lost += x - sum + st.Sum
			}
			st.Sum = sum
		}
		if lost == lost && !math.IsInf(st.Sum, 0) {
			st.Sum += lost
		}
		for _, x := range [...]float64{st.Min, st.Max, st.Sum} {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
		}
	}
	return dst, true
}

// readStats reads the statistics of one column for runs, or for the block where
// there is one entry; nil where there are none.
func readStats(b []byte, runs []Run, rows int) (stats []ColumnStats, perRun bool, err error) {
	r := reader{b: b}
	kind := r.byte()
	if kind == statsNone {
		return nil, false, r.end()
	}
	perRun = kind&statsPerRun != 0
	n := 1
	if perRun {
		n = len(runs)
	}
	div := 1.0
	switch kind &^ statsPerRun {
	case statsDecimal:
		exp := int(r.byte())
		if exp > maxExponent {
			return nil, false, errRange
		}
		div = pow10[exp]
	case statsPacked:
		exp := int(r.byte())
		if exp > maxExponent {
			return nil, false, errRange
		}
		stats, err = readPacked(&r, runs, rows, n, pow10[exp])
		return stats, perRun, err
	case statsRaw:
	default:
		return nil, false, errKind
	}
	if r.err != nil || n > len(r.b) {
		return nil, false, errShort
	}
	stats = make([]ColumnStats, n)
	for i := range stats {
		st := &stats[i]
		of := rows
		if perRun {
			of = runs[i].Rows
		}
		st.Count = of - r.size(of)
		if st.Count == 0 {
			continue
		}
		if kind&^statsPerRun == statsRaw {
			st.Min, st.Max = math.Float64frombits(r.uint64()), math.Float64frombits(r.uint64())
			st.Sum = math.Float64frombits(r.uint64())
			continue
		}
		lo := r.varint()
		hi := lo + int64(r.uvarint())
		sum := lo*int64(st.Count) + int64(r.uvarint())
		st.Min, st.Max, st.Sum = float64(lo)/div, float64(hi)/div, float64(sum)/div
	}
	return stats, perRun, r.end()
}

// readPacked reads n entries that stand as streams.
func readPacked(r *reader, runs []Run, rows, n int, div float64) ([]ColumnStats, error) {
	fields := make([]uint64, 4*n)
	nulls, least, span, sums := fields[:n], fields[n:2*n], fields[2*n:3*n], fields[3*n:]
	for _, field := range [][]uint64{nulls, least, span, sums} {
		r.stream(field)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	stats := make([]ColumnStats, n)
	for i := range stats {
		of := rows
		if n > 1 || len(runs) == 1 {
			of = runs[i].Rows
		}
		if nulls[i] > uint64(of) {
			return nil, errRange
		}
		st := &stats[i]
		if st.Count = of - int(nulls[i]); st.Count == 0 {
			continue
		}
		lo := int64(least[i])
		hi, sum := lo+int64(span[i]), lo*int64(st.Count)+int64(sums[i])
		st.Min, st.Max, st.Sum = float64(lo)/div, float64(hi)/div, float64(sum)/div
	}
	return stats, nil
}
