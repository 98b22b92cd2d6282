package query

import (
	"math"
	"unsafe"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// vecKind says how a vec holds its values.
type vecKind uint8

const (
	vecNull   vecKind = iota // all rows are NULL
	vecInt                   // bits are int64
	vecFloat                 // bits are float64
	vecText                  // dict and bits, or ends and data
	vecTime                  // bits are ns; text by appendTime
	vecBucket                // bits are ns at whole seconds; text by appendBucket
	vecAny                   // vals
)

// vec is the values of one expression for the rows of a chunk. Where con is
// set, row 0 stands for all rows.
type vec struct {
	kind  vecKind
	con   bool
	bits  []uint64
	nulls telemetry.Bitmap // nil: none
	dict  []string
	ends  []uint32
	data  []byte
	first uint32 // where the text of row 0 begins in data
	vals  []Value
}

func (v *vec) row(i int) int {
	if v.con {
		return 0
	}
	return i
}

func (v *vec) null(i int) bool {
	switch v.kind {
	case vecNull:
		return true
	case vecAny:
		return v.vals[v.row(i)].IsNull()
	}
	if v.nulls == nil {
		return v.kind == vecFloat && math.IsNaN(math.Float64frombits(v.bits[v.row(i)]))
	}
	i = v.row(i)
	return v.nulls.Get(i) || v.kind == vecFloat && math.IsNaN(math.Float64frombits(v.bits[i]))
}

// textAt returns the text of a row of a vecText. It is valid as long as the vec.
func (v *vec) textAt(i int) string {
	i = v.row(i)
	if v.dict != nil {
		return v.dict[v.bits[i]]
	}
	start := v.first
	if i > 0 {
		start = v.ends[i-1]
	}
	b := v.data[start:v.ends[i]]
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// value boxes one row. The text of a vecText is valid only as long as the vec:
// keep clones it.
func (v *vec) value(i int) Value {
	if v.null(i) {
		return Value{}
	}
	switch i = v.row(i); v.kind {
	case vecInt:
		return Value{Kind: Int, bits: v.bits[i]}
	case vecFloat:
		return Value{Kind: Float, bits: v.bits[i]}
	case vecText:
		return TextValue(v.textAt(i))
	case vecTime, vecBucket:
		var buf [timeLen]byte
		return TextValue(string(appendBucket(buf[:0], int64(v.bits[i]), v.kind == vecBucket)))
	}
	return v.vals[i]
}

// number returns a row of a vecInt or vecFloat as float64.
func (v *vec) number(i int) float64 {
	if v.kind == vecInt {
		return float64(int64(v.bits[v.row(i)]))
	}
	return math.Float64frombits(v.bits[v.row(i)])
}

// noNulls reports that no row is null.
func (v *vec) noNulls(n int) bool { return v.noNullsIn(0, n) }

// noNullsIn is noNulls of the rows [lo, hi).
func (v *vec) noNullsIn(lo, hi int) bool {
	if !v.noNullBits(lo, hi) {
		return false
	}
	if v.kind == vecFloat && !v.con {
		for _, b := range v.bits[lo:hi] {
			if b&0x7fffffffffffffff > 0x7ff0000000000000 {
				return false
			}
		}
	}
	return true
}

// noNullBits is noNullsIn except that reals may be NaN.
func (v *vec) noNullBits(lo, hi int) bool {
	if v.kind == vecNull || v.kind == vecAny {
		return false
	}
	if v.con {
		return !v.null(0)
	}
	for i := lo; i < hi && v.nulls != nil; {
		w := i >> 6
		if w >= len(v.nulls) {
			break
		}
		if v.nulls[w] == 0 {
			i = (w + 1) << 6
			continue
		}
		if v.nulls.Get(i) {
			return false
		}
		i++
	}
	return true
}

// reserve makes room for n rows of bits and clears the nulls.
func (v *vec) reserve(kind vecKind, n int) {
	v.kind, v.con, v.dict, v.vals = kind, false, nil, v.vals[:0]
	if cap(v.bits) < n {
		v.bits = make([]uint64, n)
	}
	v.bits = v.bits[:n]
	v.nulls = v.nulls[:0]
}

func (v *vec) reserveAny(n int) {
	v.kind, v.con = vecAny, false
	if cap(v.vals) < n {
		v.vals = make([]Value, n)
	}
	v.vals = v.vals[:n]
}

// view makes v the rows [lo, lo+n) of a column. lo is a multiple of 64.
func (v *vec) view(c *telemetry.Vector, lo, n int) {
	*v = vec{}
	if w := lo / 64; w < len(c.Nulls) {
		v.nulls = c.Nulls[w:min(len(c.Nulls), w+(n+63)/64)]
	}
	switch c.Type {
	case telemetry.Float:
		v.kind, v.bits = vecFloat, c.Bits[lo:lo+n]
	case telemetry.Int, telemetry.Bool:
		v.kind, v.bits = vecInt, c.Bits[lo:lo+n]
	default:
		v.kind = vecText
		if c.Dict != nil {
			v.dict, v.bits = c.Dict, c.Bits[lo:lo+n]
			return
		}
		v.ends, v.data = c.Ends[lo:lo+n], c.Bytes
		if lo > 0 {
			v.first = c.Ends[lo-1]
		}
	}
}

func constVec(val Value) *vec {
	v := &vec{con: true}
	switch val.Kind {
	case Null:
		v.kind = vecNull
	case Int:
		v.kind, v.bits = vecInt, []uint64{val.bits}
	case Float:
		v.kind, v.bits = vecFloat, []uint64{val.bits}
	case Text:
		v.kind, v.dict, v.bits = vecText, []string{val.text}, []uint64{0}
	default:
		v.kind, v.vals = vecAny, []Value{val}
	}
	return v
}
