package schema

import (
	"reflect"
	"strings"
	"testing"
)

// quickSchema has a property of every kind that is taken quickly, and others.
const quickSchema = `name: quick
version: 1
topic: t
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts]
  properties:
    ts:     {type: integer}
    float:  {type: number, minimum: -40, maximum: 125.5}
    over:   {type: number, exclusiveMinimum: 0}
    int:    {type: integer, minimum: -9007199254740993, maximum: 100000}
    text:   {type: string}
    enum:   {type: string, enum: [ok, warn, "", 'a"b', longer-than-eight]}
    length: {type: string, maxLength: 3}
    flag:   {type: boolean}
    a-name-longer-than-sixteen-bytes: {type: number}
    inner:  {type: object, properties: {x: {type: number}, y: {type: string}}}
`

// slowly takes the short way out of a plan.
func slowly(n *node) {
	if n == nil || n.object == nil {
		return
	}
	n.object.quick = nil
	for i := range n.object.props {
		slowly(n.object.props[i].node)
	}
}

// outcome is all that Check says of a payload, by values.
type outcome struct {
	rows    []Row
	reason  string
	detail  string
	pointer string
	offset  int
}

func outcomeOf(c *Checker, r *Route, payload string) outcome {
	_, rows, fail := c.Check(r, []byte(payload))
	if fail != nil {
		return outcome{reason: string(fail.Reason), detail: fail.Detail(), pointer: fail.Pointer(), offset: fail.Offset}
	}
	for i := range rows {
		rows[i].Values = append(rows[i].Values[:0:0], rows[i].Values...)
		for k := range rows[i].Values {
			v := &rows[i].Values[k]
			if v.Null {
				v.Bits, v.Text = 0, nil // whatever was there before
			}
			if r.Plans[0].Table().Columns[k].Type.Textual() {
				v.Bits = 0
			} else {
				v.Text = nil
			}
			v.Text = append([]byte(nil), v.Text...)
		}
	}
	return outcome{rows: append([]Row(nil), rows...)}
}

// quickPair checks by the plan with its short way, and by the plan without.
type quickPair struct {
	quick, slow           *Route
	quickCheck, slowCheck *Checker
}

func newQuickPair(t testing.TB) *quickPair {
	p := &quickPair{
		quick: mustRoute(t, "t", quickSchema), slow: mustRoute(t, "t", quickSchema),
		quickCheck: NewChecker(), slowCheck: NewChecker(),
	}
	slowly(p.slow.Plans[0].root)
	return p
}

// agree checks a payload twice: the second time its names are those that are
// guessed.
func (p *quickPair) agree(t *testing.T, payload string) {
	t.Helper()
	for range 2 {
		got, want := outcomeOf(p.quickCheck, p.quick, payload), outcomeOf(p.slowCheck, p.slow, payload)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nquickly %+v\nslowly  %+v", payload, got, want)
		}
	}
}

func quickPayloads() []string {
	numbers := []string{
		"0", "-0", "1", "-1", "21.53", "-40", "-40.0", "-40.1", "125.5", "125.50", "125.51", "1.", ".5", "-", "-.5", "01", "-01", "00.5",
		"0.5", "0.00", "1e2", "1.5e1", "1E-2", "12345.6", "123456.7", "1234567.8", "0.123456", "0.1234567", "0.12345678", "-0.12345678901234",
		"12.345678901234567", "99.999999999999999999", "12345678", "012345678", "-0123456789", "123456789012345", "1234567890123456", "99999", "100000", "100001",
		"-9007199254740993", "-9007199254740992", "-9007199254740994", "9223372036854775807", "1750000000123", "9214646399999", "9214646400000",
		"-9214560000000", "1e400", "0.0", "1.0", "12345678.", "1234567.", "12345678.5", "NaN", "+1", "1 ", " 1", "\t1", "1\n", "  1", "0 1",
	}
	strs := []string{`""`, `"ok"`, `"warn"`, `"warns"`, `"o"`, `"a\"b"`, `"longer-than-eight"`, `"abc"`, `"abcd"`, `"äöü"`, `"\u0041"`, `"a`, "\"\x01\"", "\"\xff\"", `"seven77"`, `"eight888"`, `"` + strings.Repeat("x", 40) + `"`}
	words := []string{"null", "true", "false", "nul", "[]", "{}", "[1]", `{"x":1.5,"y":"z"}`, `{"y":"z","x":1,"z":2}`, `{"x":1,"x":2}`, ""}
	values := append(append(numbers, strs...), words...)
	var out []string
	for _, v := range values {
		out = append(out, `{"ts":`+v+`,"float":21.5,"enum":"ok"}`)
		for _, name := range []string{"ts", "float", "over", "int", "text", "enum", "length", "flag", "a-name-longer-than-sixteen-bytes", "inner", "unknown"} {
			out = append(out,
				`{"ts":1,"`+name+`":`+v+`}`, // too short for some ways, and ts twice
				`{"`+name+`":`+v+`,"ts":1750000000123}`,
				`{"ts": 1750000000123, "`+name+`": `+v+`, "float": 1.5, "enum": "ok"}`)
		}
	}
	return append(out, "", "{", "{}", `{"ts":1}`, `{"ts":1,}`, `{"ts":1,,"int":1}`, `{"ts":1 ,"int":1}`, `{"ts":1,"int":1}x`, `{"ts":1}}`,
		`{"ts":1,"int":1,"ts":1}`, `{"ts":1,"text":"a","text":"a"}`, `{"ts":1,  "int":1}`, `{"ts" :1,"int":1}`, `{"int":1}`, `{"ts":1,"int":1`)
}

func TestQuickWayAgreesWithTheSlow(t *testing.T) {
	p := newQuickPair(t)
	taken := 0
	for i := range p.quick.Plans[0].root.object.quick {
		if p.quick.Plans[0].root.object.quick[i].kind != quickNone {
			taken++
		}
	}
	if taken != 6 {
		t.Fatalf("%d properties are taken quickly", taken)
	}
	for _, s := range quickPayloads() {
		p.agree(t, s)
		for cut := range s {
			p.agree(t, s[:cut])
		}
	}
}

func FuzzQuickWayAgreesWithTheSlow(f *testing.F) {
	for _, s := range quickPayloads() {
		f.Add(s)
	}
	p := newQuickPair(f)
	f.Fuzz(func(t *testing.T, payload string) { p.agree(t, payload) })
}
