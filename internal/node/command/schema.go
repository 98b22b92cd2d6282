package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// SchemaCheck compiles the documents, alone and together, and reports every
// problem at once. Without files it checks the configured directory.
// What compiles is compared with what the node's data holds, where there is a node
// or its data.
func SchemaCheck(ctx context.Context, e *Env, files []string) error {
	if len(files) == 0 {
		files = []string{e.Config.Schemas}
	}
	documents, err := expand(files)
	if err != nil {
		return err
	}
	if len(documents) == 0 {
		return telemetry.Errorf(telemetry.CodeNotFound, "check schemas", "no schema documents in %s", strings.Join(files, ", ")).
			WithHint("documents end in .yaml, .yml or .json; weir schema infer proposes one from sample payloads")
	}
	set, problems := schema.CheckFiles(documents)
	for _, p := range problems {
		if _, err := fmt.Fprintln(e.Err, p.Error()); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, "check schemas", "%d problem(s) in %d document(s)", len(problems), len(documents))
	}
	for _, p := range set.Plans() {
		if err := e.printf("%s: %s version %d, topics %s, %d columns, %d tags\n",
			p.File(), p.Name(), p.Version(), p.Filter(), len(p.Table().Columns), len(p.Table().Tags)); err != nil {
			return err
		}
		if p.Slow() == "" {
			continue
		}
		if err := e.printf("  slow: %s: outside the one-pass plan, so the full JSON Schema library checks every payload, which costs ten to a hundred times more\n", p.Slow()); err != nil {
			return err
		}
	}
	return e.compare(ctx, set.Plans())
}

// compare says which documents a node would refuse: it keeps what readings were
// checked by, so a document that changed under its old version is no use to it.
func (e *Env) compare(ctx context.Context, plans []*schema.Plan) error {
	refused := 0
	err := e.withLooker(ctx, func(l looker) error {
		for _, p := range plans {
			_, err := l.Check(ctx, p.File(), p.Document())
			if telemetry.CodeOf(err) == telemetry.CodeConflict {
				refused++
				_, err = fmt.Fprintf(e.Err, "%s: %v\n", p.File(), err)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case refused > 0:
		return telemetry.Errorf(telemetry.CodeConflict, "check schemas", "the node on %s does not take %d of %d document(s)", shown(e.Config.DataDir), refused, len(plans))
	case err == nil:
		return e.printf("compared with what is recorded in %s: all fit\n", shown(e.Config.DataDir))
	case telemetry.CodeOf(err) == telemetry.CodeNotFound:
		return nil // no node has run here
	}
	_, err = fmt.Fprintf(e.Err, "not compared with what is recorded in %s: %v\n", shown(e.Config.DataDir), err)
	return err
}

// expand replaces directories by the documents in them.
func expand(files []string) ([]string, error) {
	var out []string
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return nil, telemetry.Errorf(telemetry.CodeNotFound, "check schemas", "%v", err)
		}
		if !info.IsDir() {
			out = append(out, file)
			continue
		}
		entries, err := os.ReadDir(file)
		if err != nil {
			return nil, telemetry.Errorf(telemetry.CodeNotFound, "check schemas", "%v", err)
		}
		for _, entry := range entries {
			if !entry.IsDir() && schema.IsDocument(entry.Name()) {
				out = append(out, filepath.Join(file, entry.Name()))
			}
		}
	}
	return out, nil
}

// maxSamples bounds what SchemaInfer reads, in bytes.
const maxSamples = 64 << 20

// SchemaInfer proposes a document from sample payloads: one in each line, or
// one in each file that is a single JSON value. Without files it reads In.
func SchemaInfer(e *Env, files []string) error {
	var samples [][]byte
	if len(files) == 0 {
		data, err := io.ReadAll(io.LimitReader(e.In, maxSamples))
		if err != nil {
			return fmt.Errorf("read samples: %w", err)
		}
		samples = split(data)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return telemetry.Errorf(telemetry.CodeNotFound, "read samples", "%v", err)
		}
		samples = append(samples, split(data)...)
	}
	if len(samples) == 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, "infer schema", "no samples were given").
			WithHint("give payloads, one in a line: mosquitto_sub -t 'plants/#' -C 100 | weir schema infer")
	}
	for i, s := range samples {
		if s[0] != '{' && s[0] != '[' {
			continue
		}
		var v any
		if broken := json.Unmarshal(s, &v); broken != nil {
			if _, err := fmt.Fprintf(e.Err, "sample %d begins as JSON and is none (%v), so it is taken as text: %s\n", i+1, broken, visible(s, 60)); err != nil {
				return err
			}
			break // the first is enough to see what is wrong with the file
		}
	}
	// What was understood is of use also where it does not compile yet.
	document, err := schema.Infer(samples)
	_, writeErr := e.Out.Write(document)
	return errors.Join(err, writeErr)
}

// split returns the payloads of a file: the whole of it where it is one JSON
// value, else its lines.
func split(data []byte) [][]byte {
	if whole := bytes.TrimSpace(data); json.Valid(whole) {
		return [][]byte{whole}
	}
	var out [][]byte
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxSamples)
	for lines.Scan() {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			out = append(out, bytes.Clone(line))
		}
	}
	return out
}

// SchemaAccept records a document in the store.
func SchemaAccept(ctx context.Context, e *Env, file string, breaking bool) error {
	document, err := os.ReadFile(file)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeNotFound, "accept schema", "%v", err)
	}
	return e.withBackend(ctx, func(b control.Backend) error {
		a, err := b.Accept(ctx, file, document, breaking)
		if err != nil {
			return err
		}
		if len(a.Breaks) > 0 {
			if err := e.printf("%s version %d breaks with what is stored:\n  %s\n", a.Name, a.Version, strings.Join(a.Breaks, "\n  ")); err != nil {
				return err
			}
		}
		if err := e.printf("%s version %d is accepted; its readings go to the table %s\n", a.Name, a.Version, a.Table); err != nil {
			return err
		}
		if !within(file, e.Config.Schemas) {
			return e.printf("%s is not in %s: put it there to make it active\n", file, e.Config.Schemas)
		}
		return nil
	})
}

func within(file, dir string) bool {
	f, err1 := filepath.Abs(file)
	d, err2 := filepath.Abs(dir)
	return err1 == nil && err2 == nil && filepath.Dir(f) == d
}

// SchemaList prints the active schemas.
func SchemaList(ctx context.Context, e *Env, format string) error {
	return e.withBackend(ctx, func(b control.Backend) error {
		status, err := b.Status(ctx)
		if err != nil {
			return err
		}
		if format == "json" {
			return printJSON(e.Out, status.Schemas)
		}
		t := newTable("schema", "version", "table", "topics", "tags", "columns", "file")
		for _, s := range status.Schemas {
			t.row(s.Name, fmt.Sprint(s.Version), s.Table, s.Filter, strings.Join(s.Tags, " "), strings.Join(s.Columns, " "), s.File)
		}
		if err := t.print(e.Out); err != nil {
			return err
		}
		for _, r := range status.Reasons {
			if r.Part == "schema" {
				if _, err := fmt.Fprintln(e.Err, r.Message); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
