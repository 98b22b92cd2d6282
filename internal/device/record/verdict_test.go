package record

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

const env = `name: env
version: 1
topic: plants/{plant}/lines/{line}/devices/{device}/env
profile: device
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
)

// pair is one schema, as the server runs it and as the firmware does.
type pair struct {
	doc     string
	plan    *schema.Plan
	set     *schema.Set
	bin     []byte
	reader  *Plan
	device  *firmware
	checker *schema.Checker
	got     Reading
}

// newPair compiles a document for both.
func newPair(t testing.TB, f *firmware, doc string) *pair {
	t.Helper()
	plan, bin, problems := schema.CompileDevice("test.yaml", []byte(doc))
	if len(problems) > 0 {
		t.Fatalf("compile:\n%v\n%s", problems, doc)
	}
	set, problems := schema.NewSet([]*schema.Plan{plan})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	reader, err := ParsePlan(bin)
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	if !f.plan(t, bin) {
		t.Fatalf("the firmware does not take the plan of\n%s", doc)
	}
	return &pair{doc: doc, plan: plan, set: set, bin: bin, reader: reader, device: f, checker: schema.NewChecker()}
}

var verdicts = map[telemetry.Reason]int{
	"": 0, telemetry.ReasonMalformed: 1, telemetry.ReasonInvalid: 2, telemetry.ReasonUnrepresentable: 3, telemetry.ReasonTime: 4, telemetry.ReasonUnmatched: 5,
}

// differ runs a payload through both and says how they differ; "" where they do not.
func (p *pair) differ(t testing.TB, topic string, payload []byte, seed uint32) string {
	t.Helper()
	s := p.device.check(t, topic, payload, seed)
	route := p.set.Route([]byte(topic))
	if (route != nil) != s.matched {
		return fmt.Sprintf("topic %q: server %v, device %v", topic, route != nil, s.matched)
	}
	if route == nil {
		return ""
	}
	_, rows, fail := p.checker.Check(route, payload)
	if fail != nil {
		if s.verdict != verdicts[fail.Reason] || s.code != fail.Code() || s.offset != fail.Offset {
			return fmt.Sprintf("server: %s, code %d at %d (%s); device: verdict %d, code %d at %d", fail.Reason, fail.Code(), fail.Offset, fail.Detail(), s.verdict, s.code, s.offset)
		}
		return ""
	}
	if s.verdict != 0 {
		return fmt.Sprintf("server takes it; device: verdict %d, code %d at %d", s.verdict, s.code, s.offset)
	}
	if err := p.reader.Decode(s.body, &p.got); err != nil {
		return fmt.Sprintf("the record %x: %v", s.body, err)
	}
	if again := p.reader.Append(nil, &p.got); !bytes.Equal(again, s.body) {
		return fmt.Sprintf("the record %x is %x when written again", s.body, again)
	}
	if !p.device.opens(t, s.body) {
		return fmt.Sprintf("the device does not read its own record %x", s.body)
	}
	return p.compare(topic, &rows[0])
}

// compare holds a decoded record against the row of the server's plan.
func (p *pair) compare(topic string, row *schema.Row) string {
	g := &p.got
	if g.HasTime != row.HasTime || g.HasTime && g.Time != row.Time {
		return fmt.Sprintf("time: server %v %d, record %v %d", row.HasTime, row.Time, g.HasTime, g.Time)
	}
	captures, _ := p.plan.Captures([]byte(topic), nil)
	for i, c := range captures {
		if !bytes.Equal(c, g.Captures[i]) {
			return fmt.Sprintf("capture %d: server %q, record %q", i, c, g.Captures[i])
		}
	}
	if again := p.reader.Topic(nil, g.Captures); string(again) != topic {
		return fmt.Sprintf("topic %q comes back as %q", topic, again)
	}
	if len(g.Values) != len(row.Values) || len(g.Tags) != len(row.Tags) {
		return fmt.Sprintf("server: %d columns, %d tags; record: %d, %d", len(row.Values), len(row.Tags), len(g.Values), len(g.Tags))
	}
	for i, tag := range row.Tags {
		if r := g.Tags[i]; tag.Null != r.Null || !bytes.Equal(tag.Text, r.Text) {
			return fmt.Sprintf("tag %d: server %+v, record %+v", i, tag, r)
		}
	}
	for i, v := range row.Values {
		column := p.plan.Table().Columns[i]
		r := g.Values[i]
		same := v.Null == r.Null && (v.Null || (column.Type == telemetry.String && bytes.Equal(v.Text, r.Text)) || (column.Type != telemetry.String && v.Bits == r.Bits))
		if f := p.reader.Fields[p.reader.Tags+i]; f.Name != column.Name || f.Type != column.Type || !same {
			return fmt.Sprintf("column %s %s: server %+v, record %+v (%s %s)", column.Name, column.Type, v, r, f.Name, f.Type)
		}
	}
	return ""
}

func TestW1(t *testing.T) {
	p := newPair(t, startFirmware(t), env)
	if d := p.differ(t, envTopic, []byte(envPayload), 1); d != "" {
		t.Fatal(d)
	}
	s := p.device.check(t, envTopic, []byte(envPayload), 1)
	if s.verdict != 0 || len(s.body) > 29 {
		t.Errorf("verdict %d, a body of %d bytes: %x", s.verdict, len(s.body), s.body)
	}
	t.Logf("plan %d bytes, body %d bytes: %x", len(p.bin), len(s.body), s.body)
}

// TestTheLongestRecord fills every byte that the plan promises to a record, with the
// time before the fields, where it is written as it comes, between them and behind.
func TestTheLongestRecord(t *testing.T) {
	p := newPair(t, startFirmware(t), `name: long
version: 1
topic: t
profile: device
time: {at: /ts, as: unix_ns}
payload:
  type: object
  properties:
    ts: {type: integer}
    a:  {type: string}
    b:  {type: boolean}
    c:  {type: string}
`)
	const ts, b = `"ts":-9214559999999999999`, `"b":true`
	a, c := `"a":"`+strings.Repeat("x", 128)+`"`, `"c":"`+strings.Repeat("y", 128)+`"`
	for _, members := range [][]string{{ts, a, b, c}, {a, ts, b, c}, {a, b, c, ts}, {c, b, a, ts}, {ts, c, b, a}, {ts, c, a}, {c, ts, a}, {a, b, c}} {
		payload := "{" + strings.Join(members, ",") + "}"
		for seed := range uint32(8) {
			if d := p.differ(t, "t", []byte(payload), seed); d != "" {
				t.Errorf("%.200s: %s", payload, d)
				break
			}
		}
	}
	if s := p.device.check(t, "t", []byte("{"+strings.Join([]string{ts, a, b, c}, ",")+"}"), 0); len(s.body) != BodyMax(p.bin)-1 {
		t.Errorf("a body of %d bytes, the plan promises %d and one for the fields that are missing", len(s.body), BodyMax(p.bin))
	}
}
