package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// importInflux imports dumps of InfluxDB.
func importInflux(ctx context.Context, e *Env, o ImportOptions) error {
	return importForeign(ctx, e, o, func(progress func(done, total int64)) (transfer.ForeignSource, error) {
		return transfer.OpenInflux(ctx, o.Paths, progress)
	})
}

// importTimescale imports dumps of PostgreSQL and TimescaleDB.
func importTimescale(ctx context.Context, e *Env, o ImportOptions) error {
	return importForeign(ctx, e, o, func(progress func(done, total int64)) (transfer.ForeignSource, error) {
		return transfer.OpenPostgres(ctx, o.Paths, transfer.PostgresOptions{
			Table: o.SourceTable, Columns: o.Columns, Time: o.TimeColumn, Tags: o.Tags,
		}, progress)
	})
}

// importForeign imports a dump of another database: it is read once for what it
// holds, its tables find theirs, and then the rows are stored.
func importForeign(ctx context.Context, e *Env, o ImportOptions, open func(progress func(done, total int64)) (transfer.ForeignSource, error)) error {
	for _, path := range o.Paths {
		if path == transfer.Stdin {
			return telemetry.Errorf(telemetry.CodeInvalid, "import", "a dump is read twice, so it cannot come from standard input").WithHint("write it to a file; it may be compressed with gzip or zstd")
		}
	}
	key, err := dumpKey(ctx, o)
	if err != nil {
		return err
	}
	bar := newProgress(e.Err, "reading")
	src, err := open(func(done, total int64) { bar.show(done, total, sizeText(done)) })
	bar.end()
	if err != nil {
		return err
	}
	err = e.withImport(ctx, o, func(run *importRun) error {
		if len(src.Tables()) == 0 {
			if err := run.rejects.begin(false); err != nil {
				return err
			}
			for _, f := range src.Faults() {
				run.reject(f)
			}
		}
		if err := run.bind(ctx, src.Tables()); err != nil {
			return err
		}
		return run.read(ctx, strings.Join(o.Paths, ", "), key, func() (transfer.Reader, error) { return src.Open(run.tables) })
	})
	return errors.Join(err, src.Close())
}

// dumpKey names an import by the content of all its files, and how they are read.
func dumpKey(ctx context.Context, o ImportOptions) (string, error) {
	h := sha256.New()
	for _, path := range o.Paths {
		k, err := fileKey(ctx, path)
		if err != nil {
			return "", err
		}
		_, _ = io.WriteString(h, k) // never fails
	}
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00%q\x00%q", o.Format, o.Table, o.SourceTable, o.TimeColumn, o.Columns, o.Tags)
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// bind finds the Weir table of each foreign table: the one that is given, the
// recorded one of the same name, or a new one with a proposed schema.
func (r *importRun) bind(ctx context.Context, tables []*transfer.Foreign) error {
	if len(tables) == 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "the dump holds no readings").
			WithHint("is it of that database? A dump of influx is line protocol; of timescale, plain SQL, or rows of COPY or CSV")
	}
	if r.o.Table != "" && len(tables) > 1 {
		var names []string
		for _, f := range tables {
			names = append(names, f.Source)
		}
		return telemetry.Errorf(telemetry.CodeInvalid, "import", "one table is named, and the dump holds %d: %s", len(tables), strings.Join(names, ", ")).
			WithHint("leave --table and --schema out; record schemas with weir schema accept before")
	}
	for _, f := range tables {
		name := f.Name
		if r.o.Table != "" {
			name = r.o.Table
		}
		if r.tables.Find(name, 0) == nil {
			document, err := f.Document()
			if err != nil {
				return err
			}
			if _, err := r.node.Accept(ctx, name+".yaml", document, false); err != nil {
				return err
			}
			if err := r.say("%s: no schema of that name is recorded; this one is proposed and recorded:\n%s", f.Source, strings.TrimRight(string(document), "\n")); err != nil {
				return err
			}
			if err := r.reload(ctx); err != nil {
				return err
			}
		}
		t := r.tables.Find(name, 0)
		if t == nil {
			return telemetry.Errorf(telemetry.CodeNotFound, "import", "there is no table %q", name)
		}
		if err := f.Bind(t); err != nil {
			return err
		}
	}
	return nil
}
