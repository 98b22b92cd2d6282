package schema

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// matchFilter is the standard's matching, written plainly (MQTT 5 section 4.7).
func matchFilter(filter, topic string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, l := range f {
		if l == "#" {
			return true
		}
		if i >= len(n) || l != "+" && l != n[i] {
			return false
		}
	}
	return len(f) == len(n)
}

func TestTopics(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	words := []string{"a", "b", "", "$SYS", "é"}
	topic := func() string {
		var parts []string
		for range 1 + r.IntN(4) {
			parts = append(parts, pick(r, words))
		}
		return strings.Join(parts, "/")
	}
	filter := func() string {
		parts := strings.Split(topic(), "/")
		for i := range parts {
			if r.IntN(3) == 0 {
				parts[i] = "+"
			}
		}
		if r.IntN(4) == 0 {
			parts[len(parts)-1] = "#"
		}
		return strings.Join(parts, "/")
	}
	var topics []string
	for range 400 {
		if s := topic(); s != "" {
			topics = append(topics, s)
		}
	}
	for range 1000 {
		a, b := filter(), filter()
		if a == "" || b == "" {
			continue
		}
		p, _, err := parsePattern(a)
		q, _, err2 := parsePattern(b)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		var tree branch
		tree.add(p.levels, 1)
		both, onlyQ := false, false
		for _, s := range topics {
			_, inP := p.match([]byte(s), nil)
			_, inQ := q.match([]byte(s), nil)
			if inP != matchFilter(a, s) {
				t.Fatalf("%q matches %q: %v", a, s, inP)
			}
			if found := len(tree.find([]byte(s), true, true, nil)); (found == 1) != inP || found > 1 {
				t.Fatalf("the tree of %q finds %d for %q", a, found, s)
			}
			both = both || inP && inQ
			onlyQ = onlyQ || inQ && !inP
		}
		if both && !p.overlaps(&q) || both && !q.overlaps(&p) {
			t.Fatalf("%q and %q overlap, and are said not to", a, b)
		}
		if onlyQ && p.covers(&q) {
			t.Fatalf("%q does not cover %q, and is said to", a, b)
		}
	}
	for pair, want := range map[[2]string]bool{
		{"a/+", "+/b"}: true, {"a/b", "a/c"}: false, {"a/#", "a"}: true, {"#", "$SYS/a"}: false, {"+/a", "$SYS/a"}: false, {"a/#", "b/#"}: false,
	} {
		p, _, _ := parsePattern(pair[0])
		q, _, _ := parsePattern(pair[1])
		if got := p.overlaps(&q); got != want {
			t.Errorf("%v overlap: %v", pair, got)
		}
	}
}

func doc(name string, version int, topic, rest string) string {
	return fmt.Sprintf("name: %s\nversion: %d\ntopic: %s\n%s", name, version, topic, rest)
}

