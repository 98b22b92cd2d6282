package schema

import (
	"math"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// value parses, checks and takes the value at pos, and returns where it ends;
// -1 is a failure.
func (c *Checker) value(n *node, pos int) int {
	if uint(pos) >= uint(len(c.p)) {
		return c.syntax(failEnd, len(c.p))
	}
	if n == nil {
		return c.skip(pos)
	}
	switch ch := c.p[pos]; ch {
	case '{':
		return c.objectValue(n, pos)
	case '"':
		return c.str(n, pos)
	case '[':
		return c.array(n, pos)
	case 't', 'f', 'n':
		return c.word(n, pos)
	default:
		return c.number(n, pos)
	}
}

// number takes the number at pos.
func (c *Checker) number(n *node, pos int) int {
	p := c.p
	mant, exp, end, flags := scanNumber(p, pos)
	if flags&numBad != 0 {
		return c.badValue(pos, end)
	}
	if n.floats {
		// What most values are: a float column, with or without bounds.
		var f float64
		if mant < 1<<53 && exp <= 0 && exp >= -22 && flags&numTrunc == 0 {
			if f = float64(int64(mant)); exp != 0 {
				f /= pow10f[-exp]
			}
			if flags != 0 {
				f = -f
			}
		} else {
			f = toFloat(mant, exp, flags, p[pos:end])
		}
		if !(f > n.low && f < n.high) {
			if !n.inBounds(f, mant, flags, p[pos:end]) {
				return c.failBounds(n, pos)
			}
			if math.IsInf(f, 0) {
				c.deferAt(failOverflow, n, pos)
				return end
			}
		}
		v := &c.values[n.slot]
		v.Null = false
		v.Bits = math.Float64bits(f)
		c.filled |= 1 << (uint(n.slot) & 63)
		return end
	}
	if n.ints && exp == 0 && flags&numTrunc == 0 && mant < 1<<53 {
		// An int column: within 2^53 the bounds compare as floats do.
		i := int64(mant)
		if flags != 0 {
			i = -i
		}
		if f := float64(i); !(f > n.low && f < n.high) && !n.inBounds(f, mant, flags, p[pos:end]) {
			return c.failBounds(n, pos)
		}
		v := &c.values[n.slot]
		v.Null = false
		v.Bits = uint64(i)
		c.filled |= 1 << (uint(n.slot) & 63)
		return end
	}
	if n.types&typeNumber != typeNumber && n.checks&checkNullNumbers == 0 && !n.takesNumber(mant, exp, flags, p[pos:end]) {
		return c.failAt(failType, n, pos)
	}
	if n.checks&checkNumbers != 0 {
		if n.checks&checkNullNumbers != 0 {
			if matchNumber(n.nulls, p[pos:end], mant, exp, flags) {
				return c.takeNull(n, pos, end)
			}
			if !n.takesNumber(mant, exp, flags, p[pos:end]) {
				return c.failAt(failType, n, pos)
			}
		}
		if !c.numberChecks(n, mant, exp, flags, pos, end) {
			return -1
		}
	}
	switch n.use {
	case useNone:
		return end
	case useTime:
		if t, ok := numericTime(c.plan.timeAs, mant, exp, flags); ok {
			c.time, c.timed = t, true
		} else {
			c.deferAt(failTime, n, pos)
		}
		return end
	}
	s := scalar{kind: typeNumber, mant: mant, exp: exp, flags: flags, text: p[pos:end]}
	return c.take(n, &s, pos, end)
}

// takesNumber reports whether the node's types take the number.
func (n *node) takesNumber(mant uint64, exp int, flags uint, lit []byte) bool {
	switch n.types & typeNumber {
	case typeNumber:
		return true
	case typeInteger:
		return exp >= 0 && flags&numTrunc == 0 || isInteger(mant, exp, flags, lit)
	}
	return false
}

// inBounds compares first as floats, which rounding keeps in order, and as exact
// decimals only where the floats are equal.
func (n *node) inBounds(f float64, mant uint64, flags uint, lit []byte) bool {
	if n.checks&checkMin != 0 && f <= n.min.float {
		if f < n.min.float || n.min.order(mant, flags, lit) < b2i(n.min.exclusive) {
			return false
		}
	}
	if n.checks&checkMax != 0 && f >= n.max.float {
		if f > n.max.float || n.max.order(mant, flags, lit) > -b2i(n.max.exclusive) {
			return false
		}
	}
	return true
}

// order compares a literal with a bound whose float64 is the same.
func (b *bound) order(mant uint64, flags uint, lit []byte) int {
	if b.short && mant < 1e15 && flags&numTrunc == 0 {
		return 0
	}
	return b.exact.compare(lit)
}

// numberChecks runs every keyword about numbers.
func (c *Checker) numberChecks(n *node, mant uint64, exp int, flags uint, pos, end int) bool {
	lit := c.p[pos:end]
	if n.checks&(checkMin|checkMax) != 0 && !n.inBounds(toFloat(mant, exp, flags, lit), mant, flags, lit) {
		c.failBounds(n, pos)
		return false
	}
	if n.checks&checkMultiple != 0 && !n.multiple.divides(mant, exp, flags, lit) {
		c.failAt(failMultiple, n, pos)
		return false
	}
	if n.checks&checkEnum != 0 && !matchNumber(n.enum, lit, mant, exp, flags) {
		c.failAt(failEnum, n, pos)
		return false
	}
	return true
}

// str takes the string whose opening quote is at pos.
func (c *Checker) str(n *node, pos int) int {
	p := c.p
	end, flags := scanString(p, pos+1)
	if flags&strBad != 0 {
		return c.syntax(failString, end)
	}
	text := p[pos+1 : end]
	if flags&strEscape != 0 {
		text = c.text(text)
	}
	if n.checks&checkNulls != 0 && matchText(n.nulls, text) {
		return c.takeNull(n, pos, end+1)
	}
	if n.types&typeString == 0 {
		return c.failAt(failType, n, pos)
	}
	if n.checks&checkStrings != 0 && !c.textChecks(n, text, flags, pos) {
		return -1
	}
	if n.use == useColumn && n.colType == telemetry.String {
		v := &c.values[n.slot]
		v.Null = false
		v.Text = text
		c.filled |= 1 << (uint(n.slot) & 63)
		return end + 1
	}
	if n.use == useNone {
		return end + 1
	}
	s := scalar{kind: typeString, text: text, raw: p[pos : end+1]}
	return c.take(n, &s, pos, end+1)
}

// textChecks runs every keyword about strings.
func (c *Checker) textChecks(n *node, text []byte, flags uint, pos int) bool {
	if n.checks&checkEnum != 0 {
		_, ok := n.texts[string(text)]
		if !ok && (n.texts != nil || !matchText(n.enum, text)) {
			c.failAt(failEnum, n, pos)
			return false
		}
	}
	if n.checks&checkLength != 0 {
		count := len(text)
		if flags&(strWide|strEscape) != 0 {
			count = utf8.RuneCount(text)
		}
		if count < n.minLen {
			c.failAt(failShort, n, pos)
			return false
		}
		if count > n.maxLen {
			c.failAt(failLong, n, pos)
			return false
		}
	}
	if n.checks&checkPattern != 0 && !n.pattern.Match(text) {
		c.failAt(failPattern, n, pos)
		return false
	}
	if n.checks&checkText != 0 && len(text) > DeviceText {
		c.deferAt(failText, n, pos)
	}
	return true
}

// word takes true, false or null.
func (c *Checker) word(n *node, pos int) int {
	p := c.p
	var kind typeMask
	end := wordEnd(p, pos)
	switch {
	case end < 0:
		return c.badValue(pos, pos)
	case p[pos] == 'n':
		kind = typeNull
	default:
		kind = typeBool
	}
	s := scalar{kind: kind, text: p[pos:end]}
	if n.checks&checkNulls != 0 && matchWord(n.nulls, &s) {
		return c.takeNull(n, pos, end)
	}
	if n.types&kind == 0 {
		return c.failAt(failType, n, pos)
	}
	if n.checks&checkEnum != 0 && !matchWord(n.enum, &s) {
		return c.failAt(failEnum, n, pos)
	}
	if n.use == useNone {
		return end
	}
	if kind == typeNull {
		return c.takeNull(n, pos, end)
	}
	return c.take(n, &s, pos, end)
}

// wordEnd returns where the true, false or null at pos ends, or -1.
func wordEnd(p []byte, pos int) int {
	switch rest := p[pos:]; {
	case len(rest) >= 4 && string(rest[:4]) == "true", len(rest) >= 4 && string(rest[:4]) == "null":
		return pos + 4
	case len(rest) >= 5 && string(rest[:5]) == "false":
		return pos + 5
	}
	return -1
}
