package query

import (
	"math"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// quantileAcc is quantile(x, p) and median(x): a sketch for each group. Rollups
// hold the same sketches, so readings and rollups give the same answer.
type quantileAcc struct {
	p     float64
	s     []*rollup.Sketch
	bytes int
}

func (a *quantileAcc) grow(n int) { a.s = growTo(a.s, n) }

// sketch returns the sketch of a group. What it grows by is counted at the end of
// each stretch.
func (a *quantileAcc) sketch(g int32) *rollup.Sketch {
	if a.s[g] == nil {
		a.s[g] = &rollup.Sketch{}
		a.bytes += a.s[g].SizeBytes()
	}
	return a.s[g]
}

func (a *quantileAcc) span(_ *chunk, v *vec, lo, hi int, g int32) {
	s := a.sketch(g)
	a.bytes -= s.SizeBytes()
	if v.kind == vecFloat && !v.con && v.noNullBits(lo, hi) {
		for _, b := range v.bits[lo:hi] {
			s.Add(math.Float64frombits(b))
		}
	} else {
		for i := lo; i < hi; i++ {
			addQuantile(s, v, i)
		}
	}
	a.bytes += s.SizeBytes()
}

func addQuantile(s *rollup.Sketch, v *vec, i int) {
	switch {
	case v.null(i):
	case v.kind == vecFloat || v.kind == vecInt:
		s.Add(v.number(i))
	default:
		s.Add(v.value(i).asFloat())
	}
}

func (a *quantileAcc) rows(_ *chunk, v *vec, sel, groups []int32) {
	for i, r := range sel {
		s := a.sketch(groups[i])
		before := s.SizeBytes()
		addQuantile(s, v, int(r))
		a.bytes += s.SizeBytes() - before
	}
}

func (a *quantileAcc) merge(o accumulator, to []int32) {
	for g, from := range o.(*quantileAcc).s {
		if from != nil {
			s := a.sketch(to[g])
			before := s.SizeBytes()
			s.Merge(from)
			a.bytes += s.SizeBytes() - before
		}
	}
}

func (a *quantileAcc) result(g int32) (Value, error) { return quantileValue(a.s[g], a.p), nil }
func (a *quantileAcc) size() int                     { return a.bytes + 8*len(a.s) }

func quantileValue(s *rollup.Sketch, p float64) Value {
	if s == nil {
		return Value{}
	}
	x, ok := s.Quantile(p)
	if !ok {
		return Value{}
	}
	return FloatValue(x)
}

// quantileOf reads the p of quantile(x, p).
func quantileOf(v Value) (float64, error) {
	if p := v.asFloat(); (v.Kind == Int || v.Kind == Float) && p >= 0 && p <= 1 {
		return p, nil
	}
	return 0, telemetry.Errorf(telemetry.CodeInvalid, "query", "quantile() of %s", v.String()).
		WithHint("the second argument is a number from 0 to 1: quantile(x, 0.95)")
}
