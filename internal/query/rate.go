package query

import (
	"cmp"
	"errors"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// rateAcc is rate(): by how much a counter grew per second. For each series of
// a group the increases from reading to reading are added, a smaller value
// than the one before being a counter that began again from zero, and divided
// by the seconds between the first and the last reading. The rates of the
// series are added. A series with one reading, or none, has no rate.
//
// Rows of a series come as stretches of ascending time. Where stretches of
// different units overlap, their sums are not enough: errOverlap asks for the
// scan to be repeated with every point kept.
type rateAcc struct {
	series map[rateKey]*rateState
	byGrp  map[int32][]telemetry.SeriesRef // built for the first result
	raw    bool
	bytes  int
}

type rateKey struct {
	group  int32
	series telemetry.SeriesRef
}

// stretch is readings of one series in strictly ascending time.
type stretch struct {
	from, to    int64
	first, last float64
	increase    float64
}

type ratePoint struct {
	t int64
	v float64
}

type rateState struct {
	stretches []stretch
	points    []ratePoint
}

var errOverlap = errors.New("the times of units overlap")

func (a *rateAcc) grow(int) {}

func (a *rateAcc) row(s *rateState, t int64, x float64) {
	if a.raw {
		s.points = append(s.points, ratePoint{t, x})
		a.bytes += 16
		return
	}
	if n := len(s.stretches); n > 0 {
		if l := &s.stretches[n-1]; t > l.to {
			l.increase += increase(l.last, x)
			l.to, l.last = t, x
			return
		}
	}
	s.stretches = append(s.stretches, stretch{from: t, to: t, first: x, last: x})
	a.bytes += 40
}

// increase is the growth of a counter between two readings.
func increase(from, to float64) float64 {
	if to < from {
		return to
	}
	return to - from
}

func (a *rateAcc) state(g int32, ref telemetry.SeriesRef) *rateState {
	k := rateKey{g, ref}
	s := a.series[k]
	if s == nil {
		s = &rateState{}
		a.series[k] = s
		a.bytes += 96
	}
	return s
}

func (a *rateAcc) span(c *chunk, v *vec, lo, hi int, g int32) {
	s := a.state(g, c.series()[lo])
	times := c.times()
	for i := lo; i < hi; i++ {
		if !v.null(i) {
			a.row(s, times[i], v.value(i).asFloat())
		}
	}
}

func (a *rateAcc) rows(c *chunk, v *vec, sel, groups []int32) {
	times, series := c.times(), c.series()
	for i, r := range sel {
		if !v.null(int(r)) {
			a.row(a.state(groups[i], series[r]), times[r], v.value(int(r)).asFloat())
		}
	}
}

func (a *rateAcc) merge(o accumulator, to []int32) {
	for k, from := range o.(*rateAcc).series {
		s := a.state(to[k.group], k.series)
		s.stretches = append(s.stretches, from.stretches...)
		s.points = append(s.points, from.points...)
		a.bytes += 40*len(from.stretches) + 16*len(from.points)
	}
}

func (a *rateAcc) result(g int32) (Value, error) {
	if a.byGrp == nil {
		a.byGrp = map[int32][]telemetry.SeriesRef{}
		for k := range a.series {
			a.byGrp[k.group] = append(a.byGrp[k.group], k.series)
		}
	}
	refs := a.byGrp[g]
	slices.Sort(refs) // so that the sum does not depend on the map's order
	return a.sum(g, refs)
}

func (a *rateAcc) sum(g int32, refs []telemetry.SeriesRef) (Value, error) {
	var total float64
	some := false
	for _, ref := range refs {
		s := a.series[rateKey{g, ref}]
		r, ok, err := s.rate()
		if err != nil {
			return Value{}, err
		}
		if ok {
			total += r
			some = true
		}
	}
	if !some {
		return Value{}, nil
	}
	return FloatValue(total), nil
}

// rate returns the rate of one series, or false where it has none.
func (s *rateState) rate() (float64, bool, error) {
	if s.points != nil {
		return pointRate(s.points)
	}
	slices.SortFunc(s.stretches, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	var whole stretch
	for i, st := range s.stretches {
		if i == 0 {
			whole = st
			continue
		}
		if st.from <= whole.to {
			return 0, false, errOverlap
		}
		whole.increase += increase(whole.last, st.first) + st.increase
		whole.to, whole.last = st.to, st.last
	}
	if whole.to == whole.from {
		return 0, false, nil
	}
	return whole.increase / (float64(whole.to-whole.from) / 1e9), true, nil
}

// pointRate is the rate of readings in any order; of several at one time the
// greatest counts last.
func pointRate(p []ratePoint) (float64, bool, error) {
	slices.SortFunc(p, func(a, b ratePoint) int {
		if c := cmp.Compare(a.t, b.t); c != 0 {
			return c
		}
		return cmp.Compare(a.v, b.v)
	})
	if len(p) == 0 || p[0].t == p[len(p)-1].t {
		return 0, false, nil
	}
	var sum float64
	for i := range p[1:] {
		sum += increase(p[i].v, p[i+1].v)
	}
	return sum / (float64(p[len(p)-1].t-p[0].t) / 1e9), true, nil
}

func (a *rateAcc) size() int { return a.bytes }
