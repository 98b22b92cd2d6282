package schema

import (
	"hash/maphash"
	"math/bits"
	"slices"
)

// objectValue takes the object that opens at pos.
func (c *Checker) objectValue(n *node, pos int) int {
	if n.types&typeObject == 0 {
		return c.failAt(failType, n, pos)
	}
	if c.depth++; c.depth > MaxDepth {
		return c.syntax(failDepth, pos)
	}
	var end int
	if n.object == nil {
		end = c.skipObject(pos)
	} else {
		end = c.object(n, pos)
	}
	c.depth--
	if end < 0 || n.use == useNone {
		return end
	}
	s := scalar{kind: typeObject, text: c.p[pos:end]}
	return c.take(n, &s, pos, end)
}

// object goes through the members of an object. Names are guessed: the property
// that came next in the last payload is tried first, with its colon.
func (c *Checker) object(n *node, pos int) int {
	o, p := n.object, c.p
	start := pos
	wideBase, nameBase := len(c.wide), len(c.names)
	for range (len(o.props) - 1) >> 6 {
		c.wide = append(c.wide, 0)
	}
	var seen uint64
	last := 0 // index+1 of the property before
	pos++
	if pos < len(p) && p[pos] <= ' ' {
		pos = skipSpace(p, pos)
	}
	if pos < len(p) && p[pos] == '}' {
		return c.objectEnd(n, start, pos+1, 0, wideBase, nameBase)
	}
	for {
		closed := false
		if pos, last, seen, closed = c.members(o, pos, last, seen); closed {
			if seen&o.required == o.required && o.wide == nil && len(c.names) == nameBase {
				return pos + 1
			}
			return c.objectEnd(n, start, pos+1, seen, wideBase, nameBase)
		}
		if pos < 0 {
			return -1
		}
		if pos < len(p) && p[pos] <= ' ' {
			pos = skipSpace(p, pos)
		}
		keyAt := pos
		guess := int(o.follow[last].Load())
		if guess < len(o.props) && o.props[guess].at(p, pos) {
			pos += len(o.props[guess].key)
		} else if guess, pos = c.lookUp(n, last, pos); pos < 0 {
			return -1
		}
		if guess >= 0 {
			if guess < 64 {
				bit := uint64(1) << uint(guess)
				if seen&bit != 0 {
					return c.syntax(failDuplicate, keyAt)
				}
				seen |= bit
			} else if !c.markWide(wideBase, guess) {
				return c.syntax(failDuplicate, keyAt)
			}
			if pos < len(p) && p[pos] <= ' ' {
				pos = skipSpace(p, pos)
			}
			last = guess + 1
			k := &o.props[guess]
			switch v := k.node; {
			case !k.plain || pos >= len(p):
				pos = c.member(n, k, keyAt, pos)
			case p[pos] == '"':
				pos = c.str(v, pos)
			case p[pos] <= '9':
				pos = c.number(v, pos)
			default:
				pos = c.value(v, pos)
			}
			if pos < 0 {
				return -1
			}
		}
		if pos < len(p) && p[pos] <= ' ' {
			pos = skipSpace(p, pos)
		}
		if pos >= len(p) {
			return c.syntax(failEnd, pos)
		}
		if p[pos] == '}' {
			if seen&o.required == o.required && o.wide == nil && len(c.names) == nameBase {
				c.wide = c.wide[:wideBase]
				return pos + 1
			}
			return c.objectEnd(n, start, pos+1, seen, wideBase, nameBase)
		}
		if p[pos] != ',' {
			return c.syntax(failComma, pos)
		}
		if pos++; pos < len(p) && p[pos] <= ' ' {
			pos = skipSpace(p, pos)
		}
	}
}

// lookUp reads a name that was not guessed and returns its property and where
// its value begins. A name that the plan does not know is taken with its value:
// then the property is -1, and the position is after the value.
func (c *Checker) lookUp(n *node, last, pos int) (prop, next int) {
	keyAt := pos
	nameEnd, flags := c.name(pos)
	if nameEnd < 0 {
		return -1, -1
	}
	name := c.p[keyAt+1 : nameEnd-1]
	if flags&strEscape != 0 {
		name = c.text(name)
	}
	if pos = c.colon(nameEnd); pos < 0 {
		return -1, -1
	}
	i := n.object.find(name)
	if i < 0 {
		return -1, c.unknown(n, keyAt, nameEnd, pos, flags&strEscape != 0)
	}
	n.object.follow[last].Store(uint32(i))
	return i, pos
}

