package query

import (
	"math"
	"math/bits"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// accumulator keeps the state of one aggregate for all groups of a worker.
type accumulator interface {
	// grow makes room for groups up to n.
	grow(n int)
	// span adds the rows [lo, hi) of v, all of one series and in ascending
	// time, to one group.
	span(c *chunk, v *vec, lo, hi int, group int32)
	// rows adds the rows sel of v to the groups that stand parallel.
	rows(c *chunk, v *vec, sel, groups []int32)
	// merge adds the state of another worker's accumulator; its group g is to[g].
	merge(o accumulator, to []int32)
	// result returns the value of a group.
	result(group int32) (Value, error)
	// size returns about how many bytes the state holds.
	size() int
}

// newAccumulator makes the accumulator of an aggregate.
func newAccumulator(a aggSpec, rawRates bool) accumulator {
	switch {
	case a.fn == "count" && a.distinct:
		return &distinctAcc{seen: map[string]struct{}{}}
	case a.fn == "count":
		return &countAcc{all: a.arg == nil}
	case a.fn == "sum" || a.fn == "avg" || a.fn == "total":
		return &sumAcc{fn: a.fn}
	case a.fn == "min" || a.fn == "max":
		return &extremeAcc{max: a.fn == "max"}
	case a.fn == "first" || a.fn == "last":
		return &edgeAcc{last: a.fn == "last"}
	case a.fn == "stddev":
		return &stddevAcc{}
	case a.fn == "quantile":
		return &quantileAcc{p: a.p}
	}
	return &rateAcc{series: map[rateKey]*rateState{}, raw: rawRates}
}

type countAcc struct {
	all bool
	n   []int64
}

func (a *countAcc) grow(n int) { a.n = growTo(a.n, n) }
func (a *countAcc) span(_ *chunk, v *vec, lo, hi int, g int32) {
	if a.all || v.noNullsIn(lo, hi) {
		a.n[g] += int64(hi - lo)
		return
	}
	for i := lo; i < hi; i++ {
		if !v.null(i) {
			a.n[g]++
		}
	}
}

func (a *countAcc) rows(c *chunk, v *vec, sel, groups []int32) {
	if a.all || v.noNullsIn(0, c.n) {
		for _, g := range groups {
			a.n[g]++
		}
		return
	}
	for i, r := range sel {
		if !v.null(int(r)) {
			a.n[groups[i]]++
		}
	}
}

func (a *countAcc) merge(o accumulator, to []int32) {
	for g, n := range o.(*countAcc).n {
		a.n[to[g]] += n
	}
}
func (a *countAcc) result(g int32) (Value, error) { return IntValue(a.n[g]), nil }
func (a *countAcc) size() int                     { return 8 * len(a.n) }

// growTo extends a slice with zero values.
func growTo[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	if n <= cap(s) {
		clear(s[len(s):n]) // it may have been longer before
		return s[:n]
	}
	t := make([]T, n, max(n+n/2, 16))
	copy(t, s)
	return t
}

// sumState is a sum of integers in 128 bits and of reals with the rounding
// errors beside it (Neumaier), so that the order of rows hardly matters.
type sumState struct {
	n, reals int64
	sum, err float64
	lo       uint64
	hi       int64
}

func (s *sumState) addFloat(x float64) {
	s.n++
	s.reals++
	t := s.sum + x
	b := t - s.sum
	s.err += (s.sum - (t - b)) + (x - b)
	s.sum = t
}

func (s *sumState) addInt(x int64) {
	s.n++
	lo, carry := bits.Add64(s.lo, uint64(x), 0)
	s.lo = lo
	s.hi += x>>63 + int64(carry)
}

func (s *sumState) add(o *sumState) {
	lo, carry := bits.Add64(s.lo, o.lo, 0)
	s.lo = lo
	s.hi += o.hi + int64(carry)
	n, reals := s.n+o.n, s.reals+o.reals
	s.addFloat(o.sum)
	s.err += o.err
	s.n, s.reals = n, reals
}

func (s *sumState) float() float64 {
	f := s.sum
	if !math.IsNaN(s.err) {
		f += s.err
	}
	if s.lo != 0 || s.hi != 0 {
		if s.hi == int64(s.lo)>>63 {
			return f + float64(int64(s.lo))
		}
		f += math.Ldexp(float64(s.hi), 64) + float64(s.lo)
	}
	return f
}

type sumAcc struct {
	fn     string
	s      []sumState
	packed []uint64 // scratch
}

func (a *sumAcc) grow(n int) { a.s = growTo(a.s, n) }
func (a *sumAcc) span(_ *chunk, v *vec, lo, hi int, g int32) {
	s := &a.s[g]
	switch {
	case v.kind == vecFloat && !v.con && v.noNullBits(lo, hi) && s.addFloats(v.bits[lo:hi]):
	default:
		for i := lo; i < hi; i++ {
			a.row(s, v, i)
		}
	}
}

// addFloats adds reals of which none is NaN, or reports that one may be. Two
// halves are added side by side, because each sum waits for the one before.
func (s *sumState) addFloats(bits []uint64) bool {
	var sum, err [2]float64
	half := len(bits) / 2
	a, b := bits[:half], bits[half:2*half]
	for i := range a {
		x, y := math.Float64frombits(a[i]), math.Float64frombits(b[i])
		t, u := sum[0]+x, sum[1]+y
		p, q := t-sum[0], u-sum[1]
		err[0] += (sum[0] - (t - p)) + (x - p)
		err[1] += (sum[1] - (u - q)) + (y - q)
		sum[0], sum[1] = t, u
	}
	if total := sum[0] + sum[1]; math.IsNaN(total) || math.IsInf(total, 0) {
		return false
	}
	n, reals := s.n+int64(len(bits)), s.reals+int64(len(bits))
	s.addFloat(sum[0])
	s.addFloat(sum[1])
	s.err += err[0] + err[1]
	if len(bits)%2 == 1 {
		x := math.Float64frombits(bits[len(bits)-1])
		if math.IsNaN(x) {
			n, reals = n-1, reals-1
		} else {
			s.addFloat(x)
		}
	}
	s.n, s.reals = n, reals
	return true
}

func (a *sumAcc) row(s *sumState, v *vec, i int) {
	if v.null(i) {
		return
	}
	switch v.kind {
	case vecFloat:
		s.addFloat(v.number(i))
	case vecInt:
		s.addInt(int64(v.bits[v.row(i)]))
	default:
		switch n := v.value(i).numeric(); n.Kind {
		case Int:
			s.addInt(n.Int())
		case Float:
			s.addFloat(n.Float())
		}
	}
}

func (a *sumAcc) rows(_ *chunk, v *vec, sel, groups []int32) {
	if v.kind == vecFloat && !v.con && v.noNullBits(0, len(v.bits)) {
		for i, r := range sel {
			if x := math.Float64frombits(v.bits[r]); x == x {
				a.s[groups[i]].addFloat(x)
			}
		}
		return
	}
	for i, r := range sel {
		a.row(&a.s[groups[i]], v, int(r))
	}
}

func (a *sumAcc) merge(o accumulator, to []int32) {
	from := o.(*sumAcc)
	for g := range from.s {
		a.s[to[g]].add(&from.s[g])
	}
}

func (a *sumAcc) result(g int32) (Value, error) {
	s := &a.s[g]
	switch {
	case a.fn == "total":
		return FloatValue(s.float()), nil
	case s.n == 0:
		return Value{}, nil
	case a.fn == "avg":
		return FloatValue(s.float() / float64(s.n)), nil
	case s.reals > 0:
		return FloatValue(s.float()), nil
	case s.hi != int64(s.lo)>>63:
		return Value{}, telemetry.Errorf(telemetry.CodeInvalid, "run query", "integer overflow in sum()").
			WithHint("use total(), which adds reals")
	}
	return IntValue(int64(s.lo)), nil
}
func (a *sumAcc) size() int { return 48 * len(a.s) }

// stats adds a run by its statistics.
func (a *sumAcc) stats(g int32, st *store.ColumnStats, t telemetry.ColumnType) {
	if st.Count == 0 {
		return
	}
	s := &a.s[g]
	n := s.n
	if t == telemetry.Int {
		s.addInt(int64(st.Sum))
	} else {
		s.addFloat(st.Sum)
		s.reals += int64(st.Count) - 1
	}
	s.n = n + int64(st.Count)
}

// stddevAcc is the standard deviation of a sample (Welford, Chan).
type stddevAcc struct{ s []moments }

type moments struct{ n, mean, m2 float64 }

func (m *moments) add(x float64) {
	m.n++
	d := x - m.mean
	m.mean += d / m.n
	m.m2 += d * (x - m.mean)
}

func (m *moments) stddev() Value {
	if m.n < 2 {
		return Value{}
	}
	return FloatValue(math.Sqrt(m.m2 / (m.n - 1)))
}

func (a *stddevAcc) grow(n int) { a.s = growTo(a.s, n) }
func (a *stddevAcc) span(_ *chunk, v *vec, lo, hi int, g int32) {
	for i := lo; i < hi; i++ {
		a.row(v, i, g)
	}
}

func (a *stddevAcc) row(v *vec, i int, g int32) {
	if v.null(i) {
		return
	}
	if v.kind == vecFloat || v.kind == vecInt {
		a.s[g].add(v.number(i))
		return
	}
	a.s[g].add(v.value(i).asFloat())
}

func (a *stddevAcc) rows(_ *chunk, v *vec, sel, groups []int32) {
	for i, r := range sel {
		a.row(v, int(r), groups[i])
	}
}

func (a *stddevAcc) merge(o accumulator, to []int32) {
	from := o.(*stddevAcc)
	for g := range from.s {
		x, y := &a.s[to[g]], from.s[g]
		if y.n == 0 {
			continue
		}
		n := x.n + y.n
		d := y.mean - x.mean
		x.m2 += y.m2 + d*d*x.n*y.n/n
		x.mean += d * y.n / n
		x.n = n
	}
}
func (a *stddevAcc) result(g int32) (Value, error) { return a.s[g].stddev(), nil }
func (a *stddevAcc) size() int                     { return 24 * len(a.s) }
