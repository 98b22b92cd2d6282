package schema

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// quick is a property whose usual values are taken without a call: a number or a
// string that goes to a column, or the time. It repeats what prop and node say, for
// the values that need nothing else.
type quick struct {
	head, mask, tail uint64 // of the key, as in prop
	low, high        float64
	words            []word // the strings of an enum
	slot             int32
	size             uint8 // of the key
	tailAt           uint8 // where its last eight bytes begin
	kind             quickKind
}

type quickKind uint8

const (
	quickNone quickKind = iota
	quickFloat
	quickInt
	quickTime
	quickText // of any text
	quickEnum
)

// word is a string of an enum as it stands in a payload, from after its opening
// quote with its closing one.
type word struct {
	mask, bits uint64
	size       int
}

// timeUnits are the units of time: what one is in nanoseconds, and the first count
// of them that is out of range; nothing is within the range of other formats.
var timeUnits = func() (units [timeLocal + 1]struct{ scale, limit int64 }) {
	for as := timeUnixS; as <= timeUnixNS; as++ {
		scale := int64(pow10u[timeScale[as]])
		units[as].scale, units[as].limit = scale, maxTime/scale
	}
	return units
}()

// newQuick returns the short way to a property's values, of quickNone where there
// is none.
func newQuick(k *prop) quick {
	q := quick{head: k.head, mask: k.mask, tail: k.tail, size: uint8(len(k.key))}
	n := k.node
	if !k.plain || len(k.key) == 0 || len(k.key) > 16 {
		return q
	}
	if q.tailAt = q.size - 8; q.size <= 8 {
		q.tailAt, q.tail = 0, k.head // the same again is cheaper than to ask
	}
	q.slot, q.low, q.high = n.slot, n.low, n.high
	switch {
	case n.floats:
		q.kind = quickFloat
	case n.ints:
		q.kind = quickInt
	case n.use == useTime && n.types&typeInteger != 0 && n.checks&checkNumbers == 0:
		q.kind = quickTime
	case n.use != useColumn || n.colType != telemetry.String || n.types&typeString == 0:
	case n.checks&checkStrings == 0:
		q.kind = quickText
	case n.checks&checkStrings == checkEnum:
		q.kind = quickEnum
		for i := range n.enum {
			if w, ok := newWord(&n.enum[i]); ok && len(q.words) < maxQuickWords {
				q.words = append(q.words, w)
			}
		}
	}
	return q
}

// maxQuickWords is how many strings of an enum are compared one by one.
const maxQuickWords = 8

// newWord returns the word of a string that has no escapes and fits with its quote
// in eight bytes.
func newWord(k *constant) (word, bool) {
	if k.kind != typeString || len(k.text) > 7 {
		return word{}, false
	}
	quoted := string(appendQuoted(nil, k.text))
	if quoted != `"`+k.text+`"` {
		return word{}, false
	}
	var b [8]byte
	copy(b[:], quoted[1:])
	return word{mask: 1<<(8*uint(len(k.text)+1)-1)<<1 - 1, bits: binary.LittleEndian.Uint64(b[:]), size: len(k.text)}, true
}

// eight returns the eight bytes at pos, which is not negative, with zeros beyond the
// end of p, which has at least eight bytes. It is half of what a member costs, and
// so it does without the arithmetic of slicing p.
func eight(p []byte, pos int) uint64 {
	last := len(p) - 8
	base := unsafe.Pointer(unsafe.SliceData(p))
	if pos <= last {
		return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(base, pos))[:])
	}
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(base, last))[:]) >> (uint(pos-last) * 8)
}

