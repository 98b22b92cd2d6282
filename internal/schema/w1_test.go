package schema

import (
	"math"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// envSchema is the document of the first workload.
const envSchema = `name: env
version: 1
topic: plants/{plant}/lines/{line}/devices/{device}/env
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, temperature]
  properties:
    ts:          {type: integer}
    temperature: {type: number, minimum: -40, maximum: 125, x-unit: Cel}
    humidity:    {type: number, minimum: 0, maximum: 100, x-unit: "%RH"}
    pressure:    {type: number, x-unit: hPa}
    battery:     {type: number, minimum: 0, x-unit: V}
    status:      {type: string, enum: [ok, warn, fail]}
`

const (
	envTopic   = "plants/p03/lines/l2/devices/d00123/env"
	envPayload = `{"ts":1750000000123,"temperature":21.53,"humidity":48.21,"pressure":1013.25,"battery":3.71,"status":"ok"}`
	envInvalid = `{"ts":1750000000123,"temperature":212.4,"humidity":48.21,"pressure":1013.25,"battery":3.71,"status":"ok"}`
)

// mustCompile compiles a document that a test relies on.
func mustCompile(t testing.TB, doc string) *Plan {
	t.Helper()
	p, problems := Compile("test.yaml", []byte(doc))
	if len(problems) > 0 {
		t.Fatalf("compile:\n%v\n%s", problems, doc)
	}
	return p
}

// mustRoute returns the route of a topic in the set of the documents.
func mustRoute(t testing.TB, topic string, docs ...string) *Route {
	t.Helper()
	var plans []*Plan
	for _, d := range docs {
		plans = append(plans, mustCompile(t, d))
	}
	s, problems := NewSet(plans)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := s.Route([]byte(topic))
	if r == nil {
		t.Fatalf("no route for %s", topic)
	}
	return r
}

func TestW1(t *testing.T) {
	r := mustRoute(t, envTopic, envSchema)
	p := r.Plans[0]
	if p.Slow() != "" {
		t.Fatalf("not on the fast path: %s", p.Slow())
	}
	c := NewChecker()
	plan, rows, fail := c.Check(r, []byte(envPayload))
	if fail != nil {
		t.Fatalf("refused: %s", fail.Detail())
	}
	if plan != p || len(rows) != 1 || !rows[0].HasTime || rows[0].Time != 1750000000123e6 {
		t.Fatalf("plan %v rows %+v", plan, rows)
	}
	want := []telemetry.Column{
		{Name: "temperature", Type: telemetry.Float, Unit: "Cel"},
		{Name: "humidity", Type: telemetry.Float, Unit: "%RH"},
		{Name: "pressure", Type: telemetry.Float, Unit: "hPa"},
		{Name: "battery", Type: telemetry.Float, Unit: "V"},
		{Name: "status", Type: telemetry.String},
		{Name: "_rest", Type: telemetry.JSON},
	}
	for i, col := range p.Table().Columns {
		if col != want[i] {
			t.Errorf("column %d is %+v, want %+v", i, col, want[i])
		}
	}
	v := rows[0].Values
	for i, f := range []float64{21.53, 48.21, 1013.25, 3.71} {
		if v[i].Null || math.Float64frombits(v[i].Bits) != f {
			t.Errorf("value %d is %+v, want %v", i, v[i], f)
		}
	}
	if string(v[4].Text) != "ok" || !v[5].Null {
		t.Errorf("status %q rest %+v", v[4].Text, v[5])
	}
	captures, ok := p.Captures([]byte(envTopic), nil)
	if !ok || len(captures) != 3 || string(captures[2]) != "d00123" {
		t.Errorf("captures %q", captures)
	}

	_, _, fail = c.Check(r, []byte(envInvalid))
	if fail == nil || fail.Reason != telemetry.ReasonInvalid || fail.Pointer() != "/temperature" || fail.Offset != 34 ||
		fail.Detail() != "temperature: 212.4 is above the maximum 125" {
		t.Errorf("failure %+v: %s at %s", fail, fail.Detail(), fail.Pointer())
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	r := mustRoute(t, envTopic, envSchema)
	c := NewChecker()
	for name, payload := range map[string][]byte{
		"W1": []byte(envPayload), "InvalidW1": []byte(envInvalid), "Malformed": []byte(envPayload[:60]),
		"UnknownProperties": []byte(`{"fw":"1.2","ts":1750000000123,"temperature":21.53,"more":{"a":[1,2]}}`),
		"FullPrecision":     []byte(`{"ts":1750000000123,"temperature":21.530000000000001137}`),
	} {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1000, func() { c.Check(r, payload) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestOtherShapesAllocateNothing(t *testing.T) {
	for _, tc := range []struct{ name, doc, payload string }{
		{"Value", "format: value\n", "21.5"},
		{"Text", "format: text\npayload: {type: string, pattern: '^o[nf]'}\n", "on"},
		{"Rows", "rows: /r/*\npayload: {properties: {s: {type: string}, r: {type: array, items: {type: object, properties: {v: {type: number}}}}}}\n", `{"s":"a","r":[{"v":1},{"v":2,"x":3}]}`},
		{"Escapes", "payload: {properties: {s: {type: string}}}\n", `{"s":"a\u0041","\u0062":1}`},
		{"Local", "time: {at: /t, as: \"local:Europe/Berlin\"}\n", `{"t":"2025-06-15T17:06:40"}`},
		{"TagsAndIntegers", "tags: {m: /d/m}\npayload: {properties: {d: {type: object, properties: {m: {type: string}, up: {type: integer, minimum: 0, multipleOf: 5}}}}}\n", `{"d":{"m":"x","up":125}}`},
		{"BadTime", "time: {at: /t, as: unix_s}\n", `{"t":1750000000123}`},
		{"NotForAnyWhen", "when: {/m: a}\npayload: {properties: {v: {type: number}}}\n", `{"v":"text","m":"b"}`},
		{"ManyUnknownNames", "", `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, c, p := mustRoute(t, "t", head+tc.doc), NewChecker(), []byte(tc.payload)
			if n := testing.AllocsPerRun(500, func() { c.Check(r, p) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func benchmarkCheck(b *testing.B, doc, topic, payload string) {
	r := mustRoute(b, topic, doc)
	c := NewChecker()
	p := []byte(payload)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		c.Check(r, p)
	}
}

func BenchmarkCheck(b *testing.B) {
	const nested = `name: t
version: 1
topic: t
time: {at: /ts, as: rfc3339}
tags: {model: /dev/model}
payload:
  type: object
  required: [ts, dev]
  properties:
    ts:  {type: string}
    dev: {type: object, required: [model], properties: {model: {type: string}, up: {type: integer, minimum: 0}, gps: {type: array, items: {type: number}, maxItems: 3}}}
    v:   {type: object, properties: {u: {type: number}, i: {type: number}, p: {type: number, multipleOf: 0.1}}}
`
	b.Run("W1", func(b *testing.B) { benchmarkCheck(b, envSchema, envTopic, envPayload) })
	b.Run("W1WithSpaces", func(b *testing.B) {
		benchmarkCheck(b, envSchema, envTopic, strings.NewReplacer(",", ", ", ":", ": ").Replace(envPayload))
	})
	b.Run("fullprecision", func(b *testing.B) {
		benchmarkCheck(b, envSchema, envTopic, `{"ts":1750000000123,"temperature":21.530000000000001,"humidity":48.209999999999994,"pressure":1013.2512345678901,"battery":3.7100000000000004,"status":"ok"}`)
	})
	b.Run("nested", func(b *testing.B) {
		benchmarkCheck(b, nested, "t", `{"ts":"2025-06-15T15:06:40.123Z","dev":{"model":"pm5560","up":86400,"gps":[52.52,13.405],"fw":"1.2.3"},"v":{"u":230.1,"i":4.21,"p":968.7}}`)
	})
	b.Run("value", func(b *testing.B) { benchmarkCheck(b, head+"format: value\n", "t", "21.53") })
	b.Run("invalid", func(b *testing.B) { benchmarkCheck(b, envSchema, envTopic, envInvalid) })
	b.Run("library", func(b *testing.B) { benchmarkCheck(b, envSchema+"  minProperties: 2\n", envTopic, envPayload) })
}
