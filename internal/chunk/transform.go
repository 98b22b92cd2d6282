package chunk

import "math"

// transform turns the integers of a stream into the words of a column.
type transform struct {
	kind  uint8
	shift uint8   // formShifted
	mul   uint64  // formScaled
	div   float64 // formDecimal
}

// tableSpan is up to which span a table of all values is made, so that the
// arithmetic is done once a distinct value and not once a row.
const tableSpan = 1024

func (t transform) one(x uint64) uint64 {
	switch t.kind {
	case formScaled:
		return x * t.mul
	case formDecimal:
		return math.Float64bits(float64(int64(x)) / t.div)
	case formShifted:
		return x << t.shift
	}
	return x
}

// each transforms whole values in place.
func (t transform) each(v []uint64) {
	switch t.kind {
	case formScaled:
		for i := range v {
			v[i] *= t.mul
		}
	case formDecimal:
		for i := range v {
			v[i] = math.Float64bits(float64(int64(v[i])) / t.div)
		}
	case formShifted:
		for i := range v {
			v[i] <<= t.shift
		}
	}
}

// tabled reports whether a table of all values is worth making.
func (t transform) tabled(span uint64, rows int) bool {
	return t.kind == formDecimal && span < tableSpan && span*2 < uint64(rows)
}

func (t transform) fillTable(table *[tableSpan]uint64, base, span uint64) {
	for r := range table[:span+1] {
		table[r] = t.one(base + uint64(r))
	}
}

// flat turns residuals of at most span into values in place. table is scratch.
func (t transform) flat(v []uint64, base, span uint64, table *[tableSpan]uint64) {
	if t.tabled(span, len(v)) {
		t.fillTable(table, base, span)
		for i, r := range v {
			v[i] = table[r&(tableSpan-1)]
		}
		return
	}
	switch t.kind {
	case formScaled:
		base *= t.mul
		for i := range v {
			v[i] = v[i]*t.mul + base
		}
	case formDecimal:
		for i := range v {
			v[i] = math.Float64bits(float64(int64(v[i]+base)) / t.div)
		}
	case formShifted:
		for i := range v {
			v[i] = (v[i] + base) << t.shift
		}
	default:
		for i := range v {
			v[i] += base
		}
	}
}

// progression fills v with base, base+step, and so on.
func (t transform) progression(v []uint64, base, step uint64) {
	if step == 0 {
		fill(v, t.one(base))
		return
	}
	switch t.kind {
	case formScaled, formShifted:
		base, step = t.one(base), t.one(step)
	case formDecimal:
		for i := range v {
			v[i] = t.one(base)
			base += step
		}
		return
	}
	for ; len(v) >= 4; v = v[4:] {
		v[0], v[1], v[2], v[3] = base, base+step, base+2*step, base+3*step
		base += 4 * step
	}
	for i := range v {
		v[i] = base
		base += step
	}
}

// fill sets every element. Copying what is filled already moves whole cache
// lines, where a loop moves an element.
func fill[T any](v []T, x T) {
	const loop = 16
	for i := range v[:min(loop, len(v))] {
		v[i] = x
	}
	for n := loop; n < len(v); n *= 2 {
		copy(v[n:], v[:n])
	}
}
