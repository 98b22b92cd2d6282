package schema

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// render writes rows as people read them: one line a row.
func render(p *Plan, rows []Row) string {
	var lines []string
	t := p.Table()
	for _, row := range rows {
		var parts []string
		if row.HasTime {
			parts = append(parts, time.Unix(0, row.Time).UTC().Format(time.RFC3339Nano))
		}
		for i, tag := range row.Tags {
			if !tag.Null {
				parts = append(parts, fmt.Sprintf("%s=%s", t.Tags[len(t.Tags)-p.PayloadTags()+i], tag.Text))
			}
		}
		for i, v := range row.Values {
			switch col := t.Columns[i]; {
			case v.Null && (v.Bits != 0 || v.Text != nil):
				parts = append(parts, col.Name+"=NULL WITH A VALUE")
			case v.Null:
			case col.Type == telemetry.Float:
				parts = append(parts, fmt.Sprintf("%s=%g", col.Name, math.Float64frombits(v.Bits)))
			case col.Type == telemetry.Int:
				parts = append(parts, fmt.Sprintf("%s=%d", col.Name, int64(v.Bits)))
			case col.Type == telemetry.Bool:
				parts = append(parts, fmt.Sprintf("%s=%v", col.Name, v.Bits == 1))
			default:
				parts = append(parts, fmt.Sprintf("%s=%s", col.Name, v.Text))
			}
		}
		lines = append(lines, strings.Join(parts, " "))
	}
	return strings.Join(lines, "\n")
}

