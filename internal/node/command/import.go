package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// definitionsSuffix ends the name of the file with the table versions of an
// exported file.
const definitionsSuffix = ".schema.json"

// importFiles imports files that hold readings of one table.
func importFiles(ctx context.Context, e *Env, o ImportOptions) error {
	return e.withImport(ctx, o, func(run *importRun) error {
		for _, path := range o.Paths {
			if err := run.file(ctx, path, o.Format, o.Table); err != nil {
				return err
			}
		}
		return nil
	})
}

// importDirectory imports what weir export --all wrote.
func importDirectory(ctx context.Context, e *Env, o ImportOptions) error {
	return e.withImport(ctx, o, func(run *importRun) error {
		for _, dir := range o.Paths {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return telemetry.Errorf(telemetry.CodeNotFound, "import", "%v", err)
			}
			found := false
			for _, entry := range entries {
				path := filepath.Join(dir, entry.Name())
				if entry.IsDir() || strings.HasSuffix(entry.Name(), ".json") {
					continue
				}
				p, err := probePath(path)
				if err != nil {
					return err
				}
				im := sniff(p)
				if im == nil || im.run == nil || !isTableFormat(im.name) {
					continue
				}
				found = true
				if err := run.file(ctx, path, im.name, ""); err != nil {
					return err
				}
			}
			if !found {
				return telemetry.Errorf(telemetry.CodeInvalid, "import", "%s holds no file that weir export writes", dir)
			}
		}
		return nil
	})
}

// isTableFormat reports whether files of the format hold readings of one table.
func isTableFormat(name string) bool {
	return name == transfer.CSV || name == transfer.NDJSON || name == transfer.Parquet
}

// importRun is one import into one node.
type importRun struct {
	e        *Env
	o        ImportOptions
	node     control.Transfer
	tables   *transfer.Tables
	rejects  *rejects
	rejected int
	stored   int
	dups     int
}

// withImport runs f with the running node, or with one of its own, and says what
// came of it.
func (e *Env) withImport(ctx context.Context, o ImportOptions, f func(*importRun) error) error {
	return e.withTransfer(ctx, func(b control.Transfer) error {
		run := &importRun{e: e, o: o, node: b}
		if o.Rejects != "" {
			var err error
			if run.rejects, err = openRejects(o.Rejects); err != nil {
				return err
			}
		}
		err := run.prepare(ctx)
		if err == nil {
			err = f(run)
		}
		if err = errors.Join(err, run.rejects.close()); err != nil {
			if n := run.stored + run.dups; n > 0 {
				fmt.Fprintf(e.Err, "%d readings of it are stored: the same command, without --again, goes on from there\n", n)
			}
			return err
		}
		if err := e.printf("imported %d readings; %d were stored already\n", run.stored, run.dups); err != nil {
			return err
		}
		if run.rejected > 0 {
			return telemetry.Errorf(telemetry.CodeInvalid, "import", "%d rows could not be imported; the others are stored", run.rejected).
				WithHint("mend them and import the file of them alone; --rejects FILE lists them all")
		}
		return nil
	})
}

// prepare records the document that is given, whose table the rows go to then, and
// reads which tables there are.
func (r *importRun) prepare(ctx context.Context) error {
	if r.o.Schema != "" {
		document, err := os.ReadFile(r.o.Schema)
		if err != nil {
			return telemetry.Errorf(telemetry.CodeNotFound, "import", "%v", err)
		}
		a, err := r.node.Accept(ctx, r.o.Schema, document, false)
		if err != nil {
			return err
		}
		if r.o.Table == "" {
			r.o.Table = a.Table
		}
	}
	return r.reload(ctx)
}

// reload reads the recorded tables.
func (r *importRun) reload(ctx context.Context) error {
	defs, err := r.node.Tables(ctx)
	if err != nil {
		return err
	}
	var all []*telemetry.Table
	topics := map[string]*schema.Plan{}
	for i := range defs {
		t, err := defs[i].TableVersion()
		if err != nil {
			return err
		}
		all = append(all, t)
		if plan, problems := schema.Compile(defs[i].Table, []byte(defs[i].Document)); len(problems) == 0 {
			topics[topicKey(t)] = plan
		}
	}
	r.tables = transfer.NewTables(all)
	r.tables.Topic = func(t *telemetry.Table, tag func(string) (string, bool)) string {
		if p := topics[topicKey(t)]; p != nil {
			return topicOf(p, t, tag)
		}
		return ""
	}
	return nil
}

func topicKey(t *telemetry.Table) string { return fmt.Sprintf("%s %d", t.Name, t.Version) }

// topicOf fills the captures of a schema's topic with tags. A topic with other
// wildcards cannot be told.
func topicOf(p *schema.Plan, t *telemetry.Table, tag func(string) (string, bool)) string {
	levels := strings.Split(p.Filter(), "/")
	captures := len(t.Tags) - p.PayloadTags()
	n := 0
	for i, level := range levels {
		if level == "#" {
			return ""
		}
		if level != "+" {
			continue
		}
		if n == captures {
			return ""
		}
		value, ok := tag(t.Tags[n])
		if !ok || strings.Contains(value, "/") {
			return ""
		}
		levels[i] = value
		n++
	}
	if n != captures {
		return ""
	}
	return strings.Join(levels, "/")
}

