package query

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

type tokenKind uint8

const (
	tokEOF    tokenKind = iota
	tokWord             // a bare identifier or keyword; text as written
	tokQuoted           // "x", `x` or [x]; text without the quotes
	tokString           // 'x'; text without the quotes
	tokBlob             // x'00'; text is the hex digits
	tokInt
	tokFloat
	tokParam // ?, ?1, :a, @a, $a
	tokOp    // an operator or punctuation
)

type token struct {
	kind       tokenKind
	text       string
	start, end int // byte offsets in the statement
}

// is reports whether the token is this operator.
func (t token) is(op string) bool { return t.kind == tokOp && t.text == op }

// word reports whether the token is this keyword.
func (t token) word(kw string) bool {
	return t.kind == tokWord && strings.EqualFold(t.text, kw)
}

const (
	maxStatement = 1 << 20
	maxTokens    = 100_000
)

// lex splits a statement into tokens as SQLite does. The last one is tokEOF.
func lex(sql string) ([]token, error) {
	if len(sql) > maxStatement {
		return nil, telemetry.Errorf(telemetry.CodeLimit, "parse query", "the statement has %d bytes, more than %d", len(sql), maxStatement)
	}
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return nil, syntaxError(sql, i, "a NUL byte")
	}
	if !utf8.ValidString(sql) {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "parse query", "the statement is not valid UTF-8")
	}
	toks := make([]token, 0, 64)
	i := 0
	for {
		i = skipSpace(sql, i)
		if i >= len(sql) {
			return append(toks, token{kind: tokEOF, start: len(sql), end: len(sql)}), nil
		}
		t, next, err := lexOne(sql, i)
		if err != nil {
			return nil, err
		}
		toks = append(toks, t)
		if len(toks) > maxTokens {
			return nil, telemetry.Errorf(telemetry.CodeLimit, "parse query", "the statement has more than %d words", maxTokens)
		}
		i = next
	}
}

// skipSpace passes white space and comments.
func skipSpace(s string, i int) int {
	for i < len(s) {
		switch {
		case isSpace(s[i]):
			i++
		case strings.HasPrefix(s[i:], "--"):
			n := strings.IndexByte(s[i:], '\n')
			if n < 0 {
				return len(s)
			}
			i += n + 1
		case strings.HasPrefix(s[i:], "/*"):
			n := strings.Index(s[i+2:], "*/")
			if n < 0 {
				return len(s)
			}
			i += n + 4
		default:
			return i
		}
	}
	return i
}

func lexOne(s string, i int) (token, int, error) {
	c := s[i]
	switch {
	case c == '\'':
		text, next, ok := lexQuoted(s, i, '\'')
		if !ok {
			return token{}, 0, syntaxError(s, i, "a text that does not end")
		}
		return token{tokString, text, i, next}, next, nil
	case c == '"' || c == '`':
		text, next, ok := lexQuoted(s, i, c)
		if !ok {
			return token{}, 0, syntaxError(s, i, "a name that does not end")
		}
		return token{tokQuoted, text, i, next}, next, nil
	case c == '[':
		n := strings.IndexByte(s[i:], ']')
		if n < 0 {
			return token{}, 0, syntaxError(s, i, "a name that does not end")
		}
		return token{tokQuoted, s[i+1 : i+n], i, i + n + 1}, i + n + 1, nil
	case (c == 'x' || c == 'X') && i+1 < len(s) && s[i+1] == '\'':
		text, next, ok := lexQuoted(s, i+1, '\'')
		if !ok || len(text)%2 != 0 || strings.Trim(text, "0123456789abcdefABCDEF") != "" {
			return token{}, 0, syntaxError(s, i, "a malformed blob")
		}
		return token{tokBlob, text, i, next}, next, nil
	case isDigit(c) || c == '.' && i+1 < len(s) && isDigit(s[i+1]):
		return lexNumber(s, i)
	case isIdentStart(c):
		j := i + 1
		for j < len(s) && isIdentPart(s[j]) {
			j++
		}
		return token{tokWord, s[i:j], i, j}, j, nil
	case c == '?' || c == ':' || c == '@' || c == '$' || c == '#':
		j := i + 1
		for j < len(s) && isIdentPart(s[j]) {
			j++
		}
		return token{tokParam, s[i:j], i, j}, j, nil
	}
	for _, op := range [...]string{"->>", "||", "<<", ">>", "<=", ">=", "<>", "!=", "==", "->"} {
		if strings.HasPrefix(s[i:], op) {
			return token{tokOp, op, i, i + len(op)}, i + len(op), nil
		}
	}
	if strings.IndexByte("+-*/%(),.;<>=&|~", c) >= 0 {
		return token{tokOp, s[i : i+1], i, i + 1}, i + 1, nil
	}
	return token{}, 0, syntaxError(s, i, fmt.Sprintf("%q", s[i:i+1]))
}

// lexQuoted reads a quoted text in which the quote is doubled to stand for itself.
func lexQuoted(s string, i int, q byte) (string, int, bool) {
	var b strings.Builder
	plain := true
	start := i + 1
	for j := start; j < len(s); j++ {
		if s[j] != q {
			continue
		}
		if j+1 < len(s) && s[j+1] == q {
			b.WriteString(s[start : j+1])
			plain = false
			j++
			start = j + 1
			continue
		}
		if plain {
			return s[start:j], j + 1, true
		}
		b.WriteString(s[start:j])
		return b.String(), j + 1, true
	}
	return "", 0, false
}

func lexNumber(s string, i int) (token, int, error) {
	j := i
	if s[j] == '0' && j+1 < len(s) && (s[j+1] == 'x' || s[j+1] == 'X') {
		j += 2
		for j < len(s) && isIdentPart(s[j]) {
			j++
		}
		return token{tokInt, s[i:j], i, j}, j, nil
	}
	kind := tokInt
	for j < len(s) && isDigit(s[j]) {
		j++
	}
	if j < len(s) && s[j] == '.' {
		kind = tokFloat
		j++
		for j < len(s) && isDigit(s[j]) {
			j++
		}
	}
	if j < len(s) && (s[j] == 'e' || s[j] == 'E') {
		k := j + 1
		if k < len(s) && (s[k] == '+' || s[k] == '-') {
			k++
		}
		if k < len(s) && isDigit(s[k]) {
			kind = tokFloat
			for k < len(s) && isDigit(s[k]) {
				k++
			}
			j = k
		}
	}
	if j < len(s) && isIdentPart(s[j]) {
		return token{}, 0, syntaxError(s, i, "a malformed number")
	}
	return token{kind, s[i:j], i, j}, j, nil
}

func isIdentStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
func isIdentPart(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }

// syntaxError says where in the statement what was found is wrong.
func syntaxError(sql string, at int, found string) *telemetry.Error {
	line := 1 + strings.Count(sql[:at], "\n")
	col := utf8.RuneCountInString(sql[strings.LastIndexByte(sql[:at], '\n')+1:at]) + 1
	return telemetry.Errorf(telemetry.CodeInvalid, "parse query", "line %d, column %d: unexpected %s", line, col, found)
}
