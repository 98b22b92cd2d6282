package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// Transfer is what weir export and weir import ask of a node; Client offers the
// same from another process.
type Transfer interface {
	// Tables returns every recorded version with its document.
	Tables(ctx context.Context) ([]transfer.Definition, error)
	// RecordTables records versions as another store had them. Other content under
	// the same name and version is CodeConflict.
	RecordTables(ctx context.Context, tables []transfer.Definition) error
	// ImportMark returns the mark up to which an import is stored, false where
	// nothing of it is.
	ImportMark(ctx context.Context, key string) (uint64, bool, error)
	// ImportBatches stores rows and the mark in one step. Where the import is not
	// at the mark from, nothing is stored and the error is CodeConflict: another run
	// of it went on meanwhile.
	ImportBatches(ctx context.Context, key string, from, mark uint64, batches []*transfer.Batch) (*Imported, error)
	Accept(ctx context.Context, file string, document []byte, breaking bool) (*Accepted, error)
}

// Imported is what storing a part of an import did.
type Imported struct {
	Stored    int       `json:"stored"`
	Duplicate int       `json:"duplicate"`
	Refused   []Refused `json:"refused,omitempty"`
}

// Refused is a row that the store did not take.
type Refused struct {
	Line int64  `json:"line"`
	Why  string `json:"why"`
}

// maxImport bounds one request of an import.
const maxImport = 256 << 20

type importMark struct {
	Mark  uint64 `json:"mark,string"`
	Known bool   `json:"known"`
}

type tablesAnswer struct {
	Tables []transfer.Definition `json:"tables"`
}

func handleTransfer(mux *http.ServeMux, b Transfer) {
	mux.HandleFunc("GET /v1/tables", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context) (*tablesAnswer, error) {
			tables, err := b.Tables(ctx)
			return &tablesAnswer{tables}, err
		})
	})
	mux.HandleFunc("POST /v1/tables", func(w http.ResponseWriter, r *http.Request) {
		var t tablesAnswer
		if read(w, r, &t) {
			answer(w, r, func(ctx context.Context) (*struct{}, error) { return &struct{}{}, b.RecordTables(ctx, t.Tables) })
		}
	})
	mux.HandleFunc("GET /v1/import/mark", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context) (*importMark, error) {
			mark, known, err := b.ImportMark(ctx, r.URL.Query().Get("key"))
			return &importMark{mark, known}, err
		})
	})
	mux.HandleFunc("POST /v1/import", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context) (*Imported, error) { return importRequest(ctx, w, r, b) })
	})
}

func importRequest(ctx context.Context, w http.ResponseWriter, r *http.Request, b Transfer) (*Imported, error) {
	var from, mark uint64
	for name, v := range map[string]*uint64{"from": &from, "mark": &mark} {
		if _, err := fmt.Sscan(r.URL.Query().Get(name), v); err != nil {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "read the request", "the number %q: %v", name, err)
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxImport))
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "read the request", "%v", err)
	}
	var batches []*transfer.Batch
	for len(data) > 0 {
		var batch *transfer.Batch
		if batch, data, err = transfer.DecodeBatch(data); err != nil {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "read the request", "%v", err)
		}
		batches = append(batches, batch)
	}
	return b.ImportBatches(ctx, r.URL.Query().Get("key"), from, mark, batches)
}

var _ Transfer = (*Client)(nil)

// Tables implements Transfer.
func (c *Client) Tables(ctx context.Context) ([]transfer.Definition, error) {
	t, err := do[tablesAnswer](ctx, c, http.MethodGet, "/v1/tables", nil)
	if err != nil {
		return nil, err
	}
	return t.Tables, nil
}

// RecordTables implements Transfer.
func (c *Client) RecordTables(ctx context.Context, tables []transfer.Definition) error {
	_, err := do[struct{}](ctx, c, http.MethodPost, "/v1/tables", tablesAnswer{tables})
	return err
}

// ImportMark implements Transfer.
func (c *Client) ImportMark(ctx context.Context, key string) (uint64, bool, error) {
	m, err := do[importMark](ctx, c, http.MethodGet, "/v1/import/mark?key="+url.QueryEscape(key), nil)
	if err != nil {
		return 0, false, err
	}
	return m.Mark, m.Known, nil
}

// ImportBatches implements Transfer.
func (c *Client) ImportBatches(ctx context.Context, key string, from, mark uint64, batches []*transfer.Batch) (*Imported, error) {
	var body []byte
	for _, b := range batches {
		body = transfer.AppendBatch(body, b)
	}
	path := fmt.Sprintf("/v1/import?key=%s&from=%d&mark=%d", url.QueryEscape(key), from, mark)
	resp, err := c.post(ctx, path, "application/octet-stream", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := new(Imported)
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return nil, lost(err)
	}
	return out, nil
}
