package schema

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// suiteDir finds the JSON Schema test suite: WEIR_CONFORMANCE names its folder,
// else it is looked for beside the repository.
func suiteDir(t *testing.T) string {
	dir := os.Getenv("WEIR_CONFORMANCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "conformance", "json-schema")
	}
	if _, err := os.Stat(filepath.Join(dir, "tests", "draft2020-12")); err != nil {
		// The suite is no part of the repository: where it is not, the test cannot
		// run.
		if os.Getenv("WEIR_CONFORMANCE") != "" {
			t.Fatalf("WEIR_CONFORMANCE names no suite: %v", err)
		}
		t.Skipf("!!! THE JSON SCHEMA TEST SUITE IS NOT HERE, SO CONFORMANCE IS NOT TESTED: set WEIR_CONFORMANCE to its folder (%v)", err)
	}
	return dir
}

// suiteRemotes serves the suite's own documents.
type suiteRemotes string

func (dir suiteRemotes) Load(url string) (any, error) {
	name, ok := strings.CutPrefix(url, "http://localhost:1234/")
	if !ok {
		return nil, errors.New("not one of the suite's documents: " + url)
	}
	f, err := os.Open(filepath.Join(string(dir), "remotes", filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return jsonschema.UnmarshalJSON(f)
}

// verdict is Weir's own: a plan of the schema, and a Checker.
func verdict(t *testing.T, plan *Plan, payload []byte) bool {
	t.Helper()
	_, _, fail := NewChecker().Check(&Route{Plans: []*Plan{plan}}, payload)
	if fail == nil {
		return true
	}
	if fail.kind <= failDuplicate {
		t.Fatalf("the payload is not read: %s\n%s", fail.Detail(), payload)
	}
	return fail.kind >= failOverflow
}

// compileSchema makes a plan whose payload is the schema, without the checks that
// Weir has beyond JSON Schema (keywords that look like typing errors, names that
// no column may have).
func compileSchema(schema string, loader jsonschema.URLLoader) (*Plan, Problems) {
	doc := `{"name":"t","version":1,"topic":"t","unknown":"drop","payload":` + schema + `}`
	tree, problems := readTree("t.json", []byte(doc))
	if tree == nil || len(problems) > 0 {
		return nil, problems
	}
	d, problems := readDocument("t.json", tree)
	if len(problems) > 0 {
		return nil, problems
	}
	c := &compiler{documentReader: documentReader{file: "t.json", doc: *d}, tree: tree, loader: loader}
	return c.compileVerdict()
}

func TestConformance(t *testing.T) {
	dir := suiteDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "tests", "draft2020-12", "*.json"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	var tests, fast, schemas, fastSchemas int
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var groups []struct {
				Description string
				Schema      json.RawMessage
				Tests       []struct {
					Description string
					Data        json.RawMessage
					Valid       bool
				}
			}
			if err := json.Unmarshal(data, &groups); err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				plan, problems := compileSchema(string(g.Schema), suiteRemotes(dir))
				if plan == nil {
					t.Errorf("%s: %v\n%s", g.Description, problems, g.Schema)
					continue
				}
				schemas++
				if plan.Slow() == "" {
					fastSchemas++
				}
				for _, test := range g.Tests {
					tests++
					if plan.Slow() == "" {
						fast++
					}
					if got := verdict(t, plan, test.Data); got != test.Valid {
						t.Errorf("%s: %s: valid is %v, want %v (slow: %q)\nschema %s\ndata %s",
							g.Description, test.Description, got, test.Valid, plan.Slow(), g.Schema, test.Data)
					}
				}
			}
		})
	}
	t.Logf("%d tests of %d schemas; %d tests of %d schemas on the fast path", tests, schemas, fast, fastSchemas)
	if fast < 300 {
		t.Errorf("only %d tests ran on the fast path", fast)
	}
}

// compileVerdict makes a plan that only decides: it takes nothing from a payload.
func (c *compiler) compileVerdict() (*Plan, Problems) {
	d := &c.doc
	c.table = &telemetry.Table{Name: d.name, Version: d.version}
	c.plan = &Plan{name: d.name, version: d.version, table: c.table, format: d.format, restSlot: -1}
	schema := c.payloadSchema()
	library := c.compileLibrary(schema)
	if library == nil {
		return nil, c.problems
	}
	c.readSchema(schema, true)
	if c.plan.slow != "" {
		c.readSchema(schema, false)
	}
	c.finishPlan(schema, library)
	return c.plan, c.problems
}
