package schema

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestInfer(t *testing.T) {
	t.Run("ProposesTypesRequiredAndTime", func(t *testing.T) {
		doc, err := Infer([][]byte{
			[]byte(envPayload),
			[]byte(`{"ts":1750000001123,"temperature":21,"humidity":null,"battery":3.70,"status":"ok","dev":{"fw":"1.2","up":7},"err":[1,2]}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		want := `name: readings
version: 1
topic: "devices/{device}/readings"
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [battery, humidity, status, temperature, ts]
  properties:
    battery: {type: number}
    humidity: {type: ["null", number]}
    pressure: {type: number}
    status: {type: string}
    temperature: {type: number}
    ts: {type: integer}
    dev:
      type: object
      required: [fw, up]
      properties:
        fw: {type: string}
        up: {type: integer}
    err:
      type: array
      items:
        type: integer
`
		if string(doc) != want {
			t.Errorf("got\n%s\nwant\n%s", doc, want)
		}
	})
	t.Run("FindsTheListOfReadings", func(t *testing.T) {
		doc, err := Infer([][]byte{[]byte(`{"gw":"a","readings":[{"t":"2025-06-15T15:06:40Z","v":1},{"t":"2025-06-15T15:06:41Z","v":2,"time":1}]}`)})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`rows: "/readings/*"`, `time: {at: "/readings/*/t", as: rfc3339}`, `device_time: {at: "/readings/*/time"}`} {
			if !strings.Contains(string(doc), want) {
				t.Errorf("no %s in\n%s", want, doc)
			}
		}
	})
	t.Run("BareValuesAndTexts", func(t *testing.T) {
		for _, tc := range []struct{ sample, want string }{
			{"21.5", "format: value\npayload: {type: number}\n"}, {"true", "format: value\npayload: {type: boolean}\n"}, {"online", "format: text\n"},
		} {
			doc, err := Infer([][]byte{[]byte(tc.sample), []byte(tc.sample)})
			if err != nil || !strings.HasSuffix(string(doc), tc.want) {
				t.Errorf("%s gives %v\n%s", tc.sample, err, doc)
			}
		}
	})
	t.Run("MixedSamplesAreRefused", func(t *testing.T) {
		for _, samples := range [][]string{{}, {"online", `{"a":1}`}, {`{"a":1}`, "online"}, {"\xff"}} {
			var in [][]byte
			for _, s := range samples {
				in = append(in, []byte(s))
			}
			if doc, err := Infer(in); err == nil {
				t.Errorf("%q gives\n%s", samples, doc)
			}
		}
	})
	t.Run("ItsProposalTakesItsSamples", func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 5))
		taken := 0
		for range 300 {
			var samples [][]byte
			for range 1 + r.IntN(4) {
				samples = append(samples, []byte(diffPayload(r, 0)))
			}
			doc, err := Infer(samples)
			if err != nil {
				continue // names that no column can have, or bare values among objects
			}
			p := mustCompile(t, string(doc))
			for _, s := range samples {
				if _, _, fail := NewChecker().Check(&Route{Plans: []*Plan{p}}, s); fail != nil && fail.kind < failOverflow {
					t.Fatalf("%s\nrefuses %s: %s", doc, s, fail.Detail())
				}
			}
			taken++
		}
		if taken < 50 {
			t.Errorf("only %d proposals compiled", taken)
		}
	})
}
