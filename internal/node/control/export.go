package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// Exporter is what weir export asks of a node or of a data directory; Client
// offers the same from another process.
type Exporter interface {
	Tables(ctx context.Context) ([]transfer.Definition, error)
	// ExportPlan says what an export gives, in parts that are asked for one by one.
	ExportPlan(ctx context.Context, s ExportScope) (*ExportPlan, error)
	// Export writes the rows of one part as a file, and returns how many they are.
	Export(ctx context.Context, p ExportPart, w io.Writer) (int64, error)
}

// ExportScope says what is exported.
type ExportScope struct {
	Table string `json:"table"`
	Where string `json:"where,omitempty"` // a condition, as SQL has it after WHERE
	From  int64  `json:"from,string"`     // inclusive
	To    int64  `json:"to,string"`       // exclusive
}

// ExportPlan is an export in parts.
type ExportPlan struct {
	Tags    []string          `json:"tags"`
	Columns []transfer.Column `json:"columns"`
	Parts   []ExportRange     `json:"parts"`
}

// ExportRange is one stretch of time, with about how many rows it has.
type ExportRange struct {
	From int64 `json:"from,string"`
	To   int64 `json:"to,string"`
	Rows int64 `json:"rows"`
}

// ExportPart asks for one part.
type ExportPart struct {
	ExportScope
	Format  string            `json:"format"`
	First   bool              `json:"first"` // with the header, where the format has one
	Tags    []string          `json:"tags"`
	Columns []transfer.Column `json:"columns"`
}

func handleExport(mux *http.ServeMux, b Exporter) {
	mux.HandleFunc("POST /v1/export/plan", func(w http.ResponseWriter, r *http.Request) {
		var s ExportScope
		if read(w, r, &s) {
			answer(w, r, func(ctx context.Context) (*ExportPlan, error) { return b.ExportPlan(ctx, s) })
		}
	})
	mux.HandleFunc("POST /v1/export", func(w http.ResponseWriter, r *http.Request) {
		var p ExportPart
		if !read(w, r, &p) {
			return
		}
		out := &firstByte{w: w}
		rows, err := b.Export(r.Context(), p, out)
		if err != nil && !out.written {
			fail(w, err)
			return
		}
		out.begin()
		end := strconv.FormatInt(rows, 10)
		if err != nil {
			text, marshalled := json.Marshal(toWire(err))
			if end = string(text); marshalled != nil {
				end = ""
			}
		}
		w.Header().Set(queryEnd, end)
	})
}

var _ Exporter = (*Client)(nil)

// ExportPlan implements Exporter.
func (c *Client) ExportPlan(ctx context.Context, s ExportScope) (*ExportPlan, error) {
	return do[ExportPlan](ctx, c, http.MethodPost, "/v1/export/plan", s)
}

// Export implements Exporter.
func (c *Client) Export(ctx context.Context, p ExportPart, w io.Writer) (int64, error) {
	resp, err := c.send(ctx, http.MethodPost, "/v1/export", p)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	in := &reading{r: resp.Body}
	if _, err := io.Copy(w, in); err != nil {
		if in.err != nil {
			return 0, errors.Join(ctx.Err(), lost(in.err))
		}
		return 0, err
	}
	end := resp.Trailer.Get(queryEnd)
	if rows, err := strconv.ParseInt(end, 10, 64); err == nil {
		return rows, nil
	}
	var e wireError
	if err := json.Unmarshal([]byte(end), &e); err != nil {
		return 0, lost(io.ErrUnexpectedEOF)
	}
	return 0, e.err()
}

// CheckExportFormat refuses formats that no encoder has.
func CheckExportFormat(format string) error {
	switch format {
	case transfer.CSV, transfer.NDJSON, transfer.Parquet:
		return nil
	}
	return telemetry.Errorf(telemetry.CodeInvalid, "export", "unknown format %q", format).WithHint("csv, ndjson or parquet")
}
