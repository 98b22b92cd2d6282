package query

import (
	"strings"
	"unicode/utf8"
)

// like matches % and _, taking ASCII letters of either case for the same.
func like(s, p string) bool {
	for p != "" {
		switch p[0] {
		case '%':
			for p != "" && (p[0] == '%' || p[0] == '_') {
				if p[0] == '_' {
					if s == "" {
						return false
					}
					_, n := utf8.DecodeRuneInString(s)
					s = s[n:]
				}
				p = p[1:]
			}
			if p == "" {
				return true
			}
			for i := 0; i < len(s); i++ {
				if utf8.RuneStart(s[i]) && lower(s[i]) == lower(p[0]) && like(s[i:], p) {
					return true
				}
			}
			return false
		case '_':
			if s == "" {
				return false
			}
			_, n := utf8.DecodeRuneInString(s)
			s, p = s[n:], p[1:]
		default:
			if s == "" || lower(s[0]) != lower(p[0]) {
				return false
			}
			s, p = s[1:], p[1:]
		}
	}
	return s == ""
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// glob matches *, ? and [sets], telling letters of either case apart.
func glob(s, p string) bool {
	for p != "" {
		switch p[0] {
		case '*':
			for p != "" && (p[0] == '*' || p[0] == '?') {
				if p[0] == '?' {
					if s == "" {
						return false
					}
					_, n := utf8.DecodeRuneInString(s)
					s = s[n:]
				}
				p = p[1:]
			}
			if p == "" {
				return true
			}
			for i := 0; i < len(s); i++ {
				if utf8.RuneStart(s[i]) && glob(s[i:], p) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
			_, n := utf8.DecodeRuneInString(s)
			s, p = s[n:], p[1:]
		case '[':
			if s == "" {
				return false
			}
			c, n := utf8.DecodeRuneInString(s)
			rest, ok := globSet(c, p[1:])
			if !ok {
				return false
			}
			s, p = s[n:], rest
		default:
			if s == "" || s[0] != p[0] {
				return false
			}
			s, p = s[1:], p[1:]
		}
	}
	return s == ""
}

// globSet matches c against the set that begins after its bracket and returns
// what follows it.
func globSet(c rune, p string) (string, bool) {
	invert := strings.HasPrefix(p, "^")
	if invert {
		p = p[1:]
	}
	seen := false
	var prior rune
	for first := true; p != ""; first = false {
		r, n := utf8.DecodeRuneInString(p)
		p = p[n:]
		switch {
		case r == ']' && !first:
			return p, seen != invert
		case r == '-' && prior != 0 && p != "" && p[0] != ']':
			hi, n := utf8.DecodeRuneInString(p)
			p = p[n:]
			seen = seen || c >= prior && c <= hi
			prior = 0
		default:
			seen = seen || c == r
			prior = r
		}
	}
	return "", false
}
