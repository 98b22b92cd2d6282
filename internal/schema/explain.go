package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuote is how much of a value a sentence quotes.
const maxQuote = 40

// Pointer is the JSON pointer (RFC 6901) of the offending value; "" is the whole
// payload. It allocates.
func (f *Failure) Pointer() string {
	if f.Offset <= 0 || f.Plan == nil || f.Plan.format != formatJSON {
		return ""
	}
	var b strings.Builder
	for _, t := range pathTo(f.payload, f.Offset) {
		b.WriteByte('/')
		b.WriteString(escapeToken(t))
	}
	return b.String()
}

// Detail is one sentence for a person. It allocates.
func (f *Failure) Detail() string {
	s := f.sentence()
	if f.Reason == "" || f.kind <= failDigits {
		return s
	}
	if where := f.where(); where != "" {
		return where + ": " + s
	}
	return s
}

// where names the value as people do: dev.temp.
func (f *Failure) where() string {
	if f.Offset < 0 || f.Plan == nil || f.Plan.format != formatJSON {
		return ""
	}
	return strings.Join(pathTo(f.payload, f.Offset), ".")
}

// quote is the value at the offset, shortened.
func (f *Failure) quote() string {
	if f.Offset < 0 || f.Offset >= len(f.payload) {
		return "the payload"
	}
	if f.Plan != nil && f.Plan.format == formatText {
		return strconv.Quote(shorten(string(f.payload)))
	}
	end := endOfValue(f.payload, f.Offset)
	return shorten(strings.TrimRight(string(f.payload[f.Offset:end]), " \t\r\n"))
}