// member takes the value of a property that the plan knows.
func (c *Checker) member(n *node, k *prop, keyAt, pos int) int {
	o := n.object
	if !k.declared && o.refuse {
		return c.failAt(failUnknown, n, keyAt)
	}
	v := k.node
	if v == nil {
		end := c.value(nil, pos)
		if end >= 0 && k.rest && o.keep {
			c.rest = append(c.rest, k.restKey...)
			c.rest = append(c.rest, c.p[pos:end]...)
			c.rest = append(c.rest, ',')
		}
		return end
	}
	if v.object != nil && o.keep {
		return c.nested(k, pos)
	}
	return c.value(v, pos)
}

// objectEnd checks what can be checked only when all members were seen.
func (c *Checker) objectEnd(n *node, start, end int, seen uint64, wideBase, nameBase int) int {
	o := n.object
	if seen&o.required != o.required {
		return c.failMissing(n, start, bits.TrailingZeros64(o.required&^seen))
	}
	for _, i := range o.wide {
		if c.wide[wideBase+i>>6-1]&(1<<(uint(i)&63)) == 0 {
			return c.failMissing(n, start, i)
		}
	}
	c.wide = c.wide[:wideBase]
	if len(c.names) > nameBase {
		if at := c.duplicate(nameBase); at >= 0 {
			return c.syntax(failDuplicate, at)
		}
		c.names = c.names[:nameBase]
	}
	return end
}

// markWide notes a property beyond the 64th and reports whether it is the first
// of its name.
func (c *Checker) markWide(base, i int) bool {
	w := &c.wide[base+i>>6-1]
	bit := uint64(1) << (uint(i) & 63)
	if *w&bit != 0 {
		return false
	}
	*w |= bit
	return true
}

// nested takes an object that the schema describes, with what it does not name
// going to _rest under the object's own name.
func (c *Checker) nested(k *prop, pos int) int {
	mark := len(c.rest)
	c.rest = append(c.rest, k.restKey...)
	c.rest = append(c.rest, '{')
	inside := len(c.rest)
	start := pos
	pos = c.value(k.node, pos)
	if ch := c.p[min(start, len(c.p)-1)]; pos >= 0 && ch != '{' && ch != 'n' && k.node.use == useNone {
		// The schema allows something else in the object's place.
		c.rest = append(c.rest[:mark], k.restKey...)
		c.rest = append(c.rest, c.p[start:pos]...)
		c.rest = append(c.rest, ',')
		return pos
	}
	if len(c.rest) == inside {
		c.rest = c.rest[:mark]
	} else {
		c.rest[len(c.rest)-1] = '}' // in place of the last comma
		c.rest = append(c.rest, ',')
	}
	return pos
}

// unknown takes a member whose name the plan does not know.
func (c *Checker) unknown(n *node, nameAt, nameEnd, pos int, escaped bool) int {
	o := n.object
	if o.refuse || o.strict {
		return c.failAt(failUnknown, n, nameAt)
	}
	c.names = append(c.names, seenName{start: nameAt + 1, end: nameEnd - 1, escaped: escaped})
	end := c.skip(pos)
	if end >= 0 && o.keep {
		c.rest = append(c.rest, c.p[nameAt:nameEnd]...)
		c.rest = append(c.rest, ':')
		c.rest = append(c.rest, c.p[pos:end]...)
		c.rest = append(c.rest, ',')
	}
	return end
}

// duplicate returns where a name stands that is in c.names[base:] twice, or -1.
func (c *Checker) duplicate(base int) int {
	names := c.names[base:]
	if len(names) <= 8 {
		for i := 1; i < len(names); i++ {
			for j := range i {
				if c.sameName(&names[i], &names[j]) {
					return names[i].start - 1
				}
			}
		}
		return -1
	}
	for i := range names {
		names[i].hash = maphash.Bytes(c.seed, c.nameText(&names[i]))
	}
	slices.SortFunc(names, func(a, b seenName) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return a.start - b.start
	})
	for i := 1; i < len(names); i++ {
		for j := i - 1; j >= 0 && names[j].hash == names[i].hash; j-- {
			if c.sameName(&names[i], &names[j]) {
				return names[i].start - 1
			}
		}
	}
	return -1
}

func (c *Checker) nameText(n *seenName) []byte {
	raw := c.p[n.start:n.end]
	if n.escaped {
		return c.text(raw)
	}
	return raw
}

func (c *Checker) sameName(a, b *seenName) bool {
	if !a.escaped && !b.escaped && a.end-a.start != b.end-b.start {
		return false
	}
	return string(c.nameText(a)) == string(c.nameText(b))
}

// name scans the name at pos and returns where its string ends, -1 for a failure.
func (c *Checker) name(pos int) (int, uint) {
	if pos >= len(c.p) {
		return c.syntax(failEnd, pos), 0
	}
	if c.p[pos] != '"' {
		return c.syntax(failName, pos), 0
	}
	end, flags := scanString(c.p, pos+1)
	if flags&strBad != 0 {
		return c.syntax(failString, end), 0
	}
	return end + 1, flags
}

