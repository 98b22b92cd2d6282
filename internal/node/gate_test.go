package node

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// document is a schema whose value has a type.
func document(name string, version int, typ string) []byte {
	return fmt.Appendf(nil, "name: %s\nversion: %d\ntopic: %s/{x}\nformat: json\npayload:\n  type: object\n  properties:\n    value: {type: %s}\n", name, version, name, typ)
}

func compile(t *testing.T, doc []byte) *schema.Plan {
	t.Helper()
	p, problems := schema.Compile("doc.yaml", doc)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

func newGate() *gate {
	return &gate{store: storetest.NewMemory(), tenant: telemetry.DefaultTenant}
}

// admit does what the registry does with a new plan, and returns its table.
func admit(t *testing.T, g *gate, doc []byte) (string, error) {
	t.Helper()
	p := compile(t, doc)
	if table := g.tableName(p); table != "" && table != p.Table().Name {
		p = p.WithTable(table)
	}
	return p.Table().Name, g.approve(p)
}

func TestGate(t *testing.T) {
	ctx := context.Background()
	accept := func(t *testing.T, g *gate, doc []byte, breaking bool) (string, error) {
		t.Helper()
		a, err := g.accept(ctx, "doc.yaml", doc, breaking)
		if err != nil {
			return "", err
		}
		return a.Table, nil
	}
	mustAdmit := func(t *testing.T, g *gate, doc []byte, want string) {
		t.Helper()
		if table, err := admit(t, g, doc); err != nil || table != want {
			t.Errorf("admitted to %q, %v; want %q", table, err, want)
		}
	}

	t.Run("TheSameDocumentIsAdmittedAgainHoweverItIsWritten", func(t *testing.T) {
		g := newGate()
		mustAdmit(t, g, document("env", 1, "number"), "env")
		mustAdmit(t, g, document("env", 1, "number"), "env")
		mustAdmit(t, g, append([]byte("# a comment\n"), document("env", 1, "number")...), "env")
		mustAdmit(t, g, []byte(`{"version": 1, "name": "env", "format": "json", "topic": "env/{x}", "payload": {"properties": {"value": {"type": "number"}}, "type": "object"}}`), "env")
	})
	t.Run("OtherContentUnderARecordedVersionIsRefusedWithTheNextNumber", func(t *testing.T) {
		g := newGate()
		mustAdmit(t, g, document("env", 1, "number"), "env")
		mustAdmit(t, g, document("env", 4, "number"), "env")
		_, err := admit(t, g, document("env", 1, "integer"))
		if telemetry.CodeOf(err) != telemetry.CodeConflict || !strings.Contains(err.Error(), "version: 5") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("ACompatibleVersionExtendsTheTable", func(t *testing.T) {
		g := newGate()
		mustAdmit(t, g, document("env", 1, "integer"), "env")
		mustAdmit(t, g, append(document("env", 2, "integer"), "    more: {type: string}\n"...), "env")
	})
	t.Run("ABreakIsRefusedWithWhatBreaks", func(t *testing.T) {
		g := newGate()
		mustAdmit(t, g, document("env", 1, "number"), "env")
		_, err := admit(t, g, document("env", 2, "string"))
		if telemetry.CodeOf(err) != telemetry.CodeConflict || !strings.Contains(err.Error(), "value") || !strings.Contains(err.Error(), "weir schema accept --break doc.yaml") {
			t.Errorf("the error is %v", err)
		}
		if _, err := accept(t, g, document("env", 2, "string"), false); telemetry.CodeOf(err) != telemetry.CodeConflict {
			t.Errorf("accepting without --break: %v", err)
		}
	})
	t.Run("AnAcceptedBreakOpensATableThatLaterVersionsGoOnWith", func(t *testing.T) {
		g := newGate()
		mustAdmit(t, g, document("env", 1, "number"), "env")
		if table, err := accept(t, g, document("env", 3, "string"), true); err != nil || table != "env_v3" {
			t.Fatalf("accepted to %q, %v", table, err)
		}
		mustAdmit(t, g, document("env", 3, "string"), "env_v3")
		mustAdmit(t, g, append(document("env", 4, "string"), "    more: {type: string}\n"...), "env_v3")
		mustAdmit(t, g, document("env", 1, "number"), "env")
		// Version 2 is older than the break: it belongs to the old table.
		mustAdmit(t, g, append(document("env", 2, "number"), "    more: {type: string}\n"...), "env")
		if table, err := accept(t, g, document("env", 3, "string"), true); err != nil || table != "env_v3" {
			t.Errorf("accepting twice: %q, %v", table, err)
		}
	})
	t.Run("ANameThatBeginsAlikeIsAnotherFamily", func(t *testing.T) {
		g := newGate()
		mustAdmit(t, g, document("a_vent", 1, "boolean"), "a_vent")
		mustAdmit(t, g, document("a", 1, "number"), "a")
		mustAdmit(t, g, append(document("a", 2, "number"), "    more: {type: string}\n"...), "a")
	})
	t.Run("ADocumentWithErrorsIsRefusedWithAllOfThem", func(t *testing.T) {
		g := newGate()
		if _, err := accept(t, g, []byte("name: 1\nversion: x\n"), true); telemetry.CodeOf(err) != telemetry.CodeInvalid {
			t.Errorf("the error is %v", err)
		}
	})
}
