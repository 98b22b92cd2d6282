package schema

import (
	"math"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// scalar is a parsed value on its way to the places that take it.
type scalar struct {
	kind  typeMask
	mant  uint64 // of numbers
	exp   int
	flags uint
	text  []byte // the text of a string, the bytes of anything else
	raw   []byte // the bytes of a string with its quotes
}

// bytes is the value as it stands in the payload.
func (s *scalar) bytes() []byte {
	if s.raw != nil {
		return s.raw
	}
	return s.text
}

// take hands a value to everything that wants it.
func (c *Checker) take(n *node, s *scalar, pos, end int) int {
	switch n.use {
	case useNone:
	case useColumn:
		c.setColumn(n, n.slot, n.colType, s, pos)
	case useTime:
		c.deferAt(failTime, n, pos) // numbers went another way
	default:
		for i := range n.uses {
			if !c.takeOne(n, &n.uses[i], s, pos) {
				return -1
			}
		}
	}
	return end
}

func (c *Checker) takeOne(n *node, u *use, s *scalar, pos int) bool {
	switch u.kind {
	case toColumn:
		if u.mapped != nil {
			return c.setMapped(n, u, s, pos)
		}
		c.setColumn(n, u.slot, u.colType, s, pos)
	case toTag:
		c.tags[u.slot] = TagValue{Text: s.text}
		if c.plan.device && len(s.text) > DeviceText {
			c.deferAt(failText, n, pos)
		}
	case toTime:
		if t, ok := c.plan.readTime(s); ok && !(c.plan.device && s.kind == typeString && len(s.text) > DeviceText) {
			c.time, c.timed = t, true
		} else {
			c.deferAt(failTime, n, pos)
		}
	case toWhen:
		if !u.when.equal(s) {
			c.failAt(failWhen, n, pos)
			return false
		}
		c.whens++
	}
	return true
}

// takeNull passes a null, or one of null_values: columns and tags stay null.
func (c *Checker) takeNull(n *node, pos, end int) int {
	switch n.use {
	case useTime:
		c.deferAt(failTime, n, pos)
	case useMany:
		for i := range n.uses {
			switch u := &n.uses[i]; u.kind {
			case toTime:
				c.deferAt(failTime, n, pos)
			case toWhen:
				if u.when.kind != typeNull || c.p[pos] != 'n' {
					return c.failAt(failWhen, n, pos)
				}
				c.whens++
			}
		}
	}
	return end
}

// setColumn stores a value as its column's type, or notes that it cannot.
func (c *Checker) setColumn(n *node, slot int32, t telemetry.ColumnType, s *scalar, pos int) {
	var v telemetry.Value
	switch {
	case t == telemetry.JSON:
		v.Text = s.bytes()
	case s.kind == typeNumber:
		bits, ok := scalarBits(t, s.mant, s.exp, s.flags, s.text)
		switch {
		case ok:
			v.Bits = bits
		case t == telemetry.Float:
			c.deferAt(failOverflow, n, pos)
			return
		case t == telemetry.Int && isInteger(s.mant, s.exp, s.flags, s.text):
			c.deferAt(failIntRange, n, pos)
			return
		default:
			c.deferAt(failColumn, n, pos)
			return
		}
	case t == telemetry.Bool && s.kind == typeBool:
		v.Bits = uint64(b2i(s.text[0] == 't'))
	case t == telemetry.String && s.kind == typeString:
		v.Text = s.text
	default:
		c.deferAt(failColumn, n, pos)
		return
	}
	c.values[slot] = v
	c.filled |= 1 << (uint(slot) & 63)
}

// scalarBits is a number as a column of the type holds it; ok is false where it
// cannot.
func scalarBits(t telemetry.ColumnType, mant uint64, exp int, flags uint, lit []byte) (v uint64, ok bool) {
	switch t {
	case telemetry.Float:
		f := toFloat(mant, exp, flags, lit)
		return math.Float64bits(f), !math.IsInf(f, 0)
	case telemetry.Int:
		if !isInteger(mant, exp, flags, lit) {
			return 0, false
		}
		i, ok := toInt(mant, exp, flags)
		return uint64(i), ok
	}
	return 0, false
}

// setMapped stores what a column's map says for the value.
func (c *Checker) setMapped(n *node, u *use, s *scalar, pos int) bool {
	for i := range u.mapped {
		if m := &u.mapped[i]; m.from.equal(s) {
			if !m.null {
				c.values[u.slot] = telemetry.Value{Bits: m.bits, Text: m.text}
				c.filled |= 1 << (uint(u.slot) & 63)
			}
			return true
		}
	}
	c.failAt(failMap, n, pos)
	return false
}

// equal reports whether the value is the constant, numbers by their exact value.
func (k *constant) equal(s *scalar) bool {
	if k.kind != s.kind {
		return false
	}
	switch k.kind {
	case typeNumber:
		return k.num.compare(s.text) == 0
	case typeString, typeBool:
		return string(s.text) == k.text
	}
	return k.kind == typeNull
}

// matchText reports whether the text is one of the constants.
func matchText(set []constant, text []byte) bool {
	if len(text) <= 8 {
		var w uint64
		for i, b := range text {
			w |= uint64(b) << (8 * uint(i))
		}
		for i := range set {
			if k := &set[i]; k.short == w && k.kind == typeString && len(k.text) == len(text) {
				return true
			}
		}
		return false
	}
	for i := range set {
		if k := &set[i]; k.kind == typeString && string(text) == k.text {
			return true
		}
	}
	return false
}

func matchNumber(set []constant, lit []byte, mant uint64, exp int, flags uint) bool {
	f := toFloat(mant, exp, flags, lit)
	for i := range set {
		if k := &set[i]; k.kind == typeNumber && k.float == f && k.num.compare(lit) == 0 {
			return true
		}
	}
	return false
}

func matchWord(set []constant, s *scalar) bool {
	for i := range set {
		if set[i].equal(s) {
			return true
		}
	}
	return false
}

// bareValue takes a payload of format value.
func (c *Checker) bareValue(n *node) bool {
	p := c.p
	pos := skipSpace(p, 0)
	last := len(p)
	for last > pos && isSpace(p[last-1]) {
		last--
	}
	if n.checks&checkNulls != 0 && last > pos && matchText(n.nulls, p[pos:last]) {
		return c.takeNull(n, pos, last) >= 0
	}
	if c.plan.device && !c.numberWithin(pos) {
		return false
	}
	end := c.value(n, pos)
	if end < 0 {
		return false
	}
	if end != last {
		c.syntax(failTrailing, end)
		return false
	}
	return true
}

// bareText takes a payload of format text.
func (c *Checker) bareText(n *node) bool {
	p := c.p
	for i := 0; i < len(p); {
		if p[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && size <= 1 {
			c.syntax(failString, i)
			return false
		}
		i += size
	}
	if n.checks&checkNulls != 0 && matchText(n.nulls, p) {
		return c.takeNull(n, 0, 0) >= 0
	}
	if n.types&typeString == 0 {
		c.failAt(failType, n, 0)
		return false
	}
	if n.checks&checkStrings != 0 && !c.textChecks(n, p, strWide, 0) {
		return false
	}
	s := scalar{kind: typeString, text: p}
	return c.take(n, &s, 0, 0) >= 0
}
