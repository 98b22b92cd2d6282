package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// ExportOptions are the flags of weir export.
type ExportOptions struct {
	Table    string
	All      bool
	Format   string
	Where    string
	From, To string // "", RFC 3339, a date, or an age
	Out      string // a file, or with All a directory; "" or "-": standard output
	Resume   bool
}

// Export writes readings to files.
func Export(ctx context.Context, e *Env, o ExportOptions, times func(flag, text string) (time.Time, error)) error {
	if err := control.CheckExportFormat(o.Format); err != nil {
		return err
	}
	if o.All == (o.Table != "") {
		return telemetry.Errorf(telemetry.CodeInvalid, "export", "give either --table or --all")
	}
	scope := control.ExportScope{Table: o.Table, Where: o.Where, From: math.MinInt64, To: math.MaxInt64}
	for _, bound := range []struct {
		flag, text string
		to         *int64
	}{{"--from", o.From, &scope.From}, {"--to", o.To, &scope.To}} {
		if bound.text == "" {
			continue
		}
		at, err := times(bound.flag, bound.text)
		if err != nil {
			return err
		}
		*bound.to = clampTime(at)
	}
	if scope.From > scope.To {
		return telemetry.Errorf(telemetry.CodeInvalid, "export", "--to %s lies before --from %s", o.To, o.From)
	}
	stdout := o.Out == "" || o.Out == "-"
	switch {
	case o.All && stdout:
		return telemetry.Errorf(telemetry.CodeInvalid, "export", "--all needs a directory").WithHint("name it with -o")
	case o.Resume && stdout:
		return telemetry.Errorf(telemetry.CodeInvalid, "export", "--resume needs a file").WithHint("name it with -o")
	}
	return damageHint(e.withExporter(ctx, func(x control.Exporter) error {
		if o.All {
			return e.exportAll(ctx, x, o, scope)
		}
		defs, err := x.Tables(ctx)
		if err != nil {
			return err
		}
		if scope.Table, err = tableNamed(defs, scope.Table); err != nil {
			return err
		}
		return e.exportTable(ctx, x, o, scope, o.Out)
	}))
}

