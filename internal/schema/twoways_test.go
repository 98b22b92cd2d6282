package schema

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// boundedColumns is a schema of two numeric columns with bounds.
func boundedColumns(r *rand.Rand) string {
	column := func() string {
		s := fmt.Sprintf(`{"type":%q`, pick(r, []string{"integer", "number"}))
		if r.IntN(2) == 0 {
			s += fmt.Sprintf(`,%q:%s`, pick(r, []string{"minimum", "exclusiveMinimum"}), edgeNumber(r))
		}
		if r.IntN(2) == 0 {
			s += fmt.Sprintf(`,%q:%s`, pick(r, []string{"maximum", "exclusiveMaximum"}), edgeNumber(r))
		}
		return s + "}"
	}
	return fmt.Sprintf(`{"properties":{"a":%s,"temperature":%s}}`, column(), column())
}

// edgeNumber is one of few numbers, or a neighbour that float64 cannot tell from
// it.
func edgeNumber(r *rand.Rand) string {
	n := pick(r, []string{"0", "9", "10", "-40", "0.1", "21.5", "9007199254740992", "9007199254740993", "1e2", "100", "1e400"})
	if r.IntN(3) == 0 && !strings.Contains(n, "e") {
		if !strings.Contains(n, ".") {
			n += "."
		}
		n += pick(r, []string{"0", "0000000000000000000", "0000000000000000001", "00000000000000001"})
	}
	if r.IntN(8) == 0 && n[0] != '-' {
		n = "-" + n
	}
	return n
}

// TestBothWaysExtractTheSame compiles random documents twice, once with a keyword
// that changes nothing but needs the library: both plans give the same table, and
// for every payload the same reason or the same rows.
func TestBothWaysExtractTheSame(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	rows, refused := 0, 0
	for range 500 {
		schema, numbers := diffSchema(r, 0), r.IntN(2) == 0
		if numbers {
			schema = boundedColumns(r)
		}
		if !strings.HasPrefix(schema, "{") || schema == "{}" {
			continue
		}
		doc := `{"name":"t","version":1,"topic":"t"`
		if r.IntN(2) == 0 {
			doc += `,"null_values":["ok",null,-40,true,""]`
		}
		if r.IntN(2) == 0 {
			doc += `,"unknown":"` + pick(r, []string{"keep", "drop", "refuse"}) + `"`
		}
		if r.IntN(3) == 0 {
			doc += `,"tags":{"model":"/b"}`
		}
		if r.IntN(3) == 0 {
			doc += `,"time":{"at":"/ts","as":"unix_s"}`
		}
		doc += `,"payload":`
		fast, _ := Compile("t.json", []byte(doc+schema+"}"))
		slow, _ := Compile("t.json", []byte(doc+strings.Replace(schema, "{", `{"minProperties":0,`, 1)+"}"))
		if strings.HasSuffix(schema, "{}") || fast == nil || fast.Slow() != "" {
			continue
		}
		if slow == nil || slow.Slow() == "" {
			t.Fatalf("%s%s: no plan with the library", doc, schema)
		}
		if a, b := columns(fast), columns(slow); a != b {
			t.Fatalf("%s%s:\n%s\n%s", doc, schema, a, b)
		}
		for range 30 {
			payload := []byte(diffPayload(r, 0))
			if numbers {
				payload = fmt.Appendf(nil, `{"a":%s,"temperature":%s}`, edgeNumber(r), edgeNumber(r))
			}
			p1, rows1, fail1 := NewChecker().Check(&Route{Plans: []*Plan{fast}}, payload)
			p2, rows2, fail2 := NewChecker().Check(&Route{Plans: []*Plan{slow}}, payload)
			if (fail1 == nil) != (fail2 == nil) || fail1 != nil && fail1.Reason != fail2.Reason {
				words := func(f *Failure) string {
					if f == nil {
						return "taken"
					}
					return string(f.Reason) + ": " + f.Detail()
				}
				t.Fatalf("%s%s}\n%s\nplan:    %s\nlibrary: %s", doc, schema, payload, words(fail1), words(fail2))
			}
			if fail1 != nil {
				refused++
				continue
			}
			if a, b := render(p1, rows1), render(p2, rows2); a != b {
				t.Fatalf("%s%s}\n%s\nplan:    %s\nlibrary: %s", doc, schema, payload, a, b)
			}
			if len(rows1) > 0 {
				rows++
			}
		}
	}
	t.Logf("%d taken, %d refused", rows, refused)
	if rows < 100 || refused < 100 {
		t.Error("the payloads are not near the edges")
	}
}
