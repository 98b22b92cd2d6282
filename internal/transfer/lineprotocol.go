package transfer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// point is one line of InfluxDB's line protocol.
type point struct {
	measurement string
	tags        []pair // in the order of the line
	fields      []fieldValue
	time        int64
}

type pair struct{ key, value string }

// fieldValue is a value with its type: as text, for it may become another type.
type fieldValue struct {
	key  string
	kind telemetry.ColumnType
	text string
}

// errOpenString says that a line ends inside a quoted text: the text goes on in
// the next line.
var errOpenString = errors.New("a text is not closed")

// parsePoint reads a line: measurement[,tag=value...] field=value[,...] time.
func parsePoint(line string) (*point, error) {
	p := &point{}
	rest := line
	p.measurement, rest = token(rest, ", ", ", ")
	if p.measurement == "" {
		return nil, errors.New("there is no measurement")
	}
	for strings.HasPrefix(rest, ",") {
		var t pair
		t.key, rest = token(rest[1:], "=, ", ",= ")
		if !strings.HasPrefix(rest, "=") || t.key == "" {
			return nil, fmt.Errorf("tag %s has no value", short(t.key))
		}
		t.value, rest = token(rest[1:], ", ", ",= ")
		p.tags = append(p.tags, t)
	}
	rest = strings.TrimLeft(rest, " ")
	var err error
	if rest, err = p.readFields(rest); err != nil {
		return nil, err
	}
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return nil, errors.New("there is no timestamp")
	}
	if p.time, err = strconv.ParseInt(rest, 10, 64); err != nil {
		return nil, fmt.Errorf("%s is not a time in nanoseconds", short(rest))
	}
	if !utf8.ValidString(line) {
		return nil, errors.New("it is not UTF-8")
	}
	return p, nil
}

// token reads up to one of the ends. A backslash before one of the escaped bytes
// takes it literally; before others it is itself.
func token(s, ends, escaped string) (string, string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(escaped, s[i+1]) >= 0 {
			i++
			b.WriteByte(s[i])
			continue
		}
		if strings.IndexByte(ends, s[i]) >= 0 {
			return b.String(), s[i:]
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

func (p *point) readFields(rest string) (string, error) {
	for {
		var f fieldValue
		f.key, rest = token(rest, "=, ", ",= ")
		if !strings.HasPrefix(rest, "=") || f.key == "" {
			return "", fmt.Errorf("field %s has no value", short(f.key))
		}
		var err error
		if rest, err = f.read(rest[1:]); err != nil {
			return "", err
		}
		p.fields = append(p.fields, f)
		if !strings.HasPrefix(rest, ",") {
			return rest, nil
		}
		rest = rest[1:]
	}
}

// read reads the value of a field.
func (f *fieldValue) read(s string) (rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		var b strings.Builder
		for i := 1; i < len(s); i++ {
			switch {
			case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
				i++
				b.WriteByte(s[i])
			case s[i] == '"':
				f.kind, f.text = telemetry.String, b.String()
				return s[i+1:], nil
			default:
				b.WriteByte(s[i])
			}
		}
		return "", errOpenString
	}
	end := strings.IndexAny(s, ", ")
	if end < 0 {
		end = len(s)
	}
	text := s[:end]
	bad := fmt.Errorf("field %s: %s is no value", short(f.key), short(text))
	switch {
	case text == "":
		return "", bad
	case text[len(text)-1] == 'i' || text[len(text)-1] == 'u':
		f.kind, f.text = telemetry.Int, text[:len(text)-1]
		if _, err := strconv.ParseInt(f.text, 10, 64); err != nil {
			return "", fmt.Errorf("field %s: %s is not an integer of 64 bits", short(f.key), short(text))
		}
	default:
		if v, err := parseValue(telemetry.Bool, text); err == nil {
			f.kind, f.text = telemetry.Bool, strconv.FormatBool(v.Bits != 0)
			break
		}
		f.kind, f.text = telemetry.Float, text
		if _, err := parseValue(telemetry.Float, text); err != nil {
			return "", bad
		}
	}
	return s[end:], nil
}