func TestSet(t *testing.T) {
	t.Run("RoutesAreSharedAndNewestFirst", func(t *testing.T) {
		var plans []*Plan
		for _, d := range []string{
			doc("a", 1, "x/{id}/a", ""), doc("a", 3, "x/{id}/a", ""), doc("a", 2, "x/{id}/a", ""), doc("b", 1, "x/+/b", ""), doc("c", 1, "y/#", ""),
		} {
			plans = append(plans, mustCompile(t, d))
		}
		s, problems := NewSet(plans)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		r := s.Route([]byte("x/1/a"))
		if r == nil || len(r.Plans) != 3 || r.Plans[0].Version() != 3 || r.Plans[2].Version() != 1 {
			t.Fatalf("route %+v", r)
		}
		if s.Route([]byte("x/2/a")) != r {
			t.Error("two topics of one candidate list have two routes")
		}
		if s.Route([]byte("y")) == nil || s.Route([]byte("y/1/2")) == nil || s.Route([]byte("z")) != nil || s.Route(nil) != nil {
			t.Error("matching is wrong")
		}
		if got := strings.Join(s.Filters(), " "); got != "x/+/a x/+/b y/#" {
			t.Errorf("filters %s", got)
		}
		if next, _ := NewSet(plans); next.Generation() <= s.Generation() {
			t.Error("the generation does not grow")
		}
	})

	t.Run("OverlapsAreProblemsUnlessWhenPartsThem", func(t *testing.T) {
		a := mustCompile(t, doc("a", 1, "x/+", ""))
		b := mustCompile(t, doc("b", 1, "+/y", ""))
		s, problems := NewSet([]*Plan{a, b})
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "overlap") || len(s.Plans()) != 1 || s.Plans()[0] != a {
			t.Errorf("problems %v, plans %d", problems, len(s.Plans()))
		}
		w1 := mustCompile(t, doc("a", 1, "x/+", "when: {/m: one}\n"))
		w2 := mustCompile(t, doc("b", 1, "+/y", "when: {/m: two}\n"))
		w3 := mustCompile(t, doc("c", 1, "+/y", "when: {/n: two}\n"))
		if _, problems := NewSet([]*Plan{w1, w2}); len(problems) != 0 {
			t.Error(problems)
		}
		if _, problems := NewSet([]*Plan{w1, w3}); len(problems) != 1 {
			t.Errorf("different pointers do not part: %v", problems)
		}
	})

	t.Run("TheSameVersionTwiceIsAProblem", func(t *testing.T) {
		a := mustCompile(t, envSchema)
		if s, problems := NewSet([]*Plan{a, mustCompile(t, envSchema)}); len(problems) != 1 || len(s.Plans()) != 1 {
			t.Error(problems)
		}
	})

	t.Run("VersionsThatDoNotFitOneTableAreAProblem", func(t *testing.T) {
		a := mustCompile(t, doc("a", 1, "x", "payload: {properties: {v: {type: number}}}\n"))
		b := mustCompile(t, doc("a", 2, "x", "payload: {properties: {v: {type: string}}}\n"))
		_, problems := NewSet([]*Plan{a, b})
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "v: the type changed from float to string") {
			t.Fatal(problems)
		}
		if s, problems := NewSet([]*Plan{a, b.WithTable("a_v2")}); len(problems) != 0 || len(s.Plans()) != 2 {
			t.Error(problems)
		}
	})
}

func TestCheckFilesReportsEveryFile(t *testing.T) {
	dir := t.TempDir()
	good, broken, clash := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "c.yaml")
	writeFile(t, good, doc("a", 1, "x/+", ""))
	writeFile(t, broken, doc("b", 0, "y", ""))
	writeFile(t, clash, doc("c", 1, "x/y", ""))
	set, problems := CheckFiles([]string{good, broken, clash, filepath.Join(dir, "none.yaml")})
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s:%d:%d", filepath.Base(p.File), p.Line, p.Column))
	}
	if s := strings.Join(got, " "); s != "b.yaml:2:10 none.yaml:0:0 c.yaml:1:1" || len(set.Plans()) != 1 {
		t.Errorf("%s\n%v", s, problems)
	}
}

