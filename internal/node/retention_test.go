package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
)

// kept returns what a node says of a table, or nil.
func kept(t *testing.T, n *Node, table string) *control.Kept {
	t.Helper()
	r, err := n.Retention(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Tables {
		if r.Tables[i].Table == table {
			return &r.Tables[i]
		}
	}
	return nil
}

func TestRollupsAndRetentionFollowTheSchemasWithoutARestart(t *testing.T) {
	c := testConfig(t)
	if err := os.MkdirAll(c.Schemas, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(version int, more string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(c.Schemas, "a.yaml"), append(document("a", version, "number"), more...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1, "retention: 90d\nrollups: [1m, {every: 1h, keep: 730d}]\n")
	n, err := Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if k := kept(t, n, "a"); k == nil || k.Retention != "90d" || !slices.Equal(k.Rollups, []string{"1m", "1h for 730d"}) {
		t.Errorf("version 1 gives %+v", k)
	}
	write(2, "retention: 10d12h\n")
	if err := n.registry.Reload(); err != nil {
		t.Fatal(err)
	}
	n.schemasChanged()
	if k := kept(t, n, "a"); k == nil || k.Retention != "10d12h" || len(k.Rollups) != 0 {
		t.Errorf("version 2 gives %+v", k)
	}
	stop(t, n)

	// The document goes while nobody runs: its table keeps what it said.
	if err := os.Remove(filepath.Join(c.Schemas, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Schemas, "b.yaml"), document("b", 1, "number"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err = Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n)
	if k := kept(t, n, "a"); k == nil || k.Retention != "10d12h" {
		t.Errorf("after the document went: %+v", k)
	}
	if k := kept(t, n, "b"); k != nil {
		t.Errorf("of b, which asks for nothing: %+v", k)
	}
	if r, err := n.Retention(context.Background(), true); err != nil || time.Since(r.Time).Abs() > time.Minute {
		t.Errorf("confirmed: %+v, %v", r, err)
	}
}
