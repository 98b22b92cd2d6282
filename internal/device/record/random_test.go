package record

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
)

var seedFlag = flag.Uint64("seed", 0, "the seed of the random schemas; 0: drawn")

// TestOneVerdict runs random payloads of random schemas of the device profile
// through the server's plan and the firmware: both say the same, with the same code
// and offset, and a record gives what the server's plan would have taken.
func TestOneVerdict(t *testing.T) {
	f := startFirmware(t)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	schemas := 250
	if testing.Short() {
		schemas = 40
	}
	if os.Getenv("WEIR_SOAK") != "" {
		schemas = 20_000
	}
	t.Logf("seed %d: go test -run %s -seed %[1]d", seed, t.Name())
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	counts := map[int]int{}
	for n := range schemas {
		doc, root := g.document()
		for tooLong(doc) {
			doc, root = g.document()
		}
		p := newPair(t, f, doc)
		for range 120 {
			payload := g.payload(root)
			if d := p.differ(t, g.topic(), payload, g.Uint32()); d != "" {
				t.Fatalf("schema %d, payload %q: %s\n%s", n, payload, d, doc)
			}
			counts[p.device.check(t, "a/x1/b", payload, 0).verdict]++
		}
	}
	t.Logf("verdicts ok, malformed, invalid, unrepresentable, bad_time, unmatched: %v", counts)
	for v := range 6 {
		if counts[v] == 0 && !testing.Short() {
			t.Errorf("no payload had verdict %d: the test looks away", v)
		}
	}
}

// tooLong reports whether records of a document would be longer than a device has.
func tooLong(doc string) bool {
	_, _, problems := schema.CompileDevice("test.yaml", []byte(doc))
	return len(problems) == 1 && (strings.Contains(problems[0].Message, "a record may need") || strings.Contains(problems[0].Message, "a record has"))
}

// generator makes random documents and payloads for them.
type generator struct {
	*rand.Rand
	format string
}

// shape is a place of a random schema, as far as payloads need to know it.
type shape struct {
	types  []string
	enum   []string // as JSON
	bounds []string
	names  []string
	props  []*shape
	items  *shape
}

