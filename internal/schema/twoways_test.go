package schema

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestBothWaysExtractTheSame compiles random documents twice, once with a keyword
// that changes nothing but needs the library: both plans give the same table, and
// for every payload the same reason or the same rows.
func TestBothWaysExtractTheSame(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	rows, refused := 0, 0
	for range 500 {
		schema := diffSchema(r, 0)
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
