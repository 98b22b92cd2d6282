package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// strictJSON is RFC 8259 as Weir reads it, by the standard library: one value,
// UTF-8, no name twice, at most MaxDepth levels. Escaped surrogates are left to
// the caller.
func strictJSON(p []byte) bool {
	if !json.Valid(p) || !utf8.Valid(p) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(p))
	dec.UseNumber()
	type level struct {
		names map[string]bool // nil for lists
		value bool            // the next string is a value
	}
	var stack []level
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return true
		}
		if err != nil {
			return false
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if n := len(stack); n > 0 && stack[n-1].names != nil {
			top := &stack[n-1]
			if !top.value {
				name := tok.(string)
				if top.names[name] {
					return false
				}
				top.names[name], top.value = true, true
				continue
			}
			top.value = false
		}
		if d, ok := tok.(json.Delim); ok {
			l := level{}
			if d == '{' {
				l.names = map[string]bool{}
			}
			if stack = append(stack, l); len(stack) > MaxDepth {
				return false
			}
		}
	}
}

func FuzzStrictJSON(f *testing.F) {
	for _, s := range []string{envPayload, `{"a":[1,{"b":null}],"\u0061":2}`, `[1.5e-3,"é\n",true]`, "{\"a\":\"\xff\"}", `{"temperature":1,"ts":2,"x":{"y":1,"y":1}}`} {
		f.Add([]byte(s))
	}
	p, problems := Compile("f.yaml", []byte(head+"payload: {properties: {a: {}, temperature: {type: [number, string, array, object]}, ts: {properties: {a: {}}, items: {items: {}}}}}\n"))
	if p == nil {
		f.Fatal(problems)
	}
	r, c := &Route{Plans: []*Plan{p}}, NewChecker()
	f.Fuzz(func(t *testing.T, payload []byte) {
		if bytes.Contains(bytes.ToLower(payload), []byte(`\ud`)) {
			return
		}
		want := strictJSON(payload)
		if got := wellFormed(payload); got != want {
			t.Fatalf("%q: %v, want %v", payload, got, want)
		}
		_, rows, fail := c.Check(r, payload)
		if got := fail == nil || fail.kind > failDuplicate; got != want {
			t.Fatalf("%q: the plan says %v (%s), want %v", payload, got, fail.Detail(), want)
		}
		if fail != nil {
			_, _ = fail.Detail(), fail.Pointer()
			if fail.Offset > len(payload) {
				t.Fatalf("offset %d of %d bytes", fail.Offset, len(payload))
			}
		}
		for _, row := range rows {
			for i, v := range row.Values {
				if p.Table().Columns[i].Name == "_rest" && !v.Null && !json.Valid(v.Text) {
					t.Fatalf("_rest is %q", v.Text)
				}
			}
		}
	})
}

// dropEmpty removes a name from the object at another, and that if it is empty or
// null then.
func dropEmpty(m map[string]any, at, name string) {
	inner, ok := m[at].(map[string]any)
	delete(inner, name)
	if m[at] == nil || ok && len(inner) == 0 {
		delete(m, at)
	}
}

func TestRestIsWhatTheSchemaDoesNotName(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 6))
	p := mustCompile(t, head+`payload: {properties: {a: {}, ts: {type: [object, array, string, number, "null"], properties: {b: {}, é: {type: object, properties: {"": {}}}}}}}
`)
	p2 := mustCompile(t, head+`payload: {properties: {a: {}, ts: {properties: {b: {}, temperature: {properties: {x/y~z: {}}}}}}}
`)
	kept := 0
	for range 5000 {
		payload := []byte(diffPayload(r, 0))
		for _, plan := range []*Plan{p, p2} {
			_, rows, fail := NewChecker().Check(&Route{Plans: []*Plan{plan}}, payload)
			v, _ := decode(payload, skipSpace(payload, 0))
			m, isObject := v.(map[string]any)
			if fail != nil || !isObject {
				continue
			}
			delete(m, "a")
			if plan == p {
				delete(m, "ts") // several types: one JSON column holds it whole
			} else if ts, ok := m["ts"].(map[string]any); ok {
				delete(ts, "b")
				dropEmpty(ts, "temperature", "x/y~z")
				if len(ts) == 0 {
					delete(m, "ts")
				}
			} else if m["ts"] == nil {
				delete(m, "ts")
			}
			rest := rows[0].Values[len(rows[0].Values)-1]
			if rest.Null != (len(m) == 0) {
				t.Fatalf("%s: _rest %q, want %v", payload, rest.Text, m)
			}
			if rest.Null {
				continue
			}
			if !wellFormed(rest.Text) {
				t.Fatalf("%s: _rest %q is not JSON", payload, rest.Text)
			}
			if got, _ := decode(rest.Text, 0); !reflect.DeepEqual(got, any(m)) {
				t.Fatalf("%s: _rest %q, want %v", payload, rest.Text, m)
			}
			kept++
		}
	}
	if kept < 500 {
		t.Errorf("only %d payloads kept something", kept)
	}
}

func TestOnePlanServesManyGoroutines(t *testing.T) {
	r := mustRoute(t, envTopic, envSchema)
	orders := []string{
		envPayload, `{"status":"ok","battery":3.71,"pressure":1013.25,"humidity":48.21,"temperature":21.53,"ts":1750000000123}`,
		`{"temperature":21.53,"ts":1750000000123,"status":"ok","battery":3.71,"humidity":48.21,"pressure":1013.25}`,
	}
	want := ""
	{
		p, rows, _ := NewChecker().Check(r, []byte(envPayload))
		want = render(p, rows)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			c := NewChecker()
			for i := range 500 {
				p, rows, fail := c.Check(r, []byte(orders[(g+i)%len(orders)]))
				if fail != nil || render(p, rows) != want {
					t.Errorf("%v", fail)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestLargePayloadsGiveTheirMemoryBack(t *testing.T) {
	r := mustRoute(t, "t", head+"rows: /*\npayload: {type: array, items: {type: object, properties: {a: {type: number}}}}\n")
	c := NewChecker()
	big := "[" + strings.TrimSuffix(strings.Repeat(`{"a":1,"b":"\u0041"},`, 20_000), ",") + "]"
	if _, rows, fail := c.Check(r, []byte(big)); fail != nil || len(rows) != 20_000 {
		t.Fatalf("%d rows, %v", len(rows), fail)
	}
	if _, rows, fail := c.Check(r, []byte(`[{"a":1}]`)); fail != nil || len(rows) != 1 || cap(c.rows) > 64 || cap(c.valueArena) > 64 || cap(c.arena) > 64 {
		t.Errorf("kept %d rows, %d values, %d bytes", cap(c.rows), cap(c.valueArena), cap(c.arena))
	}
	many := "[" + strings.TrimSuffix(strings.Repeat("{},", MaxRows+1), ",") + "]"
	if _, _, fail := c.Check(r, []byte(many)); fail == nil || fail.Detail() != fmt.Sprintf("%d: more than 65536 readings in one payload", MaxRows) {
		t.Errorf("too many readings: %v", fail)
	}
}