func pick[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

var (
	names    = []string{"a", "b", "ts", "status", "temperature", "x y", "ü", "q\"", "e\\", "0", "*", "~a", "a/b", "", "n\n", strings.Repeat("n", 64), "m", "dev"}
	texts    = []string{`"ok"`, `"warn"`, `""`, `"ünknown"`, `"a\u0062c"`, `"\ud83d\ude00"`, `"😀"`, `"x"`, `"unavailable"`, `"2025-06-15T15:06:40.5Z"`, `"2025-06-15 17:06:40.000001+02:00"`, `"1970-01-01T00:00:60.123456789z"`, `"2024-02-29T23:59:59-23:59"`, `"\n\t"`}
	numerals = []string{"0", "-0", "1", "-1", "2.5", "21.53", "1e2", "1.0", "10", "100", "125", "-40", "0.1", "0.3", "1e400", "-1e400", "1e-400", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "1750000000123", "1750000000", "1750000000.123456789", "1750000000123456789", "9999999999999999999", "99999999999999999999", "0.00000000000000000000012345", "1234567890.12345678901", "123456789012345678901", "1000000000000000000000", "1.000000000000000000000000", "1.797693134862315807e308", "1.797693134862315808e308", "17976931348623158e292", "4.9e-324", "2.4703282292062327e-324", "1E+2", "1e-2", "12e99999999999", "0e99999999999", "5e-1", "-9214560000", "9214646400", "9214646399.999999999", "-9214560000.000000001", "0.30000000000000004", "123456789012345678", "8.41e21", "1e22", "1e23", "3.602879701896397"}
	words    = []string{"true", "false", "null"}
)

func (g *generator) scalar() string {
	switch g.IntN(5) {
	case 0:
		return pick(g, words)
	case 1, 2:
		return pick(g, texts)
	case 3:
		return g.numeral()
	}
	return pick(g, numerals)
}

// numeral is a number of random shape.
func (g *generator) numeral() string {
	s := ""
	if g.one(4) {
		s = "-"
	}
	s += fmt.Sprint(g.Uint64() >> g.IntN(64))
	if g.one(2) {
		s += fmt.Sprintf(".%0*d", 1+g.IntN(8), g.IntN(1000))
	}
	if g.one(6) {
		s += fmt.Sprintf("%s%s%d", pick(g, []string{"e", "E"}), pick(g, []string{"", "+", "-"}), g.IntN(330))
	}
	return s
}

// shortNumber is a number that a document may hold.
func (g *generator) shortNumber() string {
	return pick(g, []string{"0", "1", "-1", "2.5", "10", "100", "-40", "125", "0.1", "1e2", "1.50", "9999999999999999999", "1e300", "-9223372036854775808", "21.53"})
}

// document makes a random document of the profile and the shape of its payload.
func (g *generator) document() (string, *shape) {
	g.format = pick(g, []string{"json", "json", "json", "json", "value", "text"})
	head := "name: t\nversion: 3\ntopic: a/{c}/b\nprofile: device\nformat: " + g.format + "\n"
	if g.one(2) {
		head += "null_values: [" + strings.Join([]string{pick(g, texts), pick(g, []string{"0", "-1", "2.5"}), pick(g, []string{"null", "false", `"unavailable"`})}, ", ") + "]\n"
	}
	if g.format != "json" {
		return g.bareDocument(head)
	}
	root := &shape{types: []string{"object"}}
	var b strings.Builder
	columns := map[string]string{}
	g.schema(&b, root, "", 1, columns)
	extra := ""
	if as := g.IntN(8); as < 6 {
		unit := []string{"unix_s", "unix_ms", "unix_us", "unix_ns", "rfc3339", "unix_ms"}[as]
		extra += "time: {at: /when, as: " + unit + "}\n"
		root.names, root.props = append(root.names, "when"), append(root.props, &shape{types: []string{"number", "integer"}, enum: []string{`"2025-06-15T15:06:40.5Z"`, "1750000000.5", "1750000000123"}})
	}
	if g.one(3) {
		extra += "unknown: refuse\n"
	}
	if g.one(4) {
		extra += "when: {/kind: " + pick(g, []string{"3", `"a"`, "true", "null", "1e0"}) + "}\n"
		root.names, root.props = append(root.names, "kind"), append(root.props, &shape{enum: []string{"3", "3.0", `"a"`, "true", "null", "1"}})
	}
	if g.one(3) {
		extra += "tags: {tag: /tagged}\n"
		kind := pick(g, []string{"string", "number", "boolean", "[string, number, \"null\"]"})
		b.WriteString(", tagged: {type: " + kind + "}")
		root.names, root.props = append(root.names, "tagged"), append(root.props, &shape{})
	}
	maps := ""
	if g.one(3) {
		maps += "  mapped: {at: /state, map: " + pick(g, []string{`{"on": true, "off": false, "lost": null}`, `{1: 10, 2.5: 2.5, true: 3}`, `{"on": "ON", 1: "one"}`, `{"ok": 1, "warn": 2}`}) + "}\n"
		root.names, root.props = append(root.names, "state"), append(root.props, &shape{enum: []string{`"on"`, `"off"`, "1", "2.50", "1.0", "true", `"lost"`, `"ok"`, "[]"}})
	}
	for c := range columns {
		maps += "  " + quoteKey(c) + ": false\n"
	}
	if maps != "" {
		extra += "columns:\n" + maps
	}
	return head + extra + "payload:\n  {type: object" + g.objectKeywords(root) + ", properties: {zz: {type: number}" + b.String() + "}}\n", root
}

func (g *generator) bareDocument(head string) (string, *shape) {
	root := &shape{types: []string{"string"}}
	kind := "string"
	if g.format == "value" {
		kind = pick(g, []string{"number", "integer", "boolean", "string"})
	}
	doc := head + "payload: {type: " + kind + g.keywords(kind, root) + "}\n"
	if g.one(3) {
		doc += "columns: {value: {at: \"\", map: {1: true, 2: false, \"ok\": null}}}\n"
	}
	return doc, root
}

func quoteKey(s string) string {
	r := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	return `"` + r.Replace(s) + `"`
}

// schema writes the properties of an object; every column that would hold JSON
// goes to columns, to be left out.
func (g *generator) schema(b *strings.Builder, s *shape, prefix string, depth int, columns map[string]string) {
	for _, name := range g.someNames(prefix == "") {
		child := &shape{}
		s.names, s.props = append(s.names, name), append(s.props, child)
		column := prefix + name
		b.WriteString(", " + quoteKey(name) + ": ")
		switch kind := g.IntN(8); {
		case kind == 0 && depth < 4:
			child.types = []string{"object"}
			b.WriteString("{type: object" + g.objectKeywords(child) + ", properties: {q: {type: string, enum: [a, bb]}")
			child.names, child.props = append(child.names, "q"), append(child.props, &shape{enum: []string{`"a"`, `"bb"`}})
			g.schema(b, child, column+".", depth+1, columns)
			b.WriteString("}}")
		case kind == 1 && depth < 4:
			child.types = []string{"array"}
			child.items = &shape{}
			item := pick(g, []string{"number", "integer", "string", "boolean"})
			limits := ""
			if g.one(2) {
				limits = fmt.Sprintf(", minItems: %d, maxItems: %d", g.IntN(2), 1+g.IntN(3))
			}
			b.WriteString("{type: array, items: {type: " + item + g.keywords(item, child.items) + "}" + limits + "}")
			columns[column] = ""
		case kind == 2:
			b.WriteString("{}")
			columns[column] = ""
		default:
			kind := pick(g, []string{"number", "number", "integer", "string", "boolean", "string"})
			words := kind
			if g.one(5) {
				words = "[" + kind + `, "null"]`
			}
			b.WriteString("{type: " + words + g.keywords(kind, child) + "}")
		}
	}
}

// someNames are names that no other column has in a different case.
func (g *generator) someNames(top bool) []string {
	var out []string
	for _, n := range names {
		if n == "" || n == "n\n" || n == "q\"" {
			continue // these cannot name columns
		}
		if g.one(4) && len(out) < 6 && (top || n != strings.Repeat("n", 64)) {
			out = append(out, n)
		}
	}
	return out
}

func (g *generator) objectKeywords(s *shape) string {
	out := ""
	if g.one(3) {
		out += ", additionalProperties: " + pick(g, []string{"true", "false"})
		if strings.HasSuffix(out, "false") && s.types[0] == "object" && len(s.names) > 0 {
			out = ", additionalProperties: true"
		}
	}
	if g.one(2) {
		out += ", required: [" + quoteKey(pick(g, []string{"a", "b", "m", "ts", "missing", "q"})) + "]"
	}
	return out
}

// keywords writes checks for a scalar type.
func (g *generator) keywords(kind string, s *shape) string {
	s.types = []string{kind}
	out := ""
	if (kind == "number" || kind == "integer") && g.one(2) {
		low := g.shortNumber()
		s.bounds = append(s.bounds, low)
		out += ", " + pick(g, []string{"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) + ": " + low
	}
	if (kind == "number" || kind == "integer") && g.one(4) {
		out += ", multipleOf: " + pick(g, []string{"1", "0.1", "0.01", "5", "2.5", "7", "1e3", "2147483647", "1e-9"})
	}
	if kind == "string" && g.one(3) {
		out += fmt.Sprintf(", minLength: %d, maxLength: %d", g.IntN(3), g.IntN(12))
	}
	if g.one(4) {
		for range 1 + g.IntN(4) {
			s.enum = append(s.enum, map[string][]string{
				"number": {"1", "2.5", "-0", "100"}, "integer": {"1", "0", "10"}, "boolean": {"true", "false"},
				"string": {`"ok"`, `"warn"`, `"ünknown"`, `""`, `"abc"`},
			}[kind][g.IntN(2)])
		}
		s.enum = dedupe(s.enum)
		out += ", enum: [" + strings.Join(s.enum, ", ") + "]"
	}
	return out
}

func dedupe(in []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func (g *generator) topic() string {
	if g.one(10) {
		return pick(g, []string{"a/b", "a//b", "a/x/b/c", "$a/x/b", "", "a/" + strings.Repeat("y", 130) + "/b", "a/" + strings.Repeat("y", 124) + "/b"})
	}
	return "a/" + pick(g, []string{"x1", "d00123", "", "k-9_z", "Größe", "A", "ab", "abc", "a.b"}) + "/b"
}

// payload makes a payload that mostly obeys, and sometimes breaks something.
func (g *generator) payload(root *shape) []byte {
	var p []byte
	switch {
	case g.format == "text":
		p = []byte(strings.Trim(pick(g, texts), `"`))
		if g.one(8) {
			p = []byte(strings.Repeat("ü", g.IntN(80)))
		}
	case g.format == "value":
		p = []byte(g.space() + g.value(root, 0) + g.space())
		if g.one(5) {
			p = []byte(g.space() + strings.Trim(pick(g, texts), `"`) + g.space())
		}
	default:
		p = []byte(g.space() + g.value(root, 0) + g.space())
	}
	for g.one(3) {
		p = g.mutate(p)
	}
	return p
}

func (g *generator) space() string {
	if g.one(6) {
		return pick(g, []string{" ", "\n", "\t ", "\r\n"})
	}
	return ""
}

func (g *generator) value(s *shape, depth int) string {
	switch {
	case g.one(12) && depth > 0:
		return g.anything(depth)
	case len(s.enum) > 0 && !g.one(4):
		return pick(g, s.enum)
	case len(s.bounds) > 0 && g.one(4):
		return pick(g, s.bounds)
	case len(s.types) == 0:
		return g.anything(depth)
	}
	switch s.types[0] {
	case "object":
		return g.object(s, depth)
	case "array":
		var items []string
		for range g.IntN(4) {
			items = append(items, g.space()+g.value(s.items, depth+1)+g.space())
		}
		return "[" + strings.Join(items, ",") + "]"
	case "string":
		return pick(g, texts)
	case "boolean":
		return pick(g, words[:2])
	case "integer":
		return pick(g, []string{fmt.Sprint(g.IntN(200) - 50), "1.0", "1e2", "1750000000123", "9223372036854775808", fmt.Sprint(g.Int64())})
	}
	if g.one(3) {
		return pick(g, numerals)
	}
	return g.numeral()
}

func (g *generator) object(s *shape, depth int) string {
	var members []string
	order := g.Perm(len(s.names))
	compact := g.one(2) // as devices write it: in the schema's order, without spaces
	if compact {
		slices.Sort(order)
	}
	for _, i := range order {
		if g.one(5) {
			continue
		}
		if compact {
			members = append(members, quoteKey(s.names[i])+":"+g.value(s.props[i], depth+1))
			continue
		}
		members = append(members, g.space()+g.name(s.names[i])+g.space()+":"+g.space()+g.value(s.props[i], depth+1)+g.space())
	}
	for g.one(3) {
		members = append(members, g.name(pick(g, names))+":"+g.anything(depth+1))
	}
	if g.one(30) {
		for i := range g.IntN(36) {
			members = append(members, fmt.Sprintf(`"u%d":%d`, i, i))
		}
	}
	return "{" + g.space() + strings.Join(members, ",") + "}"
}

// name quotes a name, with needless escapes now and then.
func (g *generator) name(s string) string {
	if g.one(8) && s != "" && s[0] < 0x80 {
		return fmt.Sprintf(`"\u%04x%s`, s[0], quoteKey(s[1:])[1:])
	}
	if g.one(40) {
		s += strings.Repeat("ü", g.IntN(40))
	}
	return quoteKey(s)
}

func (g *generator) anything(depth int) string {
	switch n := g.IntN(10); {
	case n == 0 && depth < 10:
		return "[" + g.anything(depth+1) + "]"
	case n == 1 && depth < 10:
		return "{" + g.name(pick(g, names)) + ":" + g.anything(depth+1) + "," + g.name(pick(g, names)) + ":1}"
	case n == 2:
		return `"` + strings.Repeat(pick(g, []string{"x", "ü", `\n`}), g.IntN(150)) + `"`
	}
	return g.scalar()
}

// mutate breaks a payload somewhere.
func (g *generator) mutate(p []byte) []byte {
	if len(p) == 0 {
		return []byte(pick(g, []string{" ", "{", "nul", "-"}))
	}
	p = append([]byte(nil), p...)
	i := g.IntN(len(p))
	switch g.IntN(8) {
	case 0:
		return p[:i]
	case 1:
		return append(p[:i], p[i+1:]...)
	case 2:
		p[i] = pick(g, []byte("{}[],:\"\\0123456789.eE+-tfn \x00\x1f\x7f\x80\xc3\xed\xa0\xf4\xff"))
	case 3:
		j := min(len(p), i+g.IntN(12))
		return append(p[:j:j], p[i:]...)
	case 4:
		return append(p, pick(g, []string{" ", "}", "x", "1", ",", "\n"})...)
	case 5:
		extra := pick(g, []string{"\\ud800", "\\udc00", "\\u00zz", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "\xef\xbb\xbf", "\\x", "\\", "\xf0\x9f\x98", "NaN", "01", "1.", "1e", "--1", ".5"})
		return append(p[:i:i], append([]byte(extra), p[i:]...)...)
	case 6:
		p[i] ^= 1 << g.IntN(8)
	default:
		p = append(p[:i:i], p[min(len(p), i+g.IntN(6)):]...)
	}
	return p
}
