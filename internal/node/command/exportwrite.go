package command

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// partWriter writes one part of an export behind the others.
type partWriter func(ctx context.Context, p control.ExportPart) (exported, error)

// writer returns how parts are written, after the files that stand beside.
func (r *exportRun) writer() (partWriter, error) {
	offset := int64(0)
	var described [][]byte
	for _, d := range r.done {
		offset = d.Offset
		described = append(described, d.RowGroups)
	}
	if r.state.Format != transfer.Parquet {
		return func(ctx context.Context, p control.ExportPart) (exported, error) {
			out := &countingWriter{w: r.w}
			rows, err := r.x.Export(ctx, p, out)
			offset += out.n
			return exported{Offset: offset, Rows: rows}, err
		}, nil
	}
	stitch, err := transfer.NewStitch(r.w, offset, described)
	if err != nil {
		return nil, err
	}
	r.stitch = stitch
	return func(ctx context.Context, p control.ExportPart) (exported, error) {
		part, err := os.CreateTemp(r.tempDir(), ".weir-export-*")
		if err != nil {
			return exported{}, telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
		}
		// Its name goes at once, so that a kill leaves no readings in clear; where a
		// system takes no open file away, it goes afterwards.
		_ = os.Remove(part.Name())
		defer func() { _ = errors.Join(part.Close(), os.Remove(part.Name())) }()
		rows, err := r.x.Export(ctx, p, part)
		if err != nil {
			return exported{}, err
		}
		groups, err := stitch.Append(part)
		return exported{Offset: stitch.Offset(), Rows: rows, RowGroups: groups}, err
	}, nil
}

// tempDir is where parts of a Parquet file wait to be appended.
func (r *exportRun) tempDir() string {
	if r.path == "" {
		return ""
	}
	return filepath.Dir(r.path)
}

// end writes what stands behind the last part, and the file of definitions.
func (r *exportRun) end(ctx context.Context) error {
	defs, err := r.definitions(ctx)
	if err != nil {
		return err
	}
	if r.stitch != nil {
		if err := r.stitch.Close(transfer.DefinitionsKey, string(defs)); err != nil {
			return err
		}
	}
	if r.out == nil {
		return nil
	}
	if err := r.out.Sync(); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	if r.stitch != nil {
		return nil // they stand in the file
	}
	if err := os.WriteFile(r.path+definitionsSuffix, append(defs, '\n'), 0o644); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "export", "%w", err)
	}
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
