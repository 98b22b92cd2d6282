package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/node/config"
)

// stopper is an output whose reader interrupts the command at the first line.
type stopper struct {
	said bytes.Buffer
	stop func()
}

func (s *stopper) Write(p []byte) (int, error) {
	s.stop()
	return s.said.Write(p)
}

func (s *stopper) String() string { return s.said.String() }

// Ctrl-C ends an import between two groups of rows, with a node or without one, and
// the next run goes on from there.
func TestAnImportThatIsInterruptedEndsAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	var rows strings.Builder
	rows.WriteString("time,device,v\n")
	const good = 45_000
	for i := range good {
		fmt.Fprintf(&rows, "2026-01-01T%02d:%02d:%02dZ,a,%d\n", i/3600, i/60%60, i%60, i)
		if i == 100 {
			rows.WriteString("bad,a,1\n") // it is told when its group is stored
		}
	}
	file := filepath.Join(dir, "env.csv")
	schema := filepath.Join(dir, "env.yaml")
	for path, text := range map[string]string{
		file: rows.String(),
		schema: "name: env\nversion: 1\ntopic: a/{device}\nformat: json\ntime: {at: /ts, as: unix_ms}\n" +
			"payload: {type: object, required: [ts], properties: {ts: {type: integer}, v: {type: number}}}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(errs interface {
		Write([]byte) (int, error)
		String() string
	}, ctx context.Context, o ImportOptions,
	) (string, error) {
		c, err := config.Load(config.Options{Overrides: []config.Override{{Path: "data_dir", Value: filepath.Join(dir, "data")}, {Path: "schemas", Value: filepath.Join(dir, "schemas")}}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = Import(ctx, &Env{In: strings.NewReader(""), Out: &out, Err: errs, Config: c}, o)
		return out.String() + errs.String(), err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said, err := run(&stopper{stop: cancel}, ctx, ImportOptions{Paths: []string{file}, Schema: schema})
	if !errors.Is(err, context.Canceled) || !strings.Contains(said, "20000 readings of it are stored: the same command") {
		t.Fatalf("%v\n%s", err, said)
	}
	said, err = run(&bytes.Buffer{}, t.Context(), ImportOptions{Paths: []string{file}, Schema: schema})
	if err != nil || !strings.Contains(said, "going on where an earlier import ended") || !strings.Contains(said, fmt.Sprintf("imported %d readings; 0 were stored already", good-20_000)) {
		t.Fatalf("%v\n%s", err, said)
	}
}