// members takes members as long as they come in the order of the last payload,
// with values that are usual for their property. It returns where the first begins
// that is not of that kind, as if it had not been tried; or, as closed, where the
// object ends. A position of -1 is a failure. last and seen are as in object.
func (c *Checker) members(o *object, pos, last int, seen uint64) (int, int, uint64, bool) {
	p, values, filled := c.p, c.values, uint64(0)
	if len(p) < 8 {
		return pos, last, seen, false
	}
	closed := false
	for {
		guess := uint(o.follow[last].Load())
		if guess >= uint(len(o.quick)) {
			break
		}
		q := &o.quick[guess]
		bit := uint64(1) << (guess & 63)
		if q.kind == quickNone || seen&bit != 0 {
			break
		}
		if head := eight(p, pos); head&q.mask != q.head {
			break
		}
		if tail := eight(p, pos+int(q.tailAt)); tail&q.mask != q.tail {
			break
		}
		at := pos + int(q.size)
		w := eight(p, at)
		if byte(w) == ' ' {
			at++
			w = eight(p, at)
		}
		var end int
		if q.kind < quickText {
			var mant, neg uint64
			frac := uint(0) // digits after the point, times eight
			if byte(w) == '-' {
				neg = 1
				at++
				w = eight(p, at)
			}
			t := w ^ swarZeros
			stops := ((t + swarDigit) | t) & swarHigh
			n := uint(bits.TrailingZeros64(stops)) & 0x38 // digits before the point, times eight
			switch {
			case stops == 0: // eight digits, and up to seven
				t2 := eight(p, at+8) ^ swarZeros
				stops2 := ((t2 + swarDigit) | t2) & swarHigh
				if stops2 == 0 || byte(w) == '0' {
					break
				}
				mant, end = eightDigits(t), at+8
				if n := uint(bits.TrailingZeros64(stops2)) & 0x38; n != 0 {
					mant = mant*pow10u[n>>3&15] + eightDigits(t2<<(64-n))
					end += int(n >> 3)
				}
			case n == 0 || n > 8 && byte(w) == '0':
				goto out
			case byte(w>>n) != '.':
				mant, end = eightDigits(t<<(64-n)), at+int(n>>3)
			default:
				low := uint64(1)<<n - 1
				d := t&low | t>>8&^low // the point's gap is closed
				if stops &= stops - 1; stops != 0 {
					e := uint(bits.TrailingZeros64(stops)) & 0x38
					frac = e - n - 8
					mant, end = eightDigits(d<<((72-e)&63)), at+int(e>>3)
				} else {
					t2 := eight(p, at+8) ^ swarZeros
					stops2 := ((t2 + swarDigit) | t2) & swarHigh
					if stops2 == 0 {
						break
					}
					mant, end, frac = eightDigits(d<<8), at+8, 56-n
					if e := uint(bits.TrailingZeros64(stops2)) & 0x38; e != 0 {
						mant = mant*pow10u[e>>3&15] + eightDigits(t2<<(64-e))
						end += int(e >> 3)
						frac += e
					}
				}
				if frac == 0 {
					goto out
				}
			}
			if end == 0 { // more digits, or a leading zero
				if end = c.number(o.props[guess].node, at-int(neg)); end < 0 {
					return -1, 0, 0, false
				}
				if end >= len(p) || p[end] != ',' && p[end] != '}' {
					break
				}
				goto taken
			}
			if uint(end) >= uint(len(p)) {
				break
			}
			if after := p[end]; after != ',' && after != '}' {
				break // an exponent, a space
			}
			// Fewer than 16 digits: float64 holds the mantissa exactly.
			switch q.kind {
			case quickFloat:
				f := float64(int64(mant)) / pow10f[frac>>3&15]
				if neg != 0 {
					f = -f
				}
				if !(f > q.low && f < q.high) {
					goto out
				}
				v := &values[q.slot]
				v.Null, v.Bits = false, math.Float64bits(f)
				filled |= 1 << (uint(q.slot) & 63)
			case quickInt:
				i := int64(mant ^ -neg + neg)
				if f := float64(i); frac != 0 || !(f > q.low && f < q.high) {
					goto out
				}
				v := &values[q.slot]
				v.Null, v.Bits = false, uint64(i)
				filled |= 1 << (uint(q.slot) & 63)
			default:
				u := &timeUnits[c.plan.timeAs]
				if frac|uint(neg) != 0 || int64(mant) >= u.limit {
					goto out
				}
				c.time, c.timed = int64(mant)*u.scale, true
			}
		} else {
			if byte(w) != '"' {
				break
			}
			at++
			w = eight(p, at)
			if q.kind == quickEnum {
				end = -1
				for i := range q.words {
					if k := &q.words[i]; w&k.mask == k.bits {
						end = at + k.size
						break
					}
				}
				if end < 0 {
					break
				}
			} else {
				var flags uint
				if end, flags = scanString(p, at); flags != 0 {
					break
				}
			}
			if uint(end)+1 >= uint(len(p)) || p[end+1] != ',' && p[end+1] != '}' {
				break
			}
			v := &values[q.slot]
			v.Null, v.Text = false, p[at:end]
			filled |= 1 << (uint(q.slot) & 63)
			end++
		}
	taken:
		seen |= bit
		last = int(guess) + 1
		pos = end
		if p[end] == '}' {
			closed = true
			break
		}
		if pos++; pos < len(p) && p[pos] == ' ' {
			pos++
		}
	}
out:
	c.filled |= filled
	return pos, last, seen, closed
}
