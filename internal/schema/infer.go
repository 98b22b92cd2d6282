package schema

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Infer proposes a schema document (YAML) from sample payloads of one topic: the
// types that were seen, what every sample had, and a guess at the time. It sets
// no bounds and no enums: samples do not show what is wrong. Name and topic are
// for the reader to replace.
func Infer(samples [][]byte) ([]byte, error) {
	return InferFor("readings", "devices/{device}/readings", samples)
}

// InferFor is Infer with the name and the topic pattern of the document.
func InferFor(name, topic string, samples [][]byte) ([]byte, error) {
	if len(samples) == 0 {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "infer a schema", "there are no samples")
	}
	w := &inferWriter{}
	w.line("name: %s", yamlText(name))
	w.line("version: 1")
	w.line("topic: %s", yamlText(topic))
	root := &shape{}
	for i, s := range samples {
		if !wellFormed(s) {
			if i > 0 && root.types != typeString {
				return nil, telemetry.Errorf(telemetry.CodeInvalid, "infer a schema", "sample %d is not JSON, and others are", i+1)
			}
			if !utf8.Valid(s) {
				return nil, telemetry.Errorf(telemetry.CodeInvalid, "infer a schema", "sample %d is neither JSON nor text", i+1)
			}
			root.types = typeString
			continue
		}
		if i > 0 && root.types == typeString && root.seen == 0 {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "infer a schema", "sample %d is JSON, and others are not", i+1)
		}
		v, _ := decode(s, skipSpace(s, 0))
		root.add(v)
	}
	switch t := root.types &^ typeNull; {
	case root.seen == 0:
		w.line("format: text")
	case t&(typeObject|typeArray) == 0:
		w.line("format: value")
		w.line("payload: {type: %s}", root.typeWords())
	default:
		w.json(root)
	}
	doc := []byte(w.b.String())
	if _, problems := Compile("inferred.yaml", doc); len(problems) > 0 {
		return doc, telemetry.Errorf(telemetry.CodeInvalid, "infer a schema", "the samples do not fit one table: %v", problems.Err()).
			WithHint("the proposal is given all the same; mend it by hand")
	}
	return doc, nil
}

// shape is what samples had at one place.
type shape struct {
	seen  int
	types typeMask
	names []string // of props, as they were first seen
	props map[string]*shape
	items *shape
	first any // a scalar that stood there
}