func TestSeveralPlansOnOneTopic(t *testing.T) {
	check := func(t *testing.T, r *Route, payload, want string) {
		t.Helper()
		p, rows, fail := NewChecker().Check(r, []byte(payload))
		got := ""
		if fail != nil {
			got = string(fail.Reason) + ": " + fail.Detail()
			if fail.Plan != nil {
				got += fmt.Sprintf(" (%s %d)", fail.Plan.Name(), fail.Plan.Version())
			}
		} else {
			got = fmt.Sprintf("%s %d: %s", p.Name(), p.Version(), render(p, rows))
		}
		if got != want {
			t.Errorf("%s\ngives %s\nwant  %s", payload, got, want)
		}
	}
	t.Run("TheNewestVersionThatTakesItWins", func(t *testing.T) {
		r := mustRoute(t, "x", doc("a", 1, "x", "payload: {properties: {v: {type: integer}}}\nunknown: drop\n"),
			doc("a", 2, "x", "payload: {required: [w], properties: {v: {type: integer}, w: {type: integer}}}\nunknown: drop\n"))
		check(t, r, `{"v":1,"w":2}`, "a 2: v=1 w=2")
		check(t, r, `{"v":1}`, "a 1: v=1")
		check(t, r, `{"v":"x"}`, `invalid: v: "x" is a string, not an integer (a 2)`)
		check(t, r, `{"v":`, `malformed: the payload ends too early, at byte 5 (a 2)`)
		check(t, r, `{"v":1e30,"w":1}`, `unrepresentable: v: 1e30 is beyond what int64 holds (a 2)`)
	})
	t.Run("WhenTellsThemApart", func(t *testing.T) {
		r := mustRoute(t, "x", doc("a", 1, "x", "when: {/m: one}\npayload: {properties: {v: {type: integer}}}\n"),
			doc("b", 1, "x", "when: {/m: two}\npayload: {properties: {v: {type: string}, m: {type: string}}}\n"),
			doc("c", 1, "x", "when: {/m: 3, /deep/er: null}\npayload: {properties: {v: {type: boolean}}}\n"))
		check(t, r, `{"m":"one","v":1}`, "a 1: v=1")
		check(t, r, `{"v":"text","m":"two"}`, "b 1: v=text")
		check(t, r, `{"v":true,"m":3.0,"deep":{"er":null,"x":1}}`, `c 1: v=true _rest={"deep":{"x":1}}`)
		check(t, r, `{"v":"text","m":"one"}`, `invalid: v: "text" is a string, not an integer (a 1)`)
		check(t, r, `{"v":1,"m":"two"}`, `invalid: v: 1 is a number, not a string (b 1)`)
		check(t, r, `{"v":1,"m":"four"}`, "unmatched: no schema of the topic has a `when` that this payload meets")
		check(t, r, `{"v":1}`, "unmatched: no schema of the topic has a `when` that this payload meets")
		check(t, r, `{"v":1,"m":"four"`, "malformed: the payload ends too early, at byte 17 (a 1)")
		check(t, r, `{"v":true,"m":3}`, "unmatched: no schema of the topic has a `when` that this payload meets")
	})
}

func TestCompare(t *testing.T) {
	base := doc("a", 1, "x/{dev}", "tags: {model: /m}\npayload: {properties: {i: {type: integer}, f: {type: number, x-unit: Cel}, s: {type: string}}}\n")
	cases := []struct{ name, doc, want string }{
		{"Itself", base, ""},
		{"ColumnsAdded", strings.Replace(base, "i: {type: integer}", "n: {type: string}, i: {type: integer}", 1), ""},
		{"AColumnRemoved", strings.Replace(base, "i: {type: integer}, ", "", 1), ""},
		{"IntWidenedToFloat", strings.Replace(base, "type: integer", "type: number", 1), ""},
		{"ConstraintsChanged", strings.Replace(base, "type: integer", "type: integer, minimum: 3", 1), ""},
		{"TopicWithTheSameCaptures", strings.Replace(base, "x/{dev}", "y/+/{dev}", 1), ""},
		{"FloatNarrowedToInt", strings.Replace(base, "type: number", "type: integer", 1), "f: the type changed from float to int"},
		{"TypeChanged", strings.Replace(base, "type: string", "type: boolean", 1), "s: the type changed from string to bool"},
		{"UnitChanged", strings.Replace(base, "Cel", "K", 1), "f: the unit changed from Cel to K"},
		{"ATagAdded", strings.Replace(base, "{dev}", "{dev}/{slot}", 1), "slot: the tag is new, so that series would not go on"},
		{"ATagRemoved", strings.Replace(base, "tags: {model: /m}\n", "", 1), "model: the tag is gone, so that series would run together"},
		{"TagsInAnotherOrder", doc("a", 1, "'{model}/{dev}'", ""), "model: the tags stand in another order"},
		{"AColumnBecameATag", strings.Replace(base, "{model: /m}", "{model: /m, s: /s}", 1), "s: the tag is new, so that series would not go on; s: a column became a tag"},
	}
	old := mustCompile(t, base)
	if old.Table().Tags[0] != "dev" || old.Table().Tags[1] != "model" || old.PayloadTags() != 1 {
		t.Fatalf("tags %v", old.Table().Tags)
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var words []string
			for _, b := range Compare(old, mustCompile(t, tc.doc)) {
				words = append(words, b.String())
			}
			if got := strings.Join(words, "; "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
