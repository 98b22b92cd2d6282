// Package house tests the rules that the whole project keeps: which room may
// know which, and that every package says what it is for.
package house

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/weir-telemetry/weir/"

// mayImport lists, for each room, the rooms that its code (not its tests) may
// import. Arrows point right and down: sources and stores never see each other,
// and only node knows every room.
var mayImport = map[string][]string{
	"internal/telemetry":       {},
	"internal/schema":          {"internal/telemetry"},
	"internal/source":          {"internal/telemetry", "internal/durable"},
	"internal/source/uplink":   {"internal/telemetry", "internal/device"},
	"internal/pipeline":        {"internal/telemetry", "internal/schema", "internal/store", "internal/jsontext"},
	"internal/chunk":           {"internal/telemetry"},
	"internal/seal":            {"internal/telemetry", "internal/durable"},
	"internal/rollup":          {"internal/telemetry"},
	"internal/store":           {"internal/telemetry", "internal/rollup"},
	"internal/store/embedded":  {"internal/telemetry", "internal/store", "internal/chunk", "internal/rollup", "internal/seal", "internal/filelock", "internal/durable"},
	"internal/filelock":        {},
	"internal/jsontext":        {},
	"internal/durable":         {},
	"internal/backup":          {"internal/telemetry", "internal/filelock", "internal/durable"},
	"internal/store/storetest": {"internal/telemetry", "internal/store", "internal/rollup"},
	"internal/query":           {"internal/telemetry", "internal/store", "internal/rollup", "internal/jsontext"},
	"internal/transfer":        {"internal/telemetry", "internal/store", "internal/schema", "internal/jsontext"},
	"internal/demo":            {"internal/telemetry", "internal/source/wire"},
	"internal/device":          {"internal/telemetry", "internal/schema"},
	"internal/card":            {"internal/telemetry"},
	"internal/testkit":         {},
	"internal/house":           {},
	"internal/powercut":        {},
	"internal/firmware":        {},  // tests of the emulated board
	"internal/node":            nil, // all
	"internal/bench":           nil, // drives whole nodes
	"cmd/weir":                 nil,
}

type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// roomOf returns the most specific room that the import path lies in.
func roomOf(path string) string {
	path = strings.TrimPrefix(path, module)
	for p := path; p != "."; p = filepath.Dir(p) {
		if _, ok := mayImport[p]; ok {
			return p
		}
	}
	return ""
}

func within(path, room string) bool {
	return path == module+room || strings.HasPrefix(path, module+room+"/")
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	for _, p := range list(t) {
		room := roomOf(p.ImportPath)
		if room == "" {
			t.Errorf("%s lies in no room: add it to mayImport and to docs/ARCHITECTURE.md", p.ImportPath)
			continue
		}
		allowed := mayImport[room]
		if allowed == nil {
			continue
		}
	imports:
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				if room == "internal/telemetry" && strings.Contains(imp, ".") {
					t.Errorf("%s imports %s: the domain has no technology in it", p.ImportPath, imp)
				}
				continue
			}
			// A room may use its own packages, but the room "internal/store" does
			// not thereby include the rooms that are listed below it.
			if roomOf(imp) == room {
				continue
			}
			for _, a := range allowed {
				if within(imp, a) && (roomOf(imp) == a || strings.HasPrefix(a, roomOf(imp))) {
					continue imports
				}
			}
			t.Errorf("%s imports %s, which %s may not know", p.ImportPath, imp, room)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range list(t) {
		said := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				said++
			}
		}
		if len(p.GoFiles) > 0 && said != 1 {
			t.Errorf("%s: %d files have a package comment, want one", p.ImportPath, said)
		}
	}
}
