package chunk

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

var errForm = errors.New("a page form that does not fit the column's type")

// decodeInts fills dst from a page body of form 1 or 2. times is given for
// received times, whose page may be relative to them (form 7).
func decodeInts(dst []uint64, body []byte, times []int64) error {
	r := reader{b: body}
	if len(body) < 2 || body[0] != formLag {
		r.ints(dst)
		return r.end()
	}
	exp := int(body[1])
	if times == nil || exp > maxExponent {
		return errForm
	}
	rest, err := decodeStream(dst, body[2:], transform{kind: formScaled, mul: uint64(pow10[exp])})
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return errTrailing
	}
	for i := range dst {
		dst[i] += uint64(times[i])
	}
	return nil
}

// decodeColumn fills v, whose memory it reuses, from a page body of rows values.
func decodeColumn(v *telemetry.Vector, typ telemetry.ColumnType, body []byte, rows int) error {
	v.Reset(typ)
	r := reader{b: body}
	form := r.byte()
	if form&^(formMask|formNulls) != 0 {
		return errKind
	}
	if form&formNulls != 0 {
		var all bool
		v.Nulls, all = readNulls(&r, v.Nulls, rows)
		if all {
			return decodeAllNull(v, form&formMask, &r, rows)
		}
	}
	form &= formMask
	var err error
	values := rows
	for _, word := range v.Nulls {
		values -= bits.OnesCount64(word)
	}
	switch {
	case typ.Textual() && form == formDict:
		err = decodeDict(v, &r, values)
	case typ.Textual() && form == formPlain:
		err = decodePlain(v, &r, values)
	case typ.Textual() && form == formTemplate:
		err = decodeTemplate(v, &r, values)
	case typ == telemetry.Float && form == formSplit:
		err = decodeSplit(v, &r, values)
	case typ == telemetry.Float && form == formXOR:
		err = decodeXOR(v, &r, values)
	case !typ.Textual() && form == formDistinct:
		err = decodeDistinct(v, &r, values)
	case typ == telemetry.Float && (form == formDecimal || form == formShifted),
		!typ.Textual() && typ != telemetry.Float && (form == formInts || form == formScaled):
		err = decodeNumbers(v, form, &r, values)
	default:
		return errForm
	}
	if err != nil {
		return err
	}
	if values < rows {
		if typ.Textual() && v.Dict == nil {
			spreadEnds(v, values, rows)
		} else {
			spreadBits(v, values, rows)
		}
	}
	return r.end()
}

// spreadBits moves the values to their rows, from the last on, and puts zeros in
// place of the nulls.
func spreadBits(v *telemetry.Vector, values, rows int) {
	if cap(v.Bits) < rows {
		v.Bits = append(make([]uint64, 0, rows+rows/8), v.Bits...)
	}
	v.Bits = v.Bits[:rows]
	for i, from := rows-1, values-1; i >= 0; i-- {
		if v.Nulls.Get(i) {
			v.Bits[i] = 0
		} else {
			v.Bits[i] = v.Bits[from]
			from--
		}
	}
}

// spreadEnds does the same for plain texts: a null is empty.
func spreadEnds(v *telemetry.Vector, values, rows int) {
	if cap(v.Ends) < rows {
		v.Ends = append(make([]uint32, 0, rows+rows/8), v.Ends...)
	}
	v.Ends = v.Ends[:rows]
	for i, from := rows-1, values-1; i >= 0; i-- {
		if from >= 0 {
			v.Ends[i] = v.Ends[from]
		} else {
			v.Ends[i] = 0
		}
		if !v.Nulls.Get(i) {
			from--
		}
	}
}

func decodeAllNull(v *telemetry.Vector, form byte, r *reader, rows int) error {
	if v.Type.Textual() {
		if form != formPlain {
			return errForm
		}
		v.Ends = grow(v.Ends, rows)
		clear(v.Ends)
		return r.end()
	}
	if form != formInts {
		return errForm
	}
	v.Bits = grow(v.Bits, rows)
	clear(v.Bits)
	return r.end()
}

func decodeNumbers(v *telemetry.Vector, form byte, r *reader, rows int) error {
	t := transform{kind: form}
	exceptions := 0
	var except reader
	switch form {
	case formScaled:
		exp := int(r.byte())
		if exp == 0 || exp > maxExponent {
			return errRange
		}
		t.mul = uint64(pow10[exp])
	case formShifted:
		t.shift = r.byte()
		if t.shift > 63 {
			return errRange
		}
	case formDecimal:
		exp := int(r.byte())
		if exp > maxExponent {
			return errRange
		}
		t.div = pow10[exp]
		exceptions = r.size(rows)
		except = *r
		at := 0
		for range exceptions {
			at += r.size(rows) + 1
			r.bytes(8)
			if r.err != nil || at > rows {
				return errRange
			}
		}
	}
	if r.err != nil {
		return r.err
	}
	v.Bits = grow(v.Bits, rows)
	rest, err := decodeStream(v.Bits, r.b, t)
	if err != nil {
		return err
	}
	r.b = rest
	at := 0
	for range exceptions {
		at += except.size(rows)
		v.Bits[at] = except.uint64()
		at++
	}
	return nil
}

func decodeDict(v *telemetry.Vector, r *reader, rows int) error {
	entries := r.size(min(rows, len(r.b)))
	from := r.b
	for range entries {
		n := r.size(len(r.b))
		r.bytes(n)
	}
	if r.err != nil {
		return r.err
	}
	// One string holds all texts, so that a dictionary is two allocations.
	all := string(from[:len(from)-len(r.b)])
	dict := make([]string, entries)
	at := 0
	for i := range dict {
		n, w := binary.Uvarint(from[at:])
		at += w
		dict[i] = all[at : at+int(n)]
		at += int(n)
	}
	v.Dict = dict
	v.Bits = grow(v.Bits, rows)
	rest, err := decodeStream(v.Bits, r.b, transform{kind: formInts})
	if err != nil {
		return err
	}
	r.b = rest
	var worst uint64
	for _, c := range v.Bits {
		worst = max(worst, c)
	}
	if rows > 0 && worst >= uint64(entries) {
		return errRange
	}
	return nil
}

func decodePlain(v *telemetry.Vector, r *reader, rows int) error {
	v.Bits = grow(v.Bits, rows) // holds the lengths while the ends are summed
	lengths := v.Bits
	r.stream(lengths)
	total := r.size(len(r.b))
	text := r.bytes(total)
	v.Bits = v.Bits[:0]
	if r.err != nil {
		return r.err
	}
	v.Ends = grow(v.Ends, rows)
	at := uint64(0)
	for i, n := range lengths {
		if n > uint64(total) {
			return errRange
		}
		at += n
		if at > uint64(total) || at > math.MaxUint32 {
			return errRange
		}
		v.Ends[i] = uint32(at)
	}
	if at != uint64(total) {
		return errRange
	}
	v.Bytes = append(v.Bytes[:0], text...)
	return nil
}