// columns writes a table's columns as name:type.
func columns(p *Plan) string {
	var parts []string
	for _, c := range p.Table().Columns {
		s := c.Name + ":" + c.Type.String()
		if c.Unit != "" {
			s += "(" + c.Unit + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

const head = "name: t\nversion: 1\ntopic: t\n"

// step is one payload and what becomes of it: rows, or "reason: detail".
type step struct{ payload, want string }

func TestExtraction(t *testing.T) {
	cases := []struct {
		name, doc, columns string
		steps              []step
	}{
		{"NestedPropertiesAreNamedByTheirPath", `
payload: {properties: {a: {type: object, properties: {b: {type: number}, c: {type: object, properties: {d: {type: integer}}}}}, e: {type: boolean}}}
`, "a.b:float a.c.d:int e:bool _rest:json", []step{
			{`{"a":{"b":1.5,"c":{"d":7}},"e":true}`, "a.b=1.5 a.c.d=7 e=true"},
			{`{"e":false,"a":{"c":{"d":1e2}}}`, "a.c.d=100 e=false"},
			{`{}`, ""},
			{`{"a":{"x":1,"c":{"y":[1, 2]}},"z":null}`, `_rest={"a":{"x":1,"c":{"y":[1, 2]}},"z":null}`},
			{`{"a":{"c":{"d":1.5}}}`, "invalid: a.c.d: 1.5 is a number, not an integer"},
		}},
		{"ListsAndUntypedValuesAreJSON", `
payload: {properties: {l: {type: array, items: {type: number}}, o: {type: object}, any: {}, s: {type: [string, number]}}}
unknown: drop
`, "l:json o:json any:json s:json", []step{
			{`{"l":[1, 2.5],"o":{"x":"\u0041"},"any":"t","s":1,"more":1}`, `l=[1, 2.5] o={"x":"\u0041"} any="t" s=1`},
			{`{"l":[1,"a"]}`, "invalid: l.1: \"a\" is a string, not a number"},
		}},
		{"NullableTypes", `
payload: {properties: {f: {type: [number, "null"]}, i: {type: [integer, "null"]}, s: {type: ["null", string]}}}
unknown: drop
`, "f:float i:int s:string", []step{
			{`{"f":null,"i":null,"s":null}`, ""},
			{`{"f":1,"i":2,"s":"x"}`, "f=1 i=2 s=x"},
		}},
		{"EscapedTextIsUnescaped", `
payload: {properties: {s: {type: string}, r: {type: string}}}
`, "s:string r:string _rest:json", []step{
			{`{"s":"a\n\u00e9\ud83d\ude00","r":"x\"y","\u0071":"\u0041"}`, "s=a\né😀 r=x\"y _rest={\"\\u0071\":\"\\u0041\"}"},
		}},
		{"UnrepresentableNumbers", `
payload: {properties: {i: {type: integer}, f: {type: number}}}
unknown: drop
`, "i:int f:float", []step{
			{`{"i":9223372036854775807}`, "i=9223372036854775807"},
			{`{"i":-9223372036854775808}`, "i=-9223372036854775808"},
			{`{"i":9223372036854775808}`, "unrepresentable: i: 9223372036854775808 is beyond what int64 holds"},
			{`{"i":1e400}`, "unrepresentable: i: 1e400 is beyond what int64 holds"},
			{`{"f":1e400}`, "unrepresentable: f: 1e400 is beyond what float64 holds"},
			{`{"f":-1e400}`, "unrepresentable: f: -1e400 is beyond what float64 holds"},
			{`{"f":1e-400}`, "f=0"},
			{`{"i":1.0}`, "i=1"},
			{`{"f":1e400,"i":"x"}`, `invalid: i: "x" is a string, not an integer`},
		}},
		{"BoundsOfColumns", `
payload: {properties: {i: {type: integer, minimum: -5, exclusiveMaximum: 10}, f: {type: number, minimum: 9.0000000000000001, maximum: 20.1}}}
unknown: drop
`, "i:int f:float", []step{
			{`{"i":-5,"f":20.1}`, "i=-5 f=20.1"},
			{`{"i":-6}`, "invalid: i: -6 is below the minimum -5"},
			{`{"i":10}`, "invalid: i: 10 is not below 10"},
			{`{"i":1e1}`, "invalid: i: 1e1 is not below 10"},
			{`{"f":9}`, "invalid: f: 9 is below the minimum 9.0000000000000001"},
			{`{"f":20.1000000000000000001}`, "invalid: f: 20.1000000000000000001 is above the maximum 20.1"},
			{`{"f":1e400}`, "invalid: f: 1e400 is above the maximum 20.1"},
		}},
		{"UnknownIsRefusedAtEveryLevel", `
payload: {properties: {a: {type: number}, o: {type: object, properties: {x: {type: number}}}}}
unknown: refuse
`, "a:float o.x:float", []step{
			{`{"a":1,"o":{"x":2}}`, "a=1 o.x=2"},
			{`{"a":1,"b":2}`, "invalid: b: the schema does not allow this property"},
			{`{"o":{"y":2}}`, "invalid: o.y: the schema does not allow this property"},
		}},
		{"AClosedSchemaHasNoRest", `
payload: {properties: {a: {type: number}}, additionalProperties: false}
`, "a:float", []step{{`{"a":1,"b":2}`, "invalid: b: the schema does not allow this property"}}},
		{"RequiredAloneDoesNotNameAColumn", `
payload: {required: [id], properties: {a: {type: number}}}
`, "a:float _rest:json", []step{
			{`{"a":1,"id":[1]}`, `a=1 _rest={"id":[1]}`},
			{`{"a":1}`, "invalid: id is missing"},
		}},
		{"TagsFromThePayload", `
tags: {model: /dev/model, slot: /slot}
payload: {properties: {slot: {type: integer}, v: {type: number}}}
`, "v:float _rest:json", []step{
			{`{"v":1,"slot":3,"dev":{"model":"m\u0031","fw":"2"}}`, `model=m1 slot=3 v=1 _rest={"dev":{"fw":"2"}}`},
			{`{"v":1}`, "v=1"},
			{`{"v":1,"dev":7}`, "v=1 _rest={\"dev\":7}"},
		}},
		{"ColumnsRenameMapAndLeaveOut", `
columns: {state: {at: /st, map: {online: true, offline: false, gone: null}}, lat: /gps/0, lon: {at: /gps/1, unit: lon}, t: /temp, noise: false}
payload: {properties: {st: {type: string}, temp: {type: number, x-unit: Cel}, gps: {type: array, items: {type: number}}, noise: {type: number}}}
unknown: drop
`, "gps:json state:bool lat:float lon:float(lon) t:float(Cel)", []step{
			{`{"st":"online","temp":2,"gps":[1.5,2.5,3],"noise":4}`, "gps=[1.5,2.5,3] state=true lat=1.5 lon=2.5 t=2"},
			{`{"st":"gone","gps":[7]}`, "gps=[7] lat=7"},
			{`{"st":"other"}`, `invalid: st: "other" is not in the column's map`},
		}},
		{"MapsMayGiveNumbersAndText", `
columns: {n: {at: /n, map: {low: 1, high: 2.5}}, s: {at: /s, map: {1: one, true: yes}}}
unknown: drop
`, "n:float s:string", []step{{`{"n":"low","s":1.0}`, "n=1 s=one"}, {`{"n":"high","s":true}`, "n=2.5 s=yes"}, {`{"s":"true"}`, `invalid: s: "true" is not in the column's map`}}},
		{"NullValuesStandInForAnyColumn", `
null_values: [unavailable, "", -9999, null, false]
payload: {required: [f], properties: {f: {type: number, minimum: 0}, i: {type: integer}, s: {type: string, enum: [on]}, b: {type: boolean}}}
unknown: drop
`, "f:float i:int s:string b:bool", []step{
			{`{"f":"unavailable","i":-9999,"s":"","b":null}`, ""},
			{`{"f":-9999.0,"b":false}`, ""},
			{`{"f":1,"i":2,"s":"on","b":true}`, "f=1 i=2 s=on b=true"},
			{`{"f":"unknown"}`, `invalid: f: "unknown" is a string, not a number`},
			{`{"f":-1}`, "invalid: f: -1 is below the minimum 0"},
			{`{"i":1}`, "invalid: f is missing"},
		}},
		{"RowsOneReadingPerElement", `
time: {at: /readings/*/t, as: unix_s}
rows: /readings/*
tags: {model: /model, probe: /readings/*/probe}
payload:
  properties:
    model: {type: string}
    site: {type: string}
    readings: {type: array, minItems: 1, items: {type: object, required: [t], properties: {t: {type: number}, v: {type: number}}}}
`, "site:string v:float _rest:json", []step{
			{
				`{"site":"s","readings":[{"t":1,"v":1.5,"probe":"a"},{"t":2.5,"x":{"y":1}}],"model":"m","fw":3}`,
				"1970-01-01T00:00:01Z model=m probe=a site=s v=1.5 _rest={\"fw\":3}\n1970-01-01T00:00:02.5Z model=m site=s _rest={\"x\":{\"y\":1},\"fw\":3}",
			},
			{`{"readings":[{"t":1,"fw":"row"}],"fw":"outer"}`, `1970-01-01T00:00:01Z _rest={"fw":"row"}`},
			{`{"readings":[]}`, "invalid: readings: has fewer than 1 elements"},
			{`{"readings":[{"t":1},{"v":2}]}`, "invalid: readings.1: t is missing"},
			{`{"readings":{"t":1}}`, "invalid: readings: {\"t\":1} is an object, not a list"},
		}},
		{"RowsOfBareValuesWithATimeOutside", `
time: {at: /t, as: unix_ms}
rows: /v/*
columns: {amps: /v/*}
payload: {properties: {v: {type: array, items: {type: number}}, t: {type: integer}, unit: {type: string}}}
unknown: drop
`, "unit:string amps:float", []step{
			{`{"v":[1,2],"t":1000,"unit":"A"}`, "1970-01-01T00:00:01Z unit=A amps=1\n1970-01-01T00:00:01Z unit=A amps=2"},
			{`{"v":[],"t":1000}`, ""},
			{`{"v":[1]}`, "bad_time: the payload has no time at /t"},
		}},
		{"RowsOfTheWholePayload", `
rows: /*
payload: {type: array, items: {type: object, properties: {a: {type: integer}}}}
`, "a:int _rest:json", []step{{`[{"a":1},{"b":2},{}]`, "a=1\n_rest={\"b\":2}\n"}}},
		{"BareValues", "format: value\n", "value:float", []step{
			{"21.5", "value=21.5"},
			{" 1e2\n", "value=100"},
			{"true", "invalid: true is a boolean, not a number"},
			{"", "malformed: the payload is empty"},
			{"1 2", "malformed: bytes stand after the end of the value, at byte 1"},
			{"{}", "invalid: {} is an object, not a number"},
		}},
		{"BareBooleansWithAName", "format: value\npayload: {type: boolean}\ncolumns: {on: \"\"}\nnull_values: [unavailable]\n", "on:bool", []step{
			{"true", "on=true"}, {"unavailable", ""}, {"false", "on=false"},
		}},
		{"BareText", "format: text\npayload: {type: string, maxLength: 3}\ncolumns: {state: {at: \"\"}}\n", "state:string", []step{
			{"né", "state=né"}, {"", "state="}, {"abcd", `invalid: "abcd" is longer than 3 characters`}, {"a\xff", "malformed: the text is not UTF-8, at byte 1"},
		}},
		{"BareTextWithAMap", "format: text\ncolumns: {on: {at: \"\", map: {ON: true, OFF: false}}}\n", "on:bool", []step{
			{"ON", "on=true"}, {"on", `invalid: "on" is not in the column's map`},
		}},
		{"TheLibrarysSchemaExtractsTheSame", `
time: {at: /ts, as: unix_ms}
null_values: [n/a]
payload:
  $defs: {temp: {type: number, maximum: 125, x-unit: Cel}}
  required: [ts]
  properties: {ts: {type: integer}, temperature: {$ref: "#/$defs/temp"}}
  anyOf: [{required: [a], properties: {a: {type: integer}}}, {required: [b], properties: {b: {type: string}}}]
`, "temperature:float(Cel) a:int b:string _rest:json", []step{
			{`{"ts":1000,"temperature":1.5,"a":3,"x":1}`, `1970-01-01T00:00:01Z temperature=1.5 a=3 _rest={"x":1}`},
			{`{"ts":1000,"temperature":"n/a","b":"q"}`, `1970-01-01T00:00:01Z b=q`},
			{`{"ts":1000,"temperature":126,"b":"q"}`, `invalid: temperature: maximum: got 126, want 125`},
			{`{"ts":1000,"temperature":1e5000,"b":"q"}`, `invalid: temperature: `},
			{`{"ts":1000}`, "invalid: missing property 'a'"},
			{`{"ts":1000,"a":1e30}`, "unrepresentable: a: 1e30 is beyond what int64 holds"},
			{`{"ts":1000,"a":"text","b":"q"}`, "unrepresentable: a: \"text\" does not fit the type of its column"},
			{`{"ts":1000,"a":1,}`, "malformed: a name in double quotes must stand at byte 17"},
		}},
		{"LongEnums", "unknown: drop\npayload: {properties: {s: {enum: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, 1, \"1\"]}}}\n", "s:json", []step{
			{`{"s":"q"}`, `s="q"`},
			{`{"s":1.0}`, `s=1.0`},
			{`{"s":"1"}`, `s="1"`},
			{`{"s":"r"}`, `invalid: s: "r" is not one of "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", …`},
			{`{"s":[]}`, `invalid: s: [] is not one of "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", …`},
		}},
		{"ManyColumns", manyColumns(130), "", []step{
			{`{"c0":1,"c64":2,"c129":3}`, "c0=1 c64=2 c129=3"},
			{`{"c129":3,"c64":2}`, "invalid: c0 is missing"},
			{`{"c0":1,"c64":2,"c129":3,"c64":4}`, "malformed: the name \"c64\" stands twice in one object, at byte 25"},
			{`{"c0":1,"c129":3}`, "invalid: c64 is missing"},
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p := mustCompile(t, head+tc.doc)
			if got := columns(p); tc.columns != "" && got != tc.columns {
				t.Errorf("columns\n%s, want\n%s", got, tc.columns)
			}
			r, c := &Route{Plans: []*Plan{p}}, NewChecker()
			for range 2 { // again, with what the first round left in the scratch memory
				for _, s := range tc.steps {
					_, rows, fail := c.Check(r, []byte(s.payload))
					got := render(p, rows)
					if fail != nil {
						got = string(fail.Reason) + ": " + fail.Detail()
					}
					if got != s.want && !(strings.HasSuffix(s.want, ": ") && strings.HasPrefix(got, s.want)) {
						t.Errorf("%s\ngives %s\nwant  %s", s.payload, got, s.want)
					}
				}
			}
		})
	}
}

func manyColumns(n int) string {
	var b strings.Builder
	b.WriteString("unknown: drop\npayload:\n  required: [c0, c64]\n  properties:\n")
	for i := range n {
		fmt.Fprintf(&b, "    c%d: {type: number}\n", i)
	}
	return b.String()
}
