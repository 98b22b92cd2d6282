package schema

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// problemsOf compiles a document that must not compile and returns its problems
// one a line, without the file's name.
func problemsOf(t *testing.T, file, doc string) string {
	t.Helper()
	p, problems := Compile(file, []byte(doc))
	if p != nil || len(problems) == 0 {
		t.Fatalf("compiled:\n%s", doc)
	}
	return strings.ReplaceAll(problems.Error(), file+":", "")
}

func TestDocumentProblems(t *testing.T) {
	cases := []struct{ name, file, doc, want string }{
		{"AllAtOnceWithTheirPlace", "e.yaml", `name: Env
version: 0
topic: plants/{plant}/x{line}/#/y
formt: json
time: {at: ts, as: unix_millis, zone: x}
payload:
  type: object
  properties:
    ts: {type: interger}
    a: {type: number, minimun: 3}
unknown: keeep
expect_every: 60
retention: 90 days
rollups: [1m, 1m, 0.5s]
on_invalid: ignore
`, `1:7: name: "Env" cannot name a table (lower-case letters, digits and _, beginning with a letter, at most 63)
2:10: version: must be a whole number from 1
3:8: topic: in "x{line}" a wildcard or capture is only part of a level; it must be all of it (as plants/{plant}/+/env or devices/#)
4:1: formt: unknown key (did you mean format?)
5:12: time.at: "ts" is not a JSON pointer: it must begin with / (a JSON pointer (RFC 6901), as /dev/model)
5:20: time.as: "unix_millis" is not a way to write a time (one of unix_s, unix_ms, unix_us, unix_ns, rfc3339, local:Zone)
5:33: time.zone: unknown key
9:16: payload.properties.ts.type: value must be one of array, boolean, integer, null, number, object, string
10:23: payload.properties.a.minimun: is not a keyword of JSON Schema (did you mean minimum? keywords of your own begin with x-)
11:10: unknown: "keeep" is not a choice (did you mean keep?)
12:15: expect_every: "60" is not a span of time (a number with ms, s, m, h, d or w, as 60s or 1h30m)
13:12: retention: "90 days" is not a span of time (a number with ms, s, m, h, d or w, as 60s or 1h30m)
14:15: rollups.1: stands twice
14:19: rollups.2: "0.5s" is not a span of time (a number with ms, s, m, h, d or w, as 60s or 1h30m)
15:13: on_invalid: "ignore" is not a choice (one of quarantine, drop)`},
		{"MissingKeys", "e.yaml", "format: json\n", "1:1: name: is missing\n1:1: version: is missing\n1:1: topic: is missing"},
		{"NotAMapping", "e.yaml", "- a\n", "1:1: a schema document is a mapping, not a list (it begins with name, version and topic)"},
		{"Empty", "e.yaml", "# nothing\n", "1:1: the document is empty"},
		{"NotYAML", "e.yaml", "name: [a\n", "1:7: not YAML: sequence end token ']' not found"},
		{"TwoDocuments", "e.yaml", "name: a\n---\nname: b\n", "3:1: a second document begins here (a file holds one schema document)"},
		{"KeyTwice", "e.yaml", "name: a\nname: b\n", `2:1: not YAML: mapping key "name" already defined at [1:1]`},
		{"OctalNumber", "e.yaml", head + "payload: {minimum: 010}\n", "4:20: 010 is not a decimal number (write it in decimal, without leading zeros or underscores)"},
		{"HugeNumber", "e.yaml", head + "payload: {minimum: 1e5000}\n", "4:20: the number has too many digits (at most 1000 decimal places on either side of the point)"},
		{"NotJSON", "e.json", "{\n\t\"name\": \"a\",\n\t\"name\": \"b\"\n}", `3:2: not JSON: the name "name" stands twice in one object`},
		{"JSONCutShort", "e.json", `{"name": "a"`, "1:13: not JSON: the document ends too early"},
		{"JSONComma", "e.json", `{"name": "a",}`, "1:14: not JSON: a name in quotes must stand here"},
		{"ReservedColumns", "e.yaml", head + "payload:\n  properties:\n    time: {type: number}\n    Received_At: {type: number}\n", `6:11: columns.time: "time" is a column that every table has (give it a name of its own, as columns: {device_time: {at: /time}})
7:18: columns.Received_At: "Received_At" is a column that every table has (give it a name of its own, as columns: {device_time: {at: /time}})`},
		{"ColumnsThatDifferByCase", "e.yaml", head + "payload:\n  properties:\n    temp: {type: number}\n    Temp: {type: number}\n", `7:11: columns.Temp: "Temp" is already a column (names are the same in SQL if only their case differs; columns: {other_name: {at: …}} gives another)`},
		{"ATagAndAColumn", "e.yaml", "name: t\nversion: 1\ntopic: a/{dev}\npayload: {properties: {dev: {type: string}}}\n", `4:29: columns.dev: "dev" is already a tag (names are the same in SQL if only their case differs; columns: {other_name: {at: …}} gives another)`},
		{"ACaptureTwice", "e.yaml", "name: t\nversion: 1\ntopic: a/{dev}/{dev}\n", `3:8: topic: "dev" is already a tag (names are the same in SQL if only their case differs; columns: {other_name: {at: …}} gives another)`},
		{"WordsOfSQL", "e.yaml", "name: order\nversion: 1\ntopic: a\n", `1:7: name: "order" is a word of SQL or kept for Weir`},
		{"NamesOfViews", "e.yaml", "name: env_v2\nversion: 1\ntopic: a\n", `1:7: name: "env_v2" ends as the views do that Weir makes (names ending in _latest or in _v and a number are kept for them)`},
		{"NullWithoutQuotes", "e.yaml", head + "payload: {properties: {a: {type: [number, null]}}}\n", `4:43: payload.properties.a.type.1: value must be one of array, boolean, integer, null, number, object, string (the type is written "null", in quotes)`},
		{"LookAround", "e.yaml", head + "payload: {properties: {a: {type: string, pattern: '(?=a)'}}}\n", "4:51: payload.properties.a.pattern: (?=a) is not valid regex: error parsing regexp: invalid or unsupported Perl syntax: `(?=` (patterns are RE2, without look-around and back references)"},
		{"AReferenceOutside", "e.yaml", head + "payload: {$ref: 'file:///etc/passwd'}\n", "4:10: payload: the schema cannot be compiled: failing loading \"file:///etc/passwd\": file:///etc/passwd is outside of the document (references must stay within the document)"},
		{"ATimeThatIsNoNumber", "e.yaml", head + "time: {at: /ts, as: unix_s}\npayload: {properties: {ts: {type: string}}}\n", "4:12: time.at: the payload's schema has no number there (rfc3339 and local:Zone are texts)"},
		{"AZoneThatIsNone", "e.yaml", head + "time: {at: /ts, as: \"local:Europe/Atlantis\"}\n", `4:21: time.as: "Europe/Atlantis" is not a time zone (a name of the IANA database, as local:Europe/Berlin)`},
		{"RowsWithoutAStar", "e.yaml", head + "rows: /a\n", "4:7: rows: must end in /* and hold no other * (as /readings/*, or /* where the payload is the list)"},
		{"RowsThatAreNoList", "e.yaml", head + "rows: /a/*\npayload: {properties: {a: {type: object}}}\n", "4:7: rows: the payload's schema has no list there"},
		{"AStarElsewhere", "e.yaml", head + "rows: /a/*\ntags: {x: /b/*}\n", "5:11: tags.x: * stands only where rows has it"},
		{"APointerIntoRows", "e.yaml", head + "rows: /a/*\ntags: {x: /a/0}\n", "5:11: tags.x: /a/0 leads into the list that rows names (elements are reached by /a/*/…)"},
		{"APointerThatTheSchemaRefuses", "e.yaml", head + "tags: {x: /b}\npayload: {additionalProperties: false}\n", "4:11: tags.x: /b is refused by additionalProperties: false (name it in properties)"},
		{"ATagThatIsAnObject", "e.yaml", head + "tags: {x: /b}\npayload: {properties: {b: {type: object}}}\n", "4:11: tags.x: a tag is one value, not a list or an object"},
		{"AMapOfMixedTypes", "e.yaml", head + "columns: {x: {at: /x, map: {a: 1, b: text}}}\n", "4:38: columns.x.map: gives a string where others give a int"},
		{"AColumnThatIsNotThere", "e.yaml", head + "columns: {x: false}\n", "4:11: columns.x: there is no column of that name to leave out"},
		{"PartsOfABareValue", "e.yaml", head + "format: value\nwhen: {/a: 1}\ncolumns: {x: /a}\n", `5:8: when: only format json has parts to look at
6:14: columns.x: a bare value has no parts (its pointer is "")`},
		{"UnitsAreText", "e.yaml", head + "payload: {properties: {a: {type: number, x-unit: 5}}}\n", "4:50: payload.properties.a.x-unit: a unit is 1 to 32 characters of text (as in SenML (RFC 8428): Cel, %RH, V)"},
		{"RollupsOfASortThatIsNone", "e.yaml", head + "rollups: [7d, {every: 7m}, {keep: 30d}, {every: 1h, keep: 1s}, {every: 2h, age: 5d}, [1m]]\n", `4:11: rollups.0: a bucket is whole seconds wide and divides a day (as 10s, 1m, 5m, 1h, 1d; wider buckets are answered from these)
4:23: rollups.1.every: a bucket is whole seconds wide and divides a day (as 10s, 1m, 5m, 1h, 1d; wider buckets are answered from these)
4:28: rollups.2: every is missing (the width of the buckets, as 1h)
4:59: rollups.3.keep: must be at least 1m0s
4:76: rollups.4.age: unknown key
4:86: rollups.5: "" is not a span of time (a number with ms, s, m, h, d or w, as 60s or 1h30m)`},
		{"AliasesThatExplode", "e.yaml", bomb(), "the document is too large or too deep"},
		{"TooLarge", "e.yaml", strings.Repeat("#", MaxDocument+1), " the document has 1048577 bytes; at most 1048576 are read"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got := problemsOf(t, tc.file, tc.doc)
			if got != tc.want && !(tc.name == "AliasesThatExplode" && strings.Contains(got, tc.want)) {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// bomb is a document whose aliases double at every line.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 20; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

func TestDocumentsInJSONAndYAMLAreTheSame(t *testing.T) {
	yaml := mustCompile(t, envSchema)
	const text = `{
	"name": "env", "version": 1, "topic": "plants/{plant}/lines/{line}/devices/{device}/env",
	"time": {"at": "/ts", "as": "unix_ms"},
	"payload": {"type": "object", "required": ["ts", "temperature"], "properties": {
		"ts": {"type": "integer"}, "temperature": {"type": "number", "minimum": -40, "maximum": 125, "x-unit": "Cel"},
		"humidity": {"type": "number", "minimum": 0, "maximum": 100, "x-unit": "%RH"},
		"pressure": {"type": "number", "x-unit": "hPa"}, "battery": {"type": "number", "minimum": 0, "x-unit": "V"},
		"status": {"type": "string", "enum": ["ok", "warn", "fail"]}}}
}`
	json, problems := Compile("env.json", []byte(text))
	if json == nil {
		t.Fatal(problems)
	}
	// A store gives documents back without the name of their file.
	if p, problems := Compile("env", []byte(text)); p == nil {
		t.Error(problems)
	}
	if p, problems := Compile("env.yaml", []byte("{name: t, version: 1, topic: t}")); p == nil {
		t.Error(problems)
	}
	if a, b := fmt.Sprint(*yaml.Table()), fmt.Sprint(*json.Table()); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

// TestDocumentationExamplesCompile holds docs/schemas.md: every yaml block that
// begins with `name:` is a document, every other one goes below a head.
func TestDocumentationExamplesCompile(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "schemas.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(data), "```yaml\n")[1:]
	if len(blocks) < 14 {
		t.Errorf("only %d examples", len(blocks))
	}
	for i, b := range blocks {
		doc, _, _ := strings.Cut(b, "```")
		if !strings.HasPrefix(doc, "name:") {
			doc = head + doc
		}
		if _, problems := Compile(fmt.Sprintf("example %d", i+1), []byte(doc)); len(problems) > 0 {
			t.Errorf("%v\n%s", problems, doc)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(envSchema))
	f.Add([]byte("name: t\nversion: 1\ntopic: a/{b}/#\nrows: /*\ncolumns: {a: {at: '/*/x', map: {a: 1}}}\n"))
	f.Add([]byte("name: &a t\nversion: *a\n<<: {topic: x}\npayload: {$ref: '#'}\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, problems := Compile("f.yaml", doc)
		if (p == nil) != (len(problems) > 0) {
			t.Fatalf("plan %v, problems %v", p, problems)
		}
		_, _ = Compile("f.json", doc)
		if p != nil {
			NewChecker().Check(&Route{Plans: []*Plan{p}}, []byte(envPayload))
		}
	})
}

func TestRollupsWithAndWithoutAnAge(t *testing.T) {
	p := mustCompile(t, "name: t\nversion: 1\ntopic: t\nretention: 90d\nrollups: [1d, {every: 1m, keep: 30d}, 1h]\n")
	want := []Rollup{{time.Minute, 30 * day}, {time.Hour, 0}, {day, 0}}
	if !slices.Equal(p.Rollups(), want) || p.Retention() != 90*day {
		t.Errorf("got %v and %v", p.Rollups(), p.Retention())
	}
}
