package schema

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The differential test: over random schemas of the fast set and random payloads
// near their edges, the one-pass plan and the full library give one verdict.

var diffNames = []string{"a", "b", "ts", "temperature", "a_name_of_more_than_16_bytes", "é", `q"t`, "", "x/y~z"}

var diffNumbers = []string{
	"0", "-0", "1", "-1", "10", "9.999999999999999999", "9.9999999999999999999999999999", "10.0", "1e1", "100e-1", "10.00000000000000000001",
	"0.1", "0.10000000000000000000000000001", "0.1000000000000000055511151231257827", "0.3", "1e-1", "9007199254740993", "9007199254740992",
	"9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e400", "-1e400", "1e-400", "123456789012345678901234567890",
	"2.5", "1.0", "1e2", "1e308", "4.9e-324", "0.5", "-40", "125", "125.0000000000000001", "0e999", "1e5000", "1e-5000",
}

var diffStrings = []string{`""`, `"a"`, `"ok"`, `"12345678"`, `"123456789"`, `"é"`, `"\u00e9"`, `"😀"`, `"\ud83d\ude00"`, `"a\nb"`, `"warning that is long"`}

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

func diffScalar(r *rand.Rand) string {
	switch r.IntN(8) {
	case 0:
		return pick(r, []string{"true", "false", "null"})
	case 1, 2, 3:
		return pick(r, diffStrings)
	case 4:
		return randomNumber(r)
	}
	return pick(r, diffNumbers)
}

func schemaNumber(r *rand.Rand) string {
	for {
		if n := pick(r, diffNumbers); !strings.Contains(n, "5000") {
			return n
		}
	}
}

