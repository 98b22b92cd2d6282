package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// maxDocument bounds the schema document of an Accept.
const maxDocument = 16 << 20

// Handler answers the commands with what the backend says.
func Handler(b Backend) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, b.Status)
	})
	mux.HandleFunc("POST /v1/quarantine/list", func(w http.ResponseWriter, r *http.Request) {
		var f Filter
		if !read(w, r, &f) {
			return
		}
		list(w, r, b, f)
	})
	mux.HandleFunc("POST /v1/quarantine/replay", func(w http.ResponseWriter, r *http.Request) {
		var f Filter
		if !read(w, r, &f) {
			return
		}
		answer(w, r, func(ctx context.Context) (*Replayed, error) { return b.Replay(ctx, f) })
	})
	mux.HandleFunc("POST /v1/schemas/accept", func(w http.ResponseWriter, r *http.Request) {
		var a acceptRequest
		if !read(w, r, &a) {
			return
		}
		answer(w, r, func(ctx context.Context) (*Accepted, error) {
			return b.Accept(ctx, a.File, a.Document, a.Breaking)
		})
	})
	mux.HandleFunc("POST /v1/schemas/check", func(w http.ResponseWriter, r *http.Request) {
		var a acceptRequest
		if !read(w, r, &a) {
			return
		}
		answer(w, r, func(ctx context.Context) (*Accepted, error) {
			return b.Check(ctx, a.File, a.Document)
		})
	})
	mux.HandleFunc("POST /v1/delete", func(w http.ResponseWriter, r *http.Request) {
		var d Delete
		if !read(w, r, &d) {
			return
		}
		answer(w, r, func(ctx context.Context) (*Deleted, error) { return b.Delete(ctx, d) })
	})
	mux.HandleFunc("POST /v1/query", func(w http.ResponseWriter, r *http.Request) {
		var q queryRequest
		if read(w, r, &q) {
			runQuery(w, r, b, q)
		}
	})
	if t, ok := b.(Transfer); ok {
		handleTransfer(mux, t)
	}
	if k, ok := b.(LossKeeper); ok {
		handleLosses(mux, k)
	}
	if k, ok := b.(Keeper); ok {
		handleKeeper(mux, k)
	}
	if a, ok := b.(Ages); ok {
		handleAges(mux, a)
	}
	if c, ok := b.(Cards); ok {
		handleCards(mux, c)
	}
	if k, ok := b.(Keys); ok {
		handleKeys(mux, k)
	}
	if x, ok := b.(Exporter); ok {
		handleExport(mux, x)
	}
	return mux
}

type queryRequest struct {
	SQL    string `json:"sql"`
	Format string `json:"format"`
}

// queryEnd is the trailer that ends the rows: empty, or the error that cut them
// short. A response without it was torn.
const queryEnd = "Weir-End"

// runQuery streams rows. Before the first byte an error has a status; after it,
// the trailer tells.
func runQuery(w http.ResponseWriter, r *http.Request, b Backend, q queryRequest) {
	out := &firstByte{w: w}
	err := b.Query(r.Context(), q.SQL, q.Format, out)
	if err != nil && !out.written {
		fail(w, err)
		return
	}
	out.begin()
	end := "ok"
	if err != nil {
		text, marshalled := json.Marshal(toWire(err))
		if marshalled != nil {
			text = []byte(`{"code":"internal","message":"the error cannot be told"}`)
		}
		end = string(text)
	}
	w.Header().Set(queryEnd, end)
}

// firstByte announces the trailer before the first byte.
type firstByte struct {
	w       http.ResponseWriter
	written bool
}

func (f *firstByte) begin() {
	if !f.written {
		f.written = true
		f.w.Header().Set("Trailer", queryEnd)
		f.w.Header().Set("Content-Type", "application/octet-stream")
		f.w.WriteHeader(http.StatusOK)
	}
}

func (f *firstByte) Write(p []byte) (int, error) {
	f.begin()
	return f.w.Write(p)
}

type acceptRequest struct {
	File     string `json:"file"`
	Document []byte `json:"document"`
	Breaking bool   `json:"breaking"`
}

// wireError is a telemetry.Error on its way to another process.
type wireError struct {
	Code    telemetry.Code `json:"code"`
	Op      string         `json:"op,omitempty"`
	Message string         `json:"message"`
	Hint    string         `json:"hint,omitempty"`
}

func toWire(err error) *wireError {
	var e *telemetry.Error
	if errors.As(err, &e) {
		return &wireError{e.Code, e.Op, e.Message, e.Hint}
	}
	return &wireError{Code: telemetry.CodeInternal, Message: err.Error()}
}

