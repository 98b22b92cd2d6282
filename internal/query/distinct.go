package query

import (
	"math"
)

// distinctAcc counts different values; the group is part of the key.
type distinctAcc struct {
	n     []int64
	seen  map[string]struct{}
	key   []byte
	bytes int
}

func (a *distinctAcc) grow(n int) { a.n = growTo(a.n, n) }

func (a *distinctAcc) row(g int32, v Value) {
	if v.IsNull() {
		return
	}
	a.key = append(a.key[:0], byte(g), byte(g>>8), byte(g>>16), byte(g>>24))
	a.key = appendKey(a.key, v)
	a.insert(g)
}

func (a *distinctAcc) insert(g int32) {
	if _, ok := a.seen[string(a.key)]; !ok {
		a.seen[string(a.key)] = struct{}{}
		a.n[g]++
		a.bytes += len(a.key) + 48
	}
}

func (a *distinctAcc) span(_ *chunk, v *vec, lo, hi int, g int32) {
	var prev uint64
	some := false
	for i := lo; i < hi; i++ {
		if v.null(i) {
			continue
		}
		if v.kind != vecText && v.kind != vecAny {
			// A value repeats its neighbour more often than not.
			b := v.bits[v.row(i)]
			if some && b == prev {
				continue
			}
			prev, some = b, true
		}
		a.row(g, v.value(i))
	}
}

func (a *distinctAcc) rows(_ *chunk, v *vec, sel, groups []int32) {
	for i, r := range sel {
		a.row(groups[i], v.value(int(r)))
	}
}

func (a *distinctAcc) merge(o accumulator, to []int32) {
	for k := range o.(*distinctAcc).seen {
		g := to[int32(k[0])|int32(k[1])<<8|int32(k[2])<<16|int32(k[3])<<24]
		a.key = append(a.key[:0], byte(g), byte(g>>8), byte(g>>16), byte(g>>24))
		a.key = append(a.key, k[4:]...)
		a.insert(g)
	}
}

func (a *distinctAcc) result(g int32) (Value, error) { return IntValue(a.n[g]), nil }
func (a *distinctAcc) size() int                     { return a.bytes + 8*len(a.n) }

// appendKey appends a value so that values that compare equal give equal bytes.
func appendKey(dst []byte, v Value) []byte {
	switch v.Kind {
	case Null:
		return append(dst, 0)
	case Float:
		f := v.Float()
		if f >= -9223372036854775808.0 && f < 9223372036854775808.0 && f == math.Trunc(f) {
			return appendKey(dst, IntValue(int64(f)))
		}
		return append64(append(dst, 2), v.bits)
	case Int:
		return append64(append(dst, 1), v.bits)
	}
	dst = append64(append(dst, byte(v.Kind)), uint64(len(v.text)))
	return append(dst, v.text...)
}

func append64(dst []byte, x uint64) []byte {
	return append(dst, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56))
}