// clampTime is a time as readings have it; one beyond what they can have is at its end.
func clampTime(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// tableNamed finds the table that a person means: as in SQL, case does not count.
func tableNamed(defs []transfer.Definition, name string) (string, error) {
	var names []string
	for _, d := range defs {
		if strings.EqualFold(d.Table, name) {
			return d.Table, nil
		}
		if !slices.Contains(names, d.Table) {
			names = append(names, d.Table)
		}
	}
	err := telemetry.Errorf(telemetry.CodeNotFound, "export", "there is no table %q", name)
	if len(names) == 0 {
		return "", err.WithHint("no table is recorded yet: the first start of a node, or an import, records those of the schemas")
	}
	return "", err.WithHint("the tables are " + strings.Join(names, ", "))
}

// withExporter runs f with the running node, or, where none runs, with the data
// directory opened for reading.
func (e *Env) withExporter(ctx context.Context, f func(control.Exporter) error) error {
	return e.either(ctx,
		func(c *control.Client) error { return f(c) },
		func() error {
			r, err := node.OpenReader(ctx, e.Config, node.Options{Logger: e.quiet(), Version: e.Version})
			if err != nil {
				return err
			}
			return errors.Join(f(r), r.Close())
		})
}

// exportAll writes a file for each table into a directory.
func (e *Env) exportAll(ctx context.Context, x control.Exporter, o ExportOptions, scope control.ExportScope) error {
	if info, err := os.Stat(o.Out); err == nil && !info.IsDir() {
		return telemetry.Errorf(telemetry.CodeInvalid, "export", "%s is a file", o.Out).WithHint("--all writes into a directory: name one with -o")
	}
	if err := durable.MakeDir(o.Out, 0o755); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	defs, err := x.Tables(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, d := range defs {
		if !slices.Contains(names, d.Table) {
			names = append(names, d.Table)
		}
	}
	for _, name := range names {
		path := filepath.Join(o.Out, name+"."+o.Format)
		scope.Table = name
		if err := e.exportTable(ctx, x, o, scope, path); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// exportState is what an export that was interrupted goes on from. It is written
// line by line: the first says what is exported, each other what was written.
type exportState struct {
	Scope  control.ExportScope `json:"scope"`
	Format string              `json:"format"`
	Plan   *control.ExportPlan `json:"plan"`
	// Asked is the scope as it was written: an age such as 7d is another time in
	// each run, and means that of the first.
	Asked []string `json:"asked"`
}

// exported is a part that stands in the file, durably.
type exported struct {
	Offset    int64  `json:"offset"` // of the file behind it
	Rows      int64  `json:"rows"`
	RowGroups []byte `json:"row_groups,omitempty"`
}

const (
	partSuffix  = ".part"
	stateSuffix = ".part.state"
)

// exportRun writes one file.
type exportRun struct {
	e     *Env
	x     control.Exporter
	state exportState
	done  []exported
	path  string   // "": standard output
	out   *os.File // the file, under its temporary name
	log   *os.File // the state
	w     io.Writer
	rows  int64
	// stitch puts the parts of a Parquet file together; nil: another format.
	stitch *transfer.Stitch
}

func (e *Env) exportTable(ctx context.Context, x control.Exporter, o ExportOptions, scope control.ExportScope, path string) error {
	asked := []string{scope.Table, o.Where, o.From, o.To}
	r := &exportRun{e: e, x: x, path: path, state: exportState{Scope: scope, Format: o.Format, Asked: asked}, w: e.Out}
	if path == "-" {
		r.path = ""
	}
	if o.Resume && r.complete() {
		return r.tidy()
	}
	err := r.open(ctx, o.Resume)
	if err == nil {
		err = r.write(ctx)
	}
	if r.log != nil {
		err = errors.Join(err, r.log.Close())
	}
	if r.out != nil {
		err = errors.Join(err, r.out.Close())
	}
	if err != nil && r.log != nil && len(r.done) > 0 {
		fmt.Fprintf(e.Err, "%s holds %d readings: the same command with --resume goes on from there\n", path+partSuffix, r.rows)
	}
	if err != nil || r.path == "" {
		return err
	}
	return r.finish(ctx)
}

// complete reports whether an earlier export into the file came to its end: only
// then has it its name.
func (r *exportRun) complete() bool {
	_, err := os.Stat(r.path)
	return err == nil
}

// tidy removes the state of an export that is complete.
func (r *exportRun) tidy() error {
	if err := os.Remove(r.path + stateSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	_, err := fmt.Fprintf(r.e.Err, "%s is complete\n", r.path)
	return err
}

// open makes the files, or goes on with those of an interrupted export.
func (r *exportRun) open(ctx context.Context, resume bool) (err error) {
	if r.path != "" {
		if info, err := os.Stat(r.path); err == nil {
			if info.IsDir() {
				return telemetry.Errorf(telemetry.CodeInvalid, "export", "%s is a directory", r.path).WithHint("name a file in it with -o; --all fills a directory")
			}
			return telemetry.Errorf(telemetry.CodeConflict, "export", "%s is there already", r.path).WithHint("remove it, or name another")
		}
		if dir := filepath.Dir(r.path); !isDirectory(dir) {
			return telemetry.Errorf(telemetry.CodeNotFound, "export", "there is no directory %s for %s", dir, filepath.Base(r.path)).WithHint("make it, or name a file in a directory that is there")
		}
		if resume {
			if err := r.load(); err != nil {
				return err
			}
		}
	}
	if r.state.Plan == nil {
		if r.state.Plan, err = r.x.ExportPlan(ctx, r.state.Scope); err != nil {
			return err
		}
	}
	if r.path == "" {
		return nil
	}
	flags := os.O_RDWR | os.O_CREATE
	if len(r.done) == 0 {
		flags |= os.O_TRUNC
	}
	if r.out, err = os.OpenFile(r.path+partSuffix, flags, 0o644); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	r.w = r.out
	if len(r.done) > 0 {
		at := r.done[len(r.done)-1].Offset
		info, err := r.out.Stat()
		if err == nil && info.Size() < at {
			return telemetry.Errorf(telemetry.CodeDamaged, "export", "%s is shorter than what was written to it", r.out.Name()).WithHint("begin again without --resume")
		}
		if err = errors.Join(err, r.out.Truncate(at)); err == nil {
			_, err = r.out.Seek(at, io.SeekStart)
		}
		if err != nil {
			return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
		}
	}
	return r.openState()
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// openState begins the state anew with what is known: a torn last line goes.
func (r *exportRun) openState() (err error) {
	if r.log, err = os.Create(r.path + stateSuffix + ".new"); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	if err := r.note(r.state); err != nil {
		return err
	}
	for _, d := range r.done {
		if err := r.note(d); err != nil {
			return err
		}
	}
	if err := errors.Join(r.log.Sync(), os.Rename(r.log.Name(), r.path+stateSuffix), durable.SyncDir(filepath.Dir(r.path))); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	return nil
}

func (r *exportRun) note(v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = r.log.Write(append(line, '\n'))
	}
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	return nil
}

// load reads the state of an interrupted export.
func (r *exportRun) load() error {
	f, err := os.Open(r.path + stateSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	first, err := lines.ReadBytes('\n')
	var was exportState
	if err != nil || json.Unmarshal(first, &was) != nil || was.Plan == nil {
		return nil // nothing was written
	}
	if !slices.Equal(was.Asked, r.state.Asked) || was.Format != r.state.Format {
		return telemetry.Errorf(telemetry.CodeConflict, "export", "the export into %s that was interrupted had other options", r.path).
			WithHint("give the same ones, or begin again without --resume")
	}
	r.state = was
	for {
		line, err := lines.ReadBytes('\n')
		var d exported
		if err != nil || json.Unmarshal(line, &d) != nil {
			return nil
		}
		r.done = append(r.done, d)
	}
}

// write writes the parts that are missing.
func (r *exportRun) write(ctx context.Context) error {
	name := r.state.Scope.Table
	bar := newProgress(r.e.Err, name)
	defer bar.end()
	total, at := int64(0), int64(0)
	for i, p := range r.state.Plan.Parts {
		if total += p.Rows; i < len(r.done) {
			at += p.Rows
			r.rows += r.done[i].Rows
		}
	}
	part, err := r.writer()
	if err != nil {
		return err
	}
	parts := r.state.Plan.Parts
	if len(parts) == 0 { // a header all the same
		parts = []control.ExportRange{{}}
	}
	for i := len(r.done); i < len(parts); i++ {
		p := control.ExportPart{ExportScope: r.state.Scope, Format: r.state.Format, First: i == 0, Tags: r.state.Plan.Tags, Columns: r.state.Plan.Columns}
		p.From, p.To = parts[i].From, parts[i].To
		d, err := part(ctx, p)
		if err != nil {
			return err
		}
		r.rows += d.Rows
		at += parts[i].Rows
		bar.show(at, total, fmt.Sprintf("%d readings", r.rows))
		if r.log != nil {
			if err := r.out.Sync(); err != nil {
				return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
			}
			if err := r.note(d); err != nil {
				return err
			}
			r.done = append(r.done, d)
		}
	}
	return r.end(ctx)
}

// finish gives the file its name, once it is durable.
func (r *exportRun) finish(ctx context.Context) error {
	err := os.Rename(r.path+partSuffix, r.path)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(r.path))
	}
	if err = errors.Join(err, os.Remove(r.path+stateSuffix)); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	_, err = fmt.Fprintf(r.e.Err, "%s: %d readings\n", r.path, r.rows)
	return err
}

// definitions are the versions of the table, for who imports the file.
func (r *exportRun) definitions(ctx context.Context) ([]byte, error) {
	all, err := r.x.Tables(ctx)
	if err != nil {
		return nil, err
	}
	defs := transfer.Definitions{Format: transfer.DefinitionsFormat}
	for _, d := range all {
		if d.Table == r.state.Scope.Table {
			defs.Tables = append(defs.Tables, d)
		}
	}
	return json.MarshalIndent(defs, "", "  ")
}
