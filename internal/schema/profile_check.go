package schema

import "github.com/weir-telemetry/weir/internal/telemetry"

// withinProfile reads a payload as a device does: strict JSON within the limits
// of the profile. The first error in the order of the bytes is the verdict, a
// name that stands twice being one where its second ends. So a device, which
// sees the bytes once, finds the same.
func (c *Checker) withinProfile(p *Plan, payload []byte) bool {
	if p.format != formatJSON {
		return true
	}
	c.plan, c.p = p, payload
	c.names, c.arena = c.names[:0], c.arena[:0]
	ok := c.profileWalk()
	c.names, c.arena = c.names[:0], c.arena[:0]
	return ok
}

// profileLevel is a list or object that is open.
type profileLevel struct {
	object bool
	names  int // of the objects around it
}

func (c *Checker) profileWalk() bool {
	var levels [DeviceDepth]profileLevel
	p, depth := c.p, 0
	pos := skipSpace(p, 0)
	for {
		// A value begins here, unless a list or object ends at once.
		opened := false
		if pos >= len(p) {
			return c.syntax(failEnd, len(p)) >= 0
		}
		switch ch := p[pos]; ch {
		case '{', '[':
			if depth == DeviceDepth {
				return c.syntax(failDepth, pos) >= 0
			}
			levels[depth] = profileLevel{object: ch == '{', names: len(c.names)}
			depth++
			pos = skipSpace(p, pos+1)
			opened = pos >= len(p) || p[pos] != ch+2 // '}' and ']' stand two above their openings
		case '"':
			end, flags := scanString(p, pos+1)
			if flags&strBad != 0 {
				return c.syntax(failString, end) >= 0
			}
			pos = end + 1
		case 't', 'f', 'n':
			end := wordEnd(p, pos)
			if end < 0 {
				return c.badValue(pos, pos) >= 0
			}
			pos = end
		default:
			if !c.numberWithin(pos) {
				return false
			}
			_, _, end, flags := scanNumber(p, pos)
			if flags&numBad != 0 {
				return c.badValue(pos, end) >= 0
			}
			pos = end
		}
		// What ended may be the last of its list or object.
		for !opened {
			pos = skipSpace(p, pos)
			if depth == 0 {
				if pos < len(p) {
					return c.syntax(failTrailing, pos) >= 0
				}
				return true
			}
			if pos >= len(p) {
				return c.syntax(failEnd, len(p)) >= 0
			}
			l := &levels[depth-1]
			switch {
			case p[pos] == ',':
				pos = skipSpace(p, pos+1)
				opened = true
			case l.object && p[pos] == '}' || !l.object && p[pos] == ']':
				c.names = c.names[:l.names]
				depth--
				pos++
			default:
				return c.syntax(failComma, pos) >= 0
			}
		}
		if l := &levels[depth-1]; l.object {
			if pos = c.profileName(pos, l.names); pos < 0 {
				return false
			}
		}
	}
}

// profileName reads a name and its colon; base is where its object's names begin.
func (c *Checker) profileName(pos, base int) int {
	p := c.p
	switch {
	case pos >= len(p):
		return c.syntax(failEnd, len(p))
	case p[pos] != '"':
		return c.syntax(failName, pos)
	case len(c.names) >= DeviceNames:
		return c.syntax(failNames, pos)
	}
	end, flags := scanString(p, pos+1)
	name := seenName{start: pos + 1, end: end, escaped: flags&strEscape != 0}
	mark := len(c.arena)
	length := len(c.nameText(&name))
	c.arena = c.arena[:mark]
	if length > DeviceName {
		return c.syntax(failNameLong, pos)
	}
	if flags&strBad != 0 {
		return c.syntax(failString, end)
	}
	for i := base; i < len(c.names); i++ {
		same := c.sameName(&name, &c.names[i])
		c.arena = c.arena[:mark]
		if same {
			return c.syntax(failDuplicate, pos)
		}
	}
	c.names = append(c.names, name)
	return c.colon(end + 1)
}

// numberWithin refuses a number of too many digits. One that begins with a
// needless zero is no number, whatever comes after it.
func (c *Checker) numberWithin(pos int) bool {
	p := c.p
	if pos >= len(p) || p[pos] != '-' && !isDigit(p[pos]) {
		return true
	}
	_, _, end, flags := scanNumber(p, pos)
	first := pos + b2i(p[pos] == '-')
	leading := flags&numBad != 0 && end == first+1 && end < len(p) && isDigit(p[end])
	if flags&numTrunc != 0 && !leading {
		return c.syntax(failDigits, pos) >= 0
	}
	return true
}

// depthLimit is how deep the plan lets payloads be nested.
func (f *Failure) depthLimit() int {
	if f.Plan != nil && f.Plan.device {
		return DeviceDepth
	}
	return MaxDepth
}

// failureCodes are the numbers of docs/format/plan.md.
var failureCodes = [...]int{
	failEnd: 1, failTrailing: 2, failValue: 3, failString: 4, failName: 5, failColon: 6, failComma: 7, failDepth: 8,
	failDuplicate: 9, failNames: 10, failNameLong: 11, failDigits: 12,
	failType: 16, failMin: 17, failMax: 18, failMultiple: 19, failEnum: 20, failShort: 21, failLong: 22, failRequired: 24,
	failUnknown: 25, failFew: 26, failMany: 27, failMap: 28, failWhen: 31, failNoWhen: 31,
	failOverflow: 40, failIntRange: 41, failColumn: 42, failText: 43, failTime: 48, failNoTime: 49,
}

// Code is the number that docs/format/plan.md gives to what is wrong; 0 where a
// device cannot say it.
func (f *Failure) Code() int {
	if f.Reason == telemetry.ReasonUnmatched {
		return failureCodes[failWhen]
	}
	return failureCodes[f.kind]
}

// Device reports whether the plan keeps to the device profile.
func (p *Plan) Device() bool { return p.device }
