package query

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// plainly matches as the definition says, trying everything.
func (w wildcards) plainly(s, p string) bool {
	if p == "" {
		return s == ""
	}
	if p[0] == w.many {
		for i := range s {
			if w.plainly(s[i:], p[1:]) {
				return true
			}
		}
		return w.plainly("", p[1:])
	}
	if s == "" {
		return false
	}
	n, rest, ok := w.step(s, p)
	return ok && w.plainly(s[n:], rest)
}

func TestPatternsMatchAsTheyAreDefined(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	draw := func(of []string, most int) string {
		var b strings.Builder
		for range random.IntN(most + 1) {
			b.WriteString(of[random.IntN(len(of))])
		}
		return b.String()
	}
	matched := 0
	for range 20_000 {
		s := draw([]string{"a", "B", "b", "é", "日"}, 7)
		for w, words := range map[wildcards][]string{
			{many: '%', one: '_', fold: true}: {"a", "A", "b", "é", "%", "_"},
			{many: '*', one: '?', sets: true}: {"a", "B", "é", "*", "?", "[ab]", "[^a]", "[a"},
		} {
			p := draw(words, 6)
			got, want := w.match(s, p), w.plainly(s, p)
			if got != want {
				t.Fatalf("seed %d: %q and %q: %v, want %v", seed, s, p, got, want)
			}
			if got && utf8.RuneCountInString(s) > 2 {
				matched++
			}
		}
	}
	if matched < 500 {
		t.Errorf("seed %d: only %d matched", seed, matched)
	}
}

// Each many used to be tried with each place of all before it: this one for longer
// than anybody lives.
func TestAPatternOfManyWildcardsEnds(t *testing.T) {
	s := strings.Repeat("a", 2000)
	if like(s, strings.Repeat("%a", 40)+"%b") || !like(s, strings.Repeat("%a", 40)) || glob(s, strings.Repeat("*a", 40)+"*b") {
		t.Error("it matches otherwise")
	}
}