func shorten(s string) string {
	if len(s) <= maxQuote {
		return s
	}
	cut := maxQuote
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func (f *Failure) sentence() string {
	at := fmt.Sprintf("at byte %d", f.Offset)
	switch f.kind {
	case failEnd:
		if len(f.payload) == 0 {
			return "the payload is empty"
		}
		return "the payload ends too early, " + at
	case failTrailing:
		return "bytes stand after the end of the value, " + at
	case failValue:
		return f.badValue() + ", " + at
	case failString:
		return f.badString() + ", " + at
	case failName:
		return "a name in double quotes must stand " + at
	case failColon:
		return "a colon must stand " + at
	case failComma:
		return "a comma or the end of the list or object must stand " + at
	case failDepth:
		return fmt.Sprintf("nested deeper than %d levels, %s", f.depthLimit(), at)
	case failDuplicate:
		return fmt.Sprintf("the name %s stands twice in one object, %s", f.name(), at)
	case failNames:
		return fmt.Sprintf("more than %d names in the objects that are open (profile device), %s", DeviceNames, at)
	case failNameLong:
		return fmt.Sprintf("a name is longer than %d bytes (profile device), %s", DeviceName, at)
	case failDigits:
		return fmt.Sprintf("a number has more than %d digits (profile device), %s", DeviceDigits, at)
	case failType:
		if f.node.checks&checkEnum != 0 && f.node.types&^(typeArray|typeObject) == f.node.types {
			return f.quote() + " is not one of " + listConstants(f.node.enum)
		}
		return f.quote() + " is " + f.kindOfValue() + ", not " + f.node.types.String()
	case failMin:
		return f.quote() + " is " + boundWords(&f.node.min, "below the minimum", "not above") + " " + f.node.min.exact.text
	case failMax:
		return f.quote() + " is " + boundWords(&f.node.max, "above the maximum", "not below") + " " + f.node.max.exact.text
	case failMultiple:
		return f.quote() + " is not a multiple of " + f.node.multiple.text
	case failEnum:
		return f.quote() + " is not one of " + listConstants(f.node.enum)
	case failShort:
		return fmt.Sprintf("%s is shorter than %d characters", f.quote(), f.node.minLen)
	case failLong:
		return fmt.Sprintf("%s is longer than %d characters", f.quote(), f.node.maxLen)
	case failPattern:
		return f.quote() + " does not match " + f.node.pattern.String()
	case failRequired:
		return f.node.object.props[f.index].name + " is missing"
	case failUnknown:
		return "the schema does not allow this property"
	case failFew:
		return fmt.Sprintf("has fewer than %d elements", f.node.minItems)
	case failMany:
		return fmt.Sprintf("has more than %d elements", f.node.maxItems)
	case failMap:
		return f.quote() + " is not in the column's map"
	case failRows:
		return fmt.Sprintf("more than %d readings in one payload", f.Plan.maxRows())
	case failLibrary:
		return libraryText(f.library)
	case failWhen, failNoWhen:
		return "no schema of the topic has a `when` that this payload meets"
	case failOverflow:
		return f.quote() + " is beyond what float64 holds"
	case failIntRange:
		return f.quote() + " is beyond what int64 holds"
	case failColumn:
		return f.quote() + " does not fit the type of its column"
	case failText:
		return fmt.Sprintf("%s is longer than the %d bytes that a device records", f.quote(), DeviceText)
	case failTime:
		return f.badTime()
	case failNoTime:
		return "the payload has no time at " + f.Plan.timeText
	}
	return ""
}

func boundWords(b *bound, inclusive, exclusive string) string {
	if b.exclusive {
		return exclusive
	}
	return inclusive
}

func listConstants(set []constant) string {
	var words []string
	for i, k := range set {
		if i == 10 {
			words = append(words, "…")
			break
		}
		switch k.kind {
		case typeNull:
			words = append(words, "null")
		case typeString:
			words = append(words, strconv.Quote(shorten(k.text)))
		default:
			words = append(words, k.text)
		}
	}
	return strings.Join(words, ", ")
}

func (t typeMask) String() string {
	if t == 0 {
		return "allowed here"
	}
	var words []string
	for _, w := range []struct {
		mask typeMask
		word string
	}{
		{typeNull, "null"},
		{typeBool, "a boolean"},
		{typeNumber, "a number"},
		{typeInteger, "an integer"},
		{typeString, "a string"},
		{typeArray, "a list"},
		{typeObject, "an object"},
	} {
		if t&w.mask == w.mask {
			words = append(words, w.word)
			t &^= w.mask
		}
	}
	return strings.Join(words, " or ")
}

func (f *Failure) kindOfValue() string {
	if f.Plan.format == formatText {
		return "a string"
	}
	switch f.payload[f.Offset] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// name quotes the name at the offset.
func (f *Failure) name() string {
	end, flags := scanString(f.payload, f.Offset+1)
	if flags&strBad != 0 {
		return ""
	}
	return shorten(string(f.payload[f.Offset : end+1]))
}

func (f *Failure) badValue() string {
	p, i := f.payload, f.Offset
	rest := string(p[i:min(len(p), i+9)])
	switch {
	case strings.HasPrefix(rest, "NaN"), strings.HasPrefix(rest, "nan"), strings.HasPrefix(rest, "Inf"), strings.HasPrefix(rest, "inf"):
		return "NaN and Infinity are not JSON"
	case i > 0 && p[i-1] == '0' && isDigit(p[i]):
		return "a number has a leading zero"
	case p[i] == '+':
		return "a number has a plus sign"
	case p[i] == '\'':
		return "strings stand in double quotes"
	case i > 0 && (isDigit(p[i-1]) || p[i-1] == '.' || p[i-1] == '-' || p[i-1]|0x20 == 'e'):
		return "a digit is missing in a number"
	case strings.HasPrefix(rest, "\xEF\xBB\xBF"):
		return "a byte order mark stands before the value"
	}
	return "no value begins here"
}

func (f *Failure) badString() string {
	p, i := f.payload, f.Offset
	switch {
	case i >= len(p):
		return "a string has no end"
	case f.Plan != nil && f.Plan.format == formatText:
		return "the text is not UTF-8"
	case p[i] == '\\':
		if u, ok := hex4(p[min(len(p), i+2):]); ok && i+1 < len(p) && p[i+1] == 'u' && u >= 0xD800 && u < 0xE000 {
			return "half of a surrogate pair stands alone"
		}
		return "an escape that JSON does not know"
	case p[i] < 0x20:
		return "a control character that is not escaped"
	}
	return "a string is not UTF-8"
}

func (f *Failure) badTime() string {
	p := f.Plan
	as := [...]string{"", "unix_s", "unix_ms", "unix_us", "unix_ns", "rfc3339", "local"}[p.timeAs]
	s := f.quote() + " is not a time as " + as
	if ch := f.payload[f.Offset]; p.timeAs <= timeUnixNS && (isDigit(ch) || ch == '-') {
		mant, exp, _, flags := scanNumber(f.payload, f.Offset)
		s = f.quote() + " is out of the range of times as " + as
		for other := timeUnixS; other <= timeUnixNS; other++ {
			if t, ok := numericTime(other, mant, exp, flags); ok && t > 1e18 && t < 3e18 {
				s += "; as " + [...]string{"", "unix_s", "unix_ms", "unix_us", "unix_ns"}[other] + " it would be one"
				break
			}
		}
	}
	return s
}

// pathTo is the path of the value or name that stands at an offset, or of what
// encloses it. It reads a payload only as far as the offset, and so may be used
// on one that is broken there.
func pathTo(p []byte, offset int) []string {
	type frame struct {
		name  string
		index int
		list  bool
	}
	var stack []frame
	pos := 0
	expectName := false
	for pos < offset && pos < len(p) {
		switch p[pos] {
		case '{':
			stack = append(stack, frame{})
			expectName = true
		case '[':
			stack = append(stack, frame{list: true})
			expectName = false
		case '}', ']':
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			expectName = false
		case ',':
			if n := len(stack); n > 0 {
				if stack[n-1].list {
					stack[n-1].index++
				} else {
					stack[n-1].name = ""
					expectName = true
				}
			}
		case '"':
			end, flags := scanString(p, pos+1)
			if flags&strBad != 0 || end >= offset && !expectName {
				pos = len(p)
				break
			}
			if expectName && len(stack) > 0 {
				stack[len(stack)-1].name = string(appendUnescaped(nil, p[pos+1:end]))
				expectName = false
			}
			pos = end
		}
		pos++
	}
	if expectName && pos < len(p) && p[pos] == '"' && len(stack) > 0 {
		if end, flags := scanString(p, pos+1); flags&strBad == 0 {
			stack[len(stack)-1].name = string(appendUnescaped(nil, p[pos+1:end]))
		}
	}
	var path []string
	for _, f := range stack {
		switch {
		case f.list:
			path = append(path, strconv.Itoa(f.index))
		case f.name != "":
			path = append(path, f.name)
		}
	}
	return path
}

// locate returns the offset of the value at a path of a payload that was parsed
// before, or -1.
func locate(p []byte, path []string) int {
	pos := skipSpace(p, 0)
	for _, t := range path {
		if pos >= len(p) {
			return -1
		}
		switch p[pos] {
		case '{':
			found := false
			for pos = skipSpace(p, pos+1); pos < len(p) && p[pos] != '}'; {
				end, flags := scanString(p, pos+1)
				name := p[pos+1 : end]
				if flags&strEscape != 0 {
					name = appendUnescaped(nil, name)
				}
				pos = skipSpace(p, skipSpace(p, end+1)+1)
				if found = string(name) == t; found {
					break
				}
				if pos = endOfValue(p, pos); pos < len(p) && p[pos] == ',' {
					pos = skipSpace(p, pos+1)
				}
			}
			if !found {
				return -1
			}
		case '[':
			index, err := strconv.Atoi(t)
			if err != nil {
				return -1
			}
			pos = skipSpace(p, pos+1)
			for ; index > 0; index-- {
				if pos = endOfValue(p, pos); pos >= len(p) || p[pos] != ',' {
					return -1
				}
				pos = skipSpace(p, pos+1)
			}
			if pos < len(p) && p[pos] == ']' {
				return -1
			}
		default:
			return -1
		}
	}
	return pos
}

// meetsWhen reports whether a payload that the plan refused is one that it is
// for. The payload is JSON.
func (p *Plan) meetsWhen(payload []byte) bool {
	if len(p.when) == 0 {
		return true
	}
	return !slices.ContainsFunc(p.when, func(w whenSpec) bool {
		at := locate(payload, w.at.tokens)
		if at < 0 {
			return true
		}
		end := at + 1
		s := scalar{text: payload[at:end]}
		switch ch := payload[at]; {
		case ch == '"':
			var flags uint
			end, flags = scanString(payload, at+1)
			s = scalar{kind: typeString, text: payload[at+1 : end]}
			if flags&strEscape != 0 {
				s.text = appendUnescaped(nil, s.text)
			}
		case ch == 't' || ch == 'f' || ch == 'n':
			s = scalar{kind: typeBool, text: payload[at:wordEnd(payload, at)]}
			if ch == 'n' {
				s.kind = typeNull
			}
		case ch == '-' || isDigit(ch):
			_, _, end, _ = scanNumber(payload, at)
			s = scalar{kind: typeNumber, text: payload[at:end]}
		}
		return !w.value.equal(&s)
	})
}

// wellFormed reports whether a payload is JSON.
func wellFormed(payload []byte) bool {
	c := NewChecker()
	c.p = payload
	end := c.skip(skipSpace(payload, 0))
	return end >= 0 && skipSpace(payload, end) == len(payload)
}
