package query

import (
	"strings"
	"unicode/utf8"
)

// like matches % and _, taking ASCII letters of either case for the same.
func like(s, p string) bool { return wildcards{many: '%', one: '_', fold: true}.match(s, p) }

// glob matches *, ? and [sets], telling letters of either case apart.
func glob(s, p string) bool { return wildcards{many: '*', one: '?', sets: true}.match(s, p) }

// wildcards are the words of a pattern: many stands for any text, one for one
// character.
type wildcards struct {
	many, one  byte
	fold, sets bool
}

// match takes time that grows with the text times the pattern: what follows the last
// many is tried at each place, and nothing before it again.
func (w wildcards) match(s, p string) bool {
	i, j := 0, 0           // how much of the text and the pattern is matched
	again, after := -1, -1 // where the text goes on at the next try, and the pattern then
	for {
		switch {
		case j < len(p) && p[j] == w.many:
			if j++; j == len(p) {
				return true
			}
			again, after = i, j
			continue
		case j == len(p) && i == len(s):
			return true
		case j < len(p) && i < len(s):
			if n, rest, ok := w.step(s[i:], p[j:]); ok {
				i, j = i+n, len(p)-len(rest)
				continue
			}
		}
		if again < 0 || again >= len(s) {
			return false
		}
		for again++; again < len(s) && !utf8.RuneStart(s[again]); again++ {
		}
		i, j = again, after
	}
}

// step matches the first word of a pattern, which is not many. It returns how much of
// the text that is, and the rest of the pattern.
func (w wildcards) step(s, p string) (n int, rest string, ok bool) {
	switch {
	case p[0] == w.one:
		_, n = utf8.DecodeRuneInString(s)
		return n, p[1:], true
	case p[0] == '[' && w.sets:
		c, n := utf8.DecodeRuneInString(s)
		rest, ok = globSet(c, p[1:])
		return n, rest, ok
	case w.fold:
		return 1, p[1:], lower(s[0]) == lower(p[0])
	}
	return 1, p[1:], s[0] == p[0]
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
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
