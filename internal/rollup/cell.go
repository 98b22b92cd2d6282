package rollup

import (
	"bytes"
	"math"
	"math/bits"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// cell is the aggregates of one field over one bucket.
type cell struct {
	n               int64
	first, last     value
	firstAt, lastAt int64
	min, max        uint64
	sum             sum
	sketch          Sketch
}

// value is one value of a field, in the form of its type.
type value struct {
	bits uint64
	text []byte
}

// sum is a sum of integers in 128 bits, and of floats with the rounding errors
// beside it (Neumaier).
type sum struct {
	hi       int64
	lo       uint64
	f, error float64
}

func (s *sum) addInt(hi int64, lo uint64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi += hi + int64(carry)
}

func (s *sum) addFloat(x float64) {
	t := s.f + x
	b := t - s.f
	s.error += (s.f - (t - b)) + (x - b)
	s.f = t
}

func (s *sum) float() float64 {
	if math.IsNaN(s.error) {
		return s.f // infinities have no rounding error
	}
	return s.f + s.error
}

func (c *cell) reset() {
	s, first, last := c.sketch, c.first.text[:0], c.last.text[:0]
	*c = cell{first: value{text: first}, last: value{text: last}, sketch: s}
	c.sketch.Reset()
}

// compare orders two values of a type as SQL does.
func compare(t telemetry.ColumnType, a, b value) int {
	switch t {
	case telemetry.Float:
		return order(math.Float64frombits(a.bits), math.Float64frombits(b.bits))
	case telemetry.Int, telemetry.Bool:
		return order(int64(a.bits), int64(b.bits))
	}
	return bytes.Compare(a.text, b.text)
}

func order[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (v *value) set(o value) { v.bits, v.text = o.bits, append(v.text[:0], o.text...) }

// edges takes a value at a time as the first or last of the cell.
func (c *cell) edges(t telemetry.ColumnType, at int64, v value) {
	c.offerFirst(t, at, v)
	c.offerLast(t, at, v)
}

func (c *cell) offerFirst(t telemetry.ColumnType, at int64, v value) {
	if c.n == 0 || at < c.firstAt || at == c.firstAt && compare(t, v, c.first) < 0 {
		c.firstAt = at
		c.first.set(v)
	}
}

func (c *cell) offerLast(t telemetry.ColumnType, at int64, v value) {
	if c.n == 0 || at > c.lastAt || at == c.lastAt && compare(t, v, c.last) > 0 {
		c.lastAt = at
		c.last.set(v)
	}
}

// addRows adds the rows [lo, hi) of a vector, which ascend in time.
func (c *cell) addRows(t telemetry.ColumnType, v *telemetry.Vector, times []int64, lo, hi int) {
	for i := lo; i < hi; i++ {
		if v.Nulls.Get(i) || t == telemetry.Float && math.IsNaN(v.Float(i)) {
			continue
		}
		switch t {
		case telemetry.JSON:
		case telemetry.String:
			c.edges(t, times[i], value{text: v.Text(i)})
		default:
			c.addNumber(t, times[i], v.Bits[i])
		}
		c.n++
	}
}

func (c *cell) addNumber(t telemetry.ColumnType, at int64, b uint64) {
	v := value{bits: b}
	c.edges(t, at, v)
	if c.n == 0 || compare(t, v, value{bits: c.min}) < 0 {
		c.min = b
	}
	if c.n == 0 || compare(t, v, value{bits: c.max}) > 0 {
		c.max = b
	}
	if t == telemetry.Float {
		x := math.Float64frombits(b)
		c.sum.addFloat(x)
		c.sketch.Add(x)
		return
	}
	c.sum.addInt(int64(b)>>63, b)
	c.sketch.Add(float64(int64(b)))
}

// merge adds what another cell of the same type holds.
func (c *cell) merge(t telemetry.ColumnType, o *cell) {
	if o.n == 0 {
		return
	}
	if t != telemetry.JSON {
		c.offerFirst(t, o.firstAt, o.first)
		c.offerLast(t, o.lastAt, o.last)
	}
	if !t.Textual() {
		if c.n == 0 || compare(t, value{bits: o.min}, value{bits: c.min}) < 0 {
			c.min = o.min
		}
		if c.n == 0 || compare(t, value{bits: o.max}, value{bits: c.max}) > 0 {
			c.max = o.max
		}
		c.sum.addInt(o.sum.hi, o.sum.lo)
		c.sum.addFloat(o.sum.f)
		c.sum.error += o.sum.error
		c.sketch.Merge(&o.sketch)
	}
	c.n += o.n
}
