package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// restart opens a node on what the last one left, and returns the tables that
// messages go to, as "env 1", and what /readyz says.
func restart(t *testing.T, c *config.Loaded) (active, readyz string) {
	t.Helper()
	n, err := Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n)
	var all []string
	for _, p := range n.registry.Current().Plans() {
		all = append(all, p.Table().Name+" "+string(rune('0'+p.Version())))
	}
	_, readyz = page(t, n.webHandler(nil), "/readyz", "", "")
	return strings.Join(all, ", "), readyz
}

func TestARestartKeepsTheLastGoodSchemaOfEachDocument(t *testing.T) {
	write := func(t *testing.T, c *config.Loaded, name string, doc []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(c.Schemas, name), doc, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	// first is a node that ran with two documents.
	first := func(t *testing.T) *config.Loaded {
		t.Helper()
		c := testConfig(t)
		if err := os.MkdirAll(c.Schemas, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, c, "a.yaml", document("a", 1, "number"))
		write(t, c, "b.yaml", document("b", 1, "number"))
		if got, _ := restart(t, c); got != "a 1, b 1" {
			t.Fatalf("active are %s", got)
		}
		return c
	}
	broken := []byte("name: a\nversion: [1\n")
	for name, try := range map[string]struct {
		change func(t *testing.T, c *config.Loaded)
		active string
		says   string
	}{
		"ABrokenDocument": {func(t *testing.T, c *config.Loaded) { write(t, c, "a.yaml", broken) }, "a 1, b 1", "a.yaml"},
		"AnEmptyDocument": {func(t *testing.T, c *config.Loaded) { write(t, c, "a.yaml", nil) }, "a 1, b 1", "a.yaml"},
		"AnUnversionedEdit": {
			func(t *testing.T, c *config.Loaded) { write(t, c, "a.yaml", document("a", 1, "string")) }, "a 1, b 1",
			"give the changed document version: 2",
		},
		"ABreakingVersion": {func(t *testing.T, c *config.Loaded) { write(t, c, "a.yaml", document("a", 2, "string")) }, "a 1, b 1", "does not fit"},
		"ARemovedDocument": {func(t *testing.T, c *config.Loaded) { remove(t, filepath.Join(c.Schemas, "a.yaml")) }, "b 1", ""},
		"AMendedDocument": {func(t *testing.T, c *config.Loaded) {
			write(t, c, "a.yaml", append(document("a", 2, "number"), "    more: {type: string}\n"...))
		}, "a 2, b 1", ""},
		"ANewBrokenDocument": {func(t *testing.T, c *config.Loaded) { write(t, c, "c.yaml", []byte("name: a\n")) }, "a 1, b 1", "c.yaml"},
		"ABrokenRenamedOne": {func(t *testing.T, c *config.Loaded) {
			remove(t, filepath.Join(c.Schemas, "a.yaml"))
			write(t, c, "z.yaml", broken)
		}, "a 1, b 1", "z.yaml"},
		"ABrokenOneThatWasNeverKept": {func(t *testing.T, c *config.Loaded) {
			remove(t, filepath.Join(c.DataDir, lastGoodFile))
			write(t, c, "a.yaml", []byte("name: a\nversion: 1\ntopic: [\n"))
		}, "a 1, b 1", "a.yaml"},
		"ADamagedFileOfWhatWasActive": {func(t *testing.T, c *config.Loaded) {
			if err := os.WriteFile(filepath.Join(c.DataDir, lastGoodFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			write(t, c, "a.yaml", document("a", 2, "string"))
		}, "a 1, b 1", "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			c := first(t)
			try.change(t, c)
			for range 2 { // the second on what the first kept
				active, readyz := restart(t, c)
				if active != try.active {
					t.Errorf("active are %s, want %s", active, try.active)
				}
				if try.says == "" && strings.Contains(readyz, `"schema"`) || !strings.Contains(readyz, try.says) {
					t.Errorf("/readyz says %s", readyz)
				}
				if try.says != "" && strings.HasPrefix(try.active, "a 1") && name != "ANewBrokenDocument" && !strings.Contains(readyz, "version 1 of before stays active") {
					t.Errorf("/readyz does not say what is active: %s", readyz)
				}
			}
		})
	}

	t.Run("ARemovedDocumentThatComesBackBrokenIsNotActive", func(t *testing.T) {
		c := first(t)
		remove(t, filepath.Join(c.Schemas, "a.yaml"))
		restart(t, c)
		write(t, c, "a.yaml", broken)
		if active, _ := restart(t, c); active != "b 1" {
			t.Errorf("active are %s", active)
		}
	})
	t.Run("ADirectoryThatIsNotThereStopsTheStart", func(t *testing.T) {
		c := first(t)
		remove(t, c.Schemas)
		if _, err := Open(t.Context(), c, Options{}); telemetry.CodeOf(err) != telemetry.CodeNotFound || !strings.Contains(err.Error(), "held 2 documents") {
			t.Fatalf("the error is %v", err)
		}
		if err := os.Mkdir(c.Schemas, 0o700); err != nil {
			t.Fatal(err)
		}
		if active, _ := restart(t, c); active != "" {
			t.Errorf("active are %s", active)
		}
	})
	t.Run("ACommandKeepsNothing", func(t *testing.T) {
		c := first(t)
		elsewhere := *c
		config := *c.Config
		config.Schemas = t.TempDir()
		elsewhere.Config = &config
		n, err := Open(t.Context(), &elsewhere, Options{Existing: true})
		if err != nil {
			t.Fatal(err)
		}
		stop(t, n)
		write(t, c, "a.yaml", broken)
		if active, _ := restart(t, c); active != "a 1, b 1" {
			t.Errorf("active are %s", active)
		}
	})
}
