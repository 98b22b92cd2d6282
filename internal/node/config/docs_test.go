package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of keys into docs/configuration.md")

const (
	docsFile  = "../../../docs/configuration.md"
	tableFrom = "<!-- keys: written by go test ./internal/node/config -update -->\n"
	tableTo   = "<!-- end of keys -->\n"
)

// keyTable is the table of docs/configuration.md, made from Config.
func keyTable() string {
	var b strings.Builder
	block := "\x00"
	for _, k := range Keys() {
		parent := ""
		if i := strings.LastIndexByte(k.Path, '.'); i >= 0 {
			parent = k.Path[:i]
		}
		if parent != block {
			block = parent
			title := "Top level"
			if block != "" {
				title = "`" + block + "`"
			}
			fmt.Fprintf(&b, "\n### %s\n\n| key | default | what it is | environment |\n|---|---|---|---|\n", title)
		}
		deflt := "`" + k.Default + "`"
		if k.Default == "" {
			deflt = "empty"
		}
		doc := k.Doc
		if len(k.Allowed) > 1 {
			doc += " One of `" + strings.Join(k.Allowed, "`, `") + "`."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` |\n", k.Path, deflt, strings.ReplaceAll(doc, "|", "\\|"), k.Env)
	}
	return b.String() + "\n"
}

func TestDocsNameEveryKeyAsTheCodeDoes(t *testing.T) {
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableFrom)
	table, after, ok2 := strings.Cut(rest, tableTo)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the table of keys", docsFile)
	}
	if table == keyTable() {
		return
	}
	if !*update {
		t.Fatalf("%s is out of step with Config; run go test ./internal/node/config -update", docsFile)
	}
	if err := os.WriteFile(docsFile, []byte(before+tableFrom+keyTable()+tableTo+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheExampleInTheDocsLoads(t *testing.T) {
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for part := range strings.SplitSeq(string(data), "```yaml\n") {
		yaml, _, ok := strings.Cut(part, "\n```")
		if !ok || strings.HasPrefix(part, "# Configuration") {
			continue
		}
		examples++
		if _, err := load(t, yaml, nil); err != nil {
			t.Errorf("an example of the docs does not load: %v\n%s", err, yaml)
		}
	}
	if examples == 0 {
		t.Error("the docs have no example")
	}
}