func (e *wireError) err() error {
	return &telemetry.Error{Code: e.Code, Op: e.Op, Message: e.Message, Hint: e.Hint}
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDocument))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		// Reading to the end also lets the server notice when the client goes away.
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something stands after the request")
		}
	}
	if err != nil {
		fail(w, telemetry.Errorf(telemetry.CodeInvalid, "read the request", "%v", err))
	}
	return err == nil
}

func fail(w http.ResponseWriter, err error) {
	e := toWire(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusOf(e.Code))
	_ = json.NewEncoder(w).Encode(e) // the client is gone if this fails
}

func answer[T any](w http.ResponseWriter, r *http.Request, ask func(context.Context) (*T, error)) {
	result, err := ask(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(result) // the client is gone if this fails
}

// listItem is one line of a listing: a record, the error that ended it, or the
// end, so that a torn connection is not taken for a short list.
type listItem struct {
	Record *Record    `json:"record,omitempty"`
	Error  *wireError `json:"error,omitempty"`
	End    bool       `json:"end,omitempty"`
}

func list(w http.ResponseWriter, r *http.Request, b Backend, f Filter) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	var broken error
	err := b.Quarantined(r.Context(), f, func(rec *Record) bool {
		broken = enc.Encode(listItem{Record: rec})
		return broken == nil
	})
	switch {
	case broken != nil:
	case err != nil:
		_ = enc.Encode(listItem{Error: toWire(err)})
	default:
		_ = enc.Encode(listItem{End: true})
	}
}

// Client asks a running node.
type Client struct{ http http.Client }

// NewClient returns a client of the node that owns the data directory, or
// CodeNotFound where none is running.
func NewClient(ctx context.Context, dataDir string) (*Client, error) {
	conn, err := Connect(ctx, dataDir)
	if err != nil {
		return nil, err
	}
	_ = conn.Close() // it was only asked whether somebody answers
	c := &Client{}
	c.http.Transport = transport(dataDir)
	return c, nil
}

var _ Backend = (*Client)(nil)

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func do[T any](ctx context.Context, c *Client, method, path string, body any) (*T, error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := new(T)
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return nil, lost(err)
	}
	return out, nil
}

func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return telemetry.Errorf(telemetry.CodeUnavailable, "ask the node", "the node ended before it had answered")
	}
	return telemetry.Errorf(telemetry.CodeUnavailable, "ask the node", "%v", err)
}

// Status implements Backend.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return do[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Replay implements Backend.
func (c *Client) Replay(ctx context.Context, f Filter) (*Replayed, error) {
	return do[Replayed](ctx, c, http.MethodPost, "/v1/quarantine/replay", f)
}

// Delete implements Backend.
func (c *Client) Delete(ctx context.Context, d Delete) (*Deleted, error) {
	return do[Deleted](ctx, c, http.MethodPost, "/v1/delete", d)
}

// Accept implements Backend.
func (c *Client) Accept(ctx context.Context, file string, document []byte, breaking bool) (*Accepted, error) {
	return do[Accepted](ctx, c, http.MethodPost, "/v1/schemas/accept", acceptRequest{file, document, breaking})
}

// Check implements Backend.
func (c *Client) Check(ctx context.Context, file string, document []byte) (*Accepted, error) {
	return do[Accepted](ctx, c, http.MethodPost, "/v1/schemas/check", acceptRequest{File: file, Document: document})
}

// Quarantined implements Backend.
func (c *Client) Quarantined(ctx context.Context, f Filter, yield func(*Record) bool) error {
	resp, err := c.send(ctx, http.MethodPost, "/v1/quarantine/list", f)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var item listItem
		switch err := d.Decode(&item); {
		case err != nil:
			return lost(err)
		case item.Error != nil:
			return item.Error.err()
		case item.End:
			return nil
		case item.Record != nil && !yield(item.Record):
			return nil
		}
	}
}

// Query implements Backend.
func (c *Client) Query(ctx context.Context, sql, format string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodPost, "/v1/query", queryRequest{sql, format})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := &reading{r: resp.Body}
	if _, err := io.Copy(w, in); err != nil {
		if in.err != nil {
			return lost(in.err)
		}
		return err
	}
	switch end := resp.Trailer.Get(queryEnd); end {
	case "ok":
		return nil
	case "":
		return lost(io.ErrUnexpectedEOF)
	default:
		var e wireError
		if err := json.Unmarshal([]byte(end), &e); err != nil {
			return lost(err)
		}
		return e.err()
	}
}

// reading tells errors of the connection from those of the writer.
type reading struct {
	r   io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