func diffSchema(r *rand.Rand, depth int) string {
	if r.IntN(12) == 0 {
		return pick(r, []string{"true", "false", "{}"})
	}
	var parts []string
	add := func(k, v string) { parts = append(parts, strconv.Quote(k)+":"+v) }
	types := []string{"null", "boolean", "integer", "number", "string", "array", "object"}
	switch r.IntN(4) {
	case 0:
	case 1:
		add("type", fmt.Sprintf(`[%q,%q]`, types[r.IntN(3)], types[3+r.IntN(4)]))
	default:
		add("type", strconv.Quote(pick(r, types)))
	}
	if r.IntN(3) == 0 {
		add(pick(r, []string{"minimum", "exclusiveMinimum"}), schemaNumber(r))
	}
	if r.IntN(3) == 0 {
		add(pick(r, []string{"maximum", "exclusiveMaximum"}), schemaNumber(r))
	}
	if r.IntN(6) == 0 {
		add("multipleOf", pick(r, []string{"0.1", "2", "0.01", "1e2", "7", "0.25", "1e-10", "3"}))
	}
	if r.IntN(6) == 0 {
		add("minLength", pick(r, []string{"0", "1", "2.0", "8"}))
	}
	if r.IntN(6) == 0 {
		add("maxLength", pick(r, []string{"0", "1", "2", "9"}))
	}
	if r.IntN(8) == 0 {
		add("pattern", pick(r, []string{`"^a"`, `"^[a-z]+$"`, `"é"`, `"[0-9]{3}"`}))
	}
	if r.IntN(6) == 0 {
		var values []string
		for range 1 + r.IntN(4) {
			if v := diffScalar(r); !strings.Contains(v, "5000") {
				values = append(values, v)
			}
		}
		if len(values) > 0 {
			if r.IntN(3) == 0 {
				add("const", values[0])
			} else {
				add("enum", "["+strings.Join(values, ",")+"]")
			}
		}
	}
	if r.IntN(5) == 0 {
		add(pick(r, []string{"minItems", "maxItems"}), strconv.Itoa(r.IntN(3)))
	}
	if depth < 3 {
		if r.IntN(3) == 0 {
			add("items", diffSchema(r, depth+1))
		}
		if depth == 0 || r.IntN(2) == 0 {
			var props, required []string
			seen := map[string]bool{}
			for range r.IntN(5) {
				name := pick(r, diffNames)
				if seen[name] {
					continue
				}
				seen[name] = true
				q, _ := json.Marshal(name)
				props = append(props, string(q)+":"+diffSchema(r, depth+1))
				if r.IntN(3) == 0 {
					required = append(required, string(q))
				}
			}
			add("properties", "{"+strings.Join(props, ",")+"}")
			if len(required) > 0 {
				add("required", "["+strings.Join(required, ",")+"]")
			}
			if r.IntN(3) == 0 {
				add("additionalProperties", pick(r, []string{"true", "false"}))
			}
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func diffPayload(r *rand.Rand, depth int) string {
	space := func() string { return strings.Repeat(" ", max(0, r.IntN(12)-9)) }
	k := r.IntN(10)
	if depth == 0 {
		k = 9 - r.IntN(5)
	}
	switch {
	case k < 6 || depth > 3:
		return diffScalar(r)
	case k == 6:
		var items []string
		for range r.IntN(4) {
			items = append(items, space()+diffPayload(r, depth+1)+space())
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	var members []string
	seen := map[string]bool{}
	for range r.IntN(6) {
		name := pick(r, diffNames)
		if seen[name] {
			continue
		}
		seen[name] = true
		q, _ := json.Marshal(name)
		members = append(members, space()+string(q)+space()+":"+space()+diffPayload(r, depth+1))
	}
	return "{" + strings.Join(members, ",") + space() + "}"
}

// diffPlan is a plan of the fast set and the library's compilation of its schema.
type diffPlan struct {
	*Plan
	reference *jsonschema.Schema
}

// compileFast returns nil where the schema is none, or not of the fast set.
func compileFast(t *testing.T, schema string) *diffPlan {
	t.Helper()
	plan, _ := compileSchema(schema, nil)
	if plan == nil || plan.Slow() != "" {
		return nil
	}
	tree, problems := readTree("t.json", []byte(schema))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	reference, err := compileWithLibrary(tree.plain(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &diffPlan{plan, reference}
}

// compareVerdicts runs one schema and payload through the fast plan and the full
// library.
func compareVerdicts(t *testing.T, plan *diffPlan, schema string, payload []byte) {
	t.Helper()
	got := verdict(t, plan.Plan, payload)
	v, end := decode(payload, skipSpace(payload, 0))
	if end < 0 {
		t.Fatalf("not decoded: %s", payload)
	}
	err := plan.reference.Validate(v)
	if want := err == nil; got != want {
		_, _, fail := NewChecker().Check(&Route{Plans: []*Plan{plan.Plan}}, payload)
		detail := ""
		if fail != nil {
			detail = fail.Detail()
		}
		t.Fatalf("the plan says %v (%s), the library says %v (%v)\nschema  %s\npayload %s", got, detail, want, err, schema, payload)
	}
}

func TestFastPlanAndLibraryAgree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	schemas, valid, invalid := 800, 0, 0
	for range schemas {
		schema := diffSchema(r, 0)
		plan := compileFast(t, schema)
		if plan == nil {
			continue
		}
		for range 40 {
			payload := []byte(diffPayload(r, 0))
			compareVerdicts(t, plan, schema, payload)
			if verdict(t, plan.Plan, payload) {
				valid++
			} else {
				invalid++
			}
		}
	}
	t.Logf("%d schemas, %d valid and %d invalid payloads", schemas, valid, invalid)
	if valid < 1000 || invalid < 1000 {
		t.Error("the payloads are not near the edges of their schemas")
	}
}

func FuzzFastPlanAndLibraryAgree(f *testing.F) {
	f.Add(`{"type":"object","required":["a"],"properties":{"a":{"type":"number","minimum":0.1}}}`, `{"a":0.1}`)
	f.Add(`{"properties":{"a":{"enum":[1,"x",null]}},"additionalProperties":false}`, `{"a":1.0}`)
	f.Add(`{"items":{"type":"integer","multipleOf":3},"maxItems":2}`, `[3,6e0]`)
	f.Fuzz(func(t *testing.T, schema, payload string) {
		if len(schema) > 1000 || len(payload) > 2000 {
			return
		}
		plan := compileFast(t, schema)
		if plan == nil || !wellFormed([]byte(payload)) {
			return
		}
		compareVerdicts(t, plan, schema, []byte(payload))
	})
}
