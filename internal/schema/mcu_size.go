package schema

import (
	"fmt"
	"slices"
)

// bodyMax is the longest body that the plan makes; a body longer than a record
// is an error.
func (e *mcuEncoder) bodyMax(captures int) int {
	p, t := e.plan, e.plan.table
	n := 1 + (p.payloadTags+len(t.Columns)+7)/8
	if p.timeAs != timeNone {
		n += 10
	}
	if captures > 0 {
		least := len(p.pattern.levels) - 1
		for _, l := range p.pattern.levels {
			if l.kind == levelText {
				least += len(l.text)
			}
		}
		n += 3 + (DeviceTopic - least) + captures - 1
	}
	for i := range p.payloadTags {
		n += 2 + e.textMax(toTag, int32(i))
	}
	for i := range t.Columns {
		switch form, _ := e.form(i); form {
		case formDecimal:
			n += 15
		case formInteger:
			n += 10
		case formText:
			n += 2 + e.textMax(toColumn, int32(i))
		default:
			n++
		}
	}
	if n > DeviceRecord && e.err == nil {
		e.err = fmt.Errorf("a record may need %d bytes; a device has %d (enum or maxLength bounds a text, and a tag that is no number)", n, DeviceRecord)
	}
	return n
}

// textMax is the longest text of a tag or column in bytes.
func (e *mcuEncoder) textMax(kind useTarget, slot int32) int {
	longest := DeviceText
	var find func(n *node)
	find = func(n *node) {
		if n == nil {
			return
		}
		if kind == toColumn && n.use == useColumn && n.slot == slot ||
			slices.ContainsFunc(n.uses, func(u use) bool { return u.kind == kind && u.slot == slot }) {
			longest = min(longest, n.textMax())
		}
		if n.object != nil {
			for i := range n.object.props {
				find(n.object.props[i].node)
			}
		}
		find(n.items)
		for _, element := range n.at {
			find(element)
		}
	}
	find(e.plan.root)
	return longest
}

// textMax is the longest text that a node lets through, in bytes.
func (n *node) textMax() int {
	switch {
	case n.checks&checkEnum != 0 && n.types&typeNumber == 0:
		longest := len("false")
		for i := range n.enum {
			longest = max(longest, len(n.enum[i].text))
		}
		return longest
	case n.types&(typeNumber|typeString) == 0:
		return len("false")
	case n.types&typeNumber == 0 && n.checks&checkLength != 0:
		return min(DeviceText, max(len("false"), 4*n.maxLen))
	}
	return DeviceText
}
