package schema

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Flags of a scanned string.
const (
	strEscape uint = 1 << iota // it has escapes, so that its text is not its bytes
	strWide                    // it has characters beyond ASCII
	strBad                     // not a string by RFC 8259 section 7; end is where it goes wrong
)

// scanString reads a string from after its opening quote and returns the index of
// its closing quote. Bytes must be UTF-8, and escaped surrogates must come in
// pairs: a lone one has no UTF-8.
func scanString(p []byte, pos int) (end int, flags uint) {
	i := pos
	for uint(i)+8 <= uint(len(p)) {
		w := binary.LittleEndian.Uint64(p[i:])
		q := w ^ 0x2222222222222222
		b := w ^ 0x5C5C5C5C5C5C5C5C
		m := ((q-swarOnes)&^q | (b-swarOnes)&^b | (w-0x2020202020202020)&^w | w) & swarHigh
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if p[i] == '"' {
			return i, 0
		}
		break
	}
	return scanStringSlow(p, i)
}

func scanStringSlow(p []byte, i int) (end int, flags uint) {
	for i < len(p) {
		c := p[i]
		switch {
		case c == '"':
			return i, flags
		case c == '\\':
			n := escapeLen(p[i:])
			if n == 0 {
				return i, flags | strBad
			}
			flags |= strEscape
			i += n
		case c < 0x20:
			return i, flags | strBad
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(p[i:])
			if r == utf8.RuneError && n <= 1 {
				return i, flags | strBad
			}
			flags |= strWide
			i += n
		}
	}
	return i, flags | strBad
}

// escapeLen is the length of the escape that p starts with, a surrogate pair
// being one; 0 if it is none.
func escapeLen(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch p[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		u, ok := hex4(p[2:])
		switch {
		case !ok || u >= 0xDC00 && u < 0xE000:
			return 0
		case u < 0xD800 || u >= 0xE000:
			return 6
		}
		if len(p) < 12 || p[6] != '\\' || p[7] != 'u' {
			return 0
		}
		if lo, ok := hex4(p[8:]); !ok || lo < 0xDC00 || lo >= 0xE000 {
			return 0
		}
		return 12
	}
	return 0
}

func hex4(p []byte) (rune, bool) {
	if len(p) < 4 {
		return 0, false
	}
	var u rune
	for _, c := range p[:4] {
		u <<= 4
		switch {
		case isDigit(c):
			u |= rune(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			u |= rune(c|0x20-'a') + 10
		default:
			return 0, false
		}
	}
	return u, true
}

// appendUnescaped appends the text of a string that scanString accepted.
func appendUnescaped(dst, s []byte) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch s[i+1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			u, _ := hex4(s[i+2:])
			if u >= 0xD800 && u < 0xDC00 {
				lo, _ := hex4(s[i+8:])
				u = 0x10000 + (u-0xD800)<<10 + (lo - 0xDC00)
				i += 6
			}
			dst = utf8.AppendRune(dst, u)
			i += 6
			continue
		default:
			dst = append(dst, s[i+1])
		}
		i += 2
	}
	return dst
}

// appendQuoted appends s as a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func skipSpace(p []byte, pos int) int {
	for pos < len(p) && isSpace(p[pos]) {
		pos++
	}
	return pos
}
