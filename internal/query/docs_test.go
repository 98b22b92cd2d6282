package query_test

import (
	"os"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
)

// TestDocs runs the examples of docs/query.md on both paths.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/query.md")
	if err != nil {
		t.Fatal(err)
	}
	st := newW1(3, 400, 2)
	n := 0
	for _, part := range strings.Split(string(text), "```sql\n")[1:] {
		sql, _, _ := strings.Cut(part, "```")
		n++
		got, err := run(t, query.New(st, query.Options{}), sql)
		if err != nil {
			t.Errorf("%s\n%v", sql, err)
			continue
		}
		want, err := run(t, query.New(st, query.Options{SQLiteOnly: true}), sql)
		if err != nil {
			t.Errorf("%s\nin SQLite: %v", sql, err)
			continue
		}
		if strings.HasPrefix(sql, "explain") {
			continue
		}
		if d := difference(got, want, false); d != "" {
			t.Errorf("%s\n%s", sql, d)
		}
	}
	if n < 10 {
		t.Errorf("only %d examples were found", n)
	}
}