// file imports one file of a table.
func (r *importRun) file(ctx context.Context, path, format, table string) error {
	defs, err := definitionsOf(path, format)
	if err != nil {
		return err
	}
	if defs != nil {
		if err := r.node.RecordTables(ctx, defs.Tables); err != nil {
			return err
		}
		if table == "" && len(defs.Tables) > 0 {
			table = defs.Tables[0].Table
		}
		if err := r.reload(ctx); err != nil {
			return err
		}
	}
	if table == "" {
		table = r.o.Table
	}
	if table == "" && path == transfer.Stdin {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "which table the rows of standard input are for cannot be told").WithHint("name it with --table")
	}
	if table == "" { // env.csv and env.csv.gz are named for their table
		table, _, _ = strings.Cut(filepath.Base(path), ".")
	}
	key, err := fileKey(ctx, path, format, table)
	if err != nil {
		return err
	}
	open := map[string]func(path, table string, tables *transfer.Tables) (transfer.Reader, error){
		transfer.CSV: transfer.OpenCSV, transfer.NDJSON: transfer.OpenNDJSON, transfer.Parquet: transfer.OpenParquet,
	}[format]
	return r.read(ctx, path, key, func() (transfer.Reader, error) { return open(path, table, r.tables) })
}

// definitionsOf reads the table versions that stand beside a file, nil where
// there are none.
func definitionsOf(path, format string) (*transfer.Definitions, error) {
	if format == transfer.Parquet {
		return transfer.ParquetDefinitions(path)
	}
	data, err := os.ReadFile(path + definitionsSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "import", "%v", err)
	}
	return transfer.ReadDefinitions(data)
}

// fileKey names an import by what it imports: the file's content and where it
// goes. So a file that was renamed is known again, and one that was changed is
// another.
func fileKey(ctx context.Context, path string, more ...string) (string, error) {
	h := sha256.New()
	if path != transfer.Stdin {
		f, err := os.Open(path)
		if err != nil {
			return "", telemetry.Errorf(telemetry.CodeNotFound, "import", "%v", err)
		}
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return "", errors.Join(telemetry.Errorf(telemetry.CodeInvalid, "import", "%s is a directory", path).WithHint("name the files in it"), f.Close())
		}
		_, err = io.Copy(h, interruptible{ctx, f})
		if err = errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("read %s: %w", path, err)
		}
	}
	for _, m := range more {
		fmt.Fprintf(h, "\x00%s", m)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// interruptible ends reading with the context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// finished is the mark of an import that came to its end.
const finished = ^uint64(0)

// errMoved ends a run that found the import further on before it stored anything:
// the last request of a run that was killed was still on its way.
var errMoved = errors.New("the import went on meanwhile")

// read stores what the readers that open makes give.
func (r *importRun) read(ctx context.Context, path, key string, open func() (transfer.Reader, error)) error {
	for tries := 1; ; tries++ {
		reader, err := open()
		if err != nil {
			return err
		}
		err = errors.Join(r.rows(ctx, path, key, reader), reader.Close())
		if !errors.Is(err, errMoved) || tries == 3 {
			return err
		}
	}
}

// rows stores what a reader gives, from where an earlier run of the same import
// ended.
func (r *importRun) rows(ctx context.Context, path, key string, reader transfer.Reader) error {
	at, known, err := r.node.ImportMark(ctx, key)
	if err == nil {
		err = r.rejects.begin(known && !r.o.Again)
	}
	switch {
	case err != nil:
		return err
	case known && r.o.Again:
	case known && at == finished:
		return r.say("%s was imported before; --again imports it once more", path)
	case known:
		if err := r.say("%s: going on where an earlier import ended", path); err != nil {
			return err
		}
		if err := reader.Skip(at); err != nil {
			return err
		}
	}
	bar := newProgress(r.e.Err, filepath.Base(path))
	defer bar.end()
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil { // what is stored stays, and the next run goes on from there
			return err
		}
		g, err := reader.Next()
		end := errors.Is(err, io.EOF)
		switch {
		case end:
			g = &transfer.Group{Mark: finished}
		case err != nil:
			return err
		}
		done, err := r.node.ImportBatches(ctx, key, at, g.Mark, g.Batches)
		if first && telemetry.CodeOf(err) == telemetry.CodeConflict {
			return fmt.Errorf("%w: %w", errMoved, err)
		}
		if err != nil || end {
			return err
		}
		at = g.Mark
		r.stored += done.Stored
		r.dups += done.Duplicate
		for _, f := range g.Faults {
			r.reject(f)
		}
		for _, f := range done.Refused {
			file, line := reader.Locate(f.Line)
			r.reject(transfer.Fault{File: file, Line: line, Why: f.Why})
		}
		if err := r.rejects.flush(); err != nil { // a kill leaves the list as far as the rows
			return err
		}
		read, total := reader.Progress()
		bar.show(read, total, fmt.Sprintf("%d readings", r.stored+r.dups))
	}
}

func (r *importRun) say(format string, args ...any) error {
	_, err := fmt.Fprintf(r.e.Err, format+"\n", args...)
	return err
}