// colon passes the colon after a name and the space around it.
func (c *Checker) colon(pos int) int {
	p := c.p
	if pos = skipSpace(p, pos); pos >= len(p) {
		return c.syntax(failEnd, pos)
	}
	if p[pos] != ':' {
		return c.syntax(failColon, pos)
	}
	return skipSpace(p, pos+1)
}

// text is the text of a scanned string that has escapes.
func (c *Checker) text(raw []byte) []byte {
	start := len(c.arena)
	c.arena = appendUnescaped(c.arena, raw)
	return c.arena[start:len(c.arena):len(c.arena)]
}

// array takes the list that opens at pos.
func (c *Checker) array(n *node, pos int) int {
	if n.types&typeArray == 0 {
		return c.failAt(failType, n, pos)
	}
	if c.depth++; c.depth > MaxDepth {
		return c.syntax(failDepth, pos)
	}
	p := c.p
	start := pos
	count := 0
	pos = skipSpace(p, pos+1)
	if pos < len(p) && p[pos] == ']' {
		pos++
	} else {
		for {
			item := n.items
			if count < len(n.at) && n.at[count] != nil {
				item = n.at[count]
			}
			if n.rows {
				pos = c.row(item, pos)
			} else {
				pos = c.value(item, pos)
			}
			if pos < 0 {
				return -1
			}
			count++
			if pos = skipSpace(p, pos); pos >= len(p) {
				return c.syntax(failEnd, pos)
			}
			if p[pos] == ']' {
				pos++
				break
			}
			if p[pos] != ',' {
				return c.syntax(failComma, pos)
			}
			pos = skipSpace(p, pos+1)
		}
	}
	c.depth--
	if n.checks&checkItems != 0 {
		if count < n.minItems {
			return c.failAt(failFew, n, start)
		}
		if count > n.maxItems {
			return c.failAt(failMany, n, start)
		}
	}
	if n.use == useNone {
		return pos
	}
	s := scalar{kind: typeArray, text: p[start:pos]}
	return c.take(n, &s, start, pos)
}

// skip parses a value that nothing is known about.
func (c *Checker) skip(pos int) int {
	p := c.p
	if pos >= len(p) {
		return c.syntax(failEnd, pos)
	}
	switch p[pos] {
	case '"':
		end, flags := scanString(p, pos+1)
		if flags&strBad != 0 {
			return c.syntax(failString, end)
		}
		return end + 1
	case '{', '[':
		if c.depth++; c.depth > MaxDepth {
			return c.syntax(failDepth, pos)
		}
		if p[pos] == '{' {
			pos = c.skipObject(pos)
		} else {
			pos = c.skipArray(pos)
		}
		c.depth--
		return pos
	case 't', 'f', 'n':
		if end := wordEnd(p, pos); end >= 0 {
			return end
		}
		return c.badValue(pos, pos)
	}
	_, _, end, flags := scanNumber(p, pos)
	if flags&numBad != 0 {
		return c.badValue(pos, end)
	}
	return end
}

func (c *Checker) skipObject(pos int) int {
	p := c.p
	base := len(c.names)
	pos = skipSpace(p, pos+1)
	if pos < len(p) && p[pos] == '}' {
		return pos + 1
	}
	for {
		nameEnd, flags := c.name(pos)
		if nameEnd < 0 {
			return -1
		}
		c.names = append(c.names, seenName{start: pos + 1, end: nameEnd - 1, escaped: flags&strEscape != 0})
		if pos = c.colon(nameEnd); pos < 0 {
			return -1
		}
		if pos = c.skip(pos); pos < 0 {
			return -1
		}
		if pos = skipSpace(p, pos); pos >= len(p) {
			return c.syntax(failEnd, pos)
		}
		if p[pos] == '}' {
			break
		}
		if p[pos] != ',' {
			return c.syntax(failComma, pos)
		}
		pos = skipSpace(p, pos+1)
	}
	if at := c.duplicate(base); at >= 0 {
		return c.syntax(failDuplicate, at)
	}
	c.names = c.names[:base]
	return pos + 1
}

func (c *Checker) skipArray(pos int) int {
	p := c.p
	pos = skipSpace(p, pos+1)
	if pos < len(p) && p[pos] == ']' {
		return pos + 1
	}
	for {
		if pos = c.skip(pos); pos < 0 {
			return -1
		}
		if pos = skipSpace(p, pos); pos >= len(p) {
			return c.syntax(failEnd, pos)
		}
		if p[pos] == ']' {
			return pos + 1
		}
		if p[pos] != ',' {
			return c.syntax(failComma, pos)
		}
		pos = skipSpace(p, pos+1)
	}
}