func (s *shape) add(v any) {
	s.seen++
	switch v := v.(type) {
	case nil:
		s.types |= typeNull
	case bool:
		s.types |= typeBool
	case string:
		s.types |= typeString
		s.first = v
	case json.Number:
		s.types |= typeInteger
		if strings.ContainsAny(string(v), ".eE") {
			s.types |= typeFraction // 21.0 comes from a sensor that also sends 21.5
		}
		s.first = v
	case []any:
		s.types |= typeArray
		if s.items == nil {
			s.items = &shape{}
		}
		for _, item := range v {
			s.items.add(item)
		}
	case map[string]any:
		s.types |= typeObject
		if s.props == nil {
			s.props = map[string]*shape{}
		}
		for _, name := range sortedNames(v) {
			if s.props[name] == nil {
				s.props[name] = &shape{}
				s.names = append(s.names, name)
			}
			s.props[name].add(v[name])
		}
	}
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// typeWords is the shape's type as JSON Schema writes it.
func (s *shape) typeWords() string {
	var words []string
	for _, w := range []string{"null", "boolean", "string", "array", "object"} {
		if s.types&typeNames[w] != 0 {
			words = append(words, w)
		}
	}
	switch s.types & typeNumber {
	case typeInteger:
		words = append(words, "integer")
	case typeNumber, typeFraction:
		words = append(words, "number")
	}
	for i := range words {
		words[i] = yamlText(words[i])
	}
	if len(words) == 1 {
		return words[0]
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// timeNames are what devices call their time, the surest first.
var timeNames = []string{
	"ts", "timestamp", "time", "datetime", "date_time", "measured_at", "recorded_at", "observed_at", "event_time", "sampled_at",
	"created_at", "date", "epoch", "unixtime", "unix_time", "utc", "at", "t",
}

// findTime guesses the time among the shape's properties.
func (s *shape) findTime() (name, as string) {
	for _, want := range timeNames {
		for _, have := range s.names {
			if strings.EqualFold(strings.ReplaceAll(have, "-", "_"), want) {
				p := s.props[have]
				if as := timeUnit(p.first); as != "" && p.seen == s.seen && p.types&(typeNull|typeObject|typeArray) == 0 {
					return have, as
				}
			}
		}
	}
	return "", ""
}

// timeUnit is how a value would be a time of this century, or "".
func timeUnit(v any) string {
	switch v := v.(type) {
	case json.Number:
		mant, exp, _, flags := scanNumber([]byte(v), 0)
		for unit, name := range []string{"unix_s", "unix_ms", "unix_us", "unix_ns"} {
			t, ok := numericTime(timeUnixS+timeFormat(unit), mant, exp, flags)
			if ok && t > 946684800e9 && t < 4102444800e9 {
				return name
			}
		}
	case string:
		if _, ok := parseDateTime([]byte(v), nil); ok {
			return "rfc3339"
		}
		if len(v) >= 19 {
			if _, ok := parseDateTime([]byte(v+"Z"), nil); ok {
				return "local:UTC"
			}
		}
	}
	return ""
}

type inferWriter struct{ b strings.Builder }

func (w *inferWriter) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

// json writes what a payload of lists and objects needs.
func (w *inferWriter) json(root *shape) {
	at, element := "", root
	if list, name := root.readings(); list != nil {
		at, element = "/"+escapeToken(name)+"/*", list.items
		if name == "" {
			at = "/*"
		}
		w.line("rows: %s # one reading per element", yamlText(at))
	}
	var timed string
	if name, as := element.findTime(); name != "" {
		timed = at + "/" + escapeToken(name)
		w.line("time: {at: %s, as: %s}%s", yamlText(timed), yamlText(as), zoneNote(as))
	} else if name, as := root.findTime(); name != "" {
		timed = "/" + escapeToken(name)
		w.line("time: {at: %s, as: %s}%s", yamlText(timed), yamlText(as), zoneNote(as))
	} else {
		w.line("# no time was found in the payload: readings get the time of their receipt")
	}
	if renamed := renames(root, "", "", timed, at); len(renamed) > 0 {
		w.line("columns:")
		for _, r := range renamed {
			w.line("  %s", r)
		}
	}
	w.line("payload:")
	w.schema(root, "  ")
}

func zoneNote(as string) string {
	if as == "local:UTC" {
		return " # the samples name no zone: put the devices' own in place of UTC"
	}
	return ""
}

// readings finds the list of objects that a payload is made of: the payload
// itself, or its only such property.
func (s *shape) readings() (list *shape, name string) {
	isList := func(p *shape) bool {
		return p.types == typeArray && p.items != nil && p.items.types == typeObject
	}
	if isList(s) {
		return s, ""
	}
	for _, n := range s.names {
		if p := s.props[n]; isList(p) && p.seen == s.seen && n != "" {
			if list != nil {
				return nil, ""
			}
			list, name = p, n
		}
	}
	return list, name
}

// renames gives columns another name where their own is taken: by Weir, or by a
// name that differs only in case.
func renames(s *shape, prefix, pointer, timed, rows string) []string {
	var out []string
	used := map[string]bool{}
	for _, r := range reserved {
		used[r] = true
	}
	var walk func(s *shape, prefix, pointer string)
	walk = func(s *shape, prefix, pointer string) {
		for _, n := range s.names {
			p, at, name := s.props[n], pointer+"/"+escapeToken(n), prefix+n
			switch {
			case at == timed:
			case at+"/*" == rows:
				walk(p.items, "", rows)
			case p.types&typeObject != 0 && len(p.names) > 0 && p.types&^(typeObject|typeNull) == 0:
				walk(p, name+".", at)
			case used[strings.ToLower(name)]:
				fresh := "device_" + strings.TrimLeft(name, "_")
				for used[strings.ToLower(fresh)] {
					fresh += "_2"
				}
				used[strings.ToLower(fresh)] = true
				out = append(out, fmt.Sprintf("%s: {at: %s}", yamlText(fresh), yamlText(at)))
			default:
				used[strings.ToLower(name)] = true
			}
		}
	}
	if rows == "/*" {
		walk(s.items, prefix, rows)
	} else {
		walk(s, prefix, pointer)
	}
	return out
}

// schema writes a shape as JSON Schema.
func (w *inferWriter) schema(s *shape, indent string) {
	w.line("%stype: %s", indent, s.typeWords())
	if s.props != nil {
		var required []string
		objects := 0
		for _, n := range s.names {
			objects = max(objects, s.props[n].seen)
		}
		for _, n := range s.names {
			if s.props[n].seen == objects && s.types == typeObject && objects == s.seen {
				required = append(required, yamlText(n))
			}
		}
		if len(required) > 0 {
			w.line("%srequired: [%s]", indent, strings.Join(required, ", "))
		}
		if len(s.names) > 0 {
			w.line("%sproperties:", indent)
		}
		for _, n := range s.names {
			p := s.props[n]
			if p.props == nil && p.items == nil {
				w.line("%s  %s: {type: %s}", indent, yamlText(n), p.typeWords())
				continue
			}
			w.line("%s  %s:", indent, yamlText(n))
			w.schema(p, indent+"    ")
		}
	}
	if s.items != nil && s.items.seen > 0 {
		w.line("%sitems:", indent)
		w.schema(s.items, indent+"  ")
	}
}

var (
	plainYAML = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_/.]*$`)
	yamlWords = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
)

// yamlText writes a word so that YAML reads it back as text.
func yamlText(s string) string {
	if plainYAML.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	return string(appendQuoted(nil, s))
}
