// Package local carries queries to a running node: a handler that the node
// mounts on its socket, and the client that weir query uses.
//
// POST /v1/query takes {"sql": "…", "format": "table|json|ndjson|csv"} and
// answers with the rows, rendered, while they come. What goes wrong before the
// first byte is a status with {"error": {…}}; what goes wrong later stands in
// the trailer Weir-Error, in the same form, because the status is sent already.
package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/query/render"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

const (
	// Path is where the handler is mounted.
	Path         = "/v1/query"
	errorTrailer = "Weir-Error"
	maxRequest   = 2 << 20
)

// request is the body of POST /v1/query.
type request struct {
	SQL    string `json:"sql"`
	Format string `json:"format,omitempty"`
}

// wireError is a telemetry.Error on the wire.
type wireError struct {
	Code    telemetry.Code `json:"code"`
	Op      string         `json:"op,omitempty"`
	Message string         `json:"message"`
	Hint    string         `json:"hint,omitempty"`
}

func toWire(err error) wireError {
	var e *telemetry.Error
	if errors.As(err, &e) {
		return wireError{e.Code, e.Op, e.Message, e.Hint}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return wireError{Code: telemetry.CodeUnavailable, Op: "query", Message: err.Error()}
	}
	return wireError{Code: telemetry.CodeInternal, Op: "query", Message: err.Error()}
}

func (w wireError) err() error {
	return &telemetry.Error{Code: w.Code, Op: w.Op, Message: w.Message, Hint: w.Hint}
}

// status maps codes to HTTP statuses.
func status(c telemetry.Code) int {
	switch c {
	case telemetry.CodeInvalid:
		return http.StatusBadRequest
	case telemetry.CodeNotFound:
		return http.StatusNotFound
	case telemetry.CodeConflict:
		return http.StatusConflict
	case telemetry.CodeLimit:
		return http.StatusUnprocessableEntity
	case telemetry.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Handler answers queries of one tenant.
func Handler(engine *query.Engine, tenant telemetry.Tenant) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			refuse(w, http.StatusMethodNotAllowed, telemetry.Errorf(telemetry.CodeInvalid, "query", "%s is not POST", r.Method))
			return
		}
		var req request
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		d.DisallowUnknownFields()
		if err := d.Decode(&req); err != nil {
			refuse(w, http.StatusBadRequest, telemetry.Errorf(telemetry.CodeInvalid, "query", "the request is no JSON of sql and format: %v", err))
			return
		}
		format, err := render.Parse(req.Format)
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		rows, err := engine.Query(r.Context(), tenant, req.SQL)
		if err != nil {
			refuse(w, status(telemetry.CodeOf(err)), err)
			return
		}
		w.Header().Set("Content-Type", format.ContentType())
		w.Header().Set("Trailer", errorTrailer)
		out := &lazyWriter{w: w}
		if err := render.Write(out, format, rows); err != nil {
			if !out.wrote {
				w.Header().Del("Trailer")
				refuse(w, status(telemetry.CodeOf(err)), err)
				return
			}
			text, _ := json.Marshal(toWire(err)) // of texts only: cannot fail
			w.Header().Set(errorTrailer, string(text))
		}
	})
}

// lazyWriter knows whether anything was sent, and sends what is written.
type lazyWriter struct {
	w     http.ResponseWriter
	wrote bool
}

func (l *lazyWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	l.wrote = true
	n, err := l.w.Write(p)
	if f, ok := l.w.(http.Flusher); ok && err == nil {
		f.Flush()
	}
	return n, err
}

func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]wireError{"error": toWire(err)}) // the peer may be gone
}

// Client asks a node.
type Client struct {
	http *http.Client
	base string
}

// NewClient returns a client of the node that listens on a unix socket.
func NewClient(socket string) *Client {
	return &Client{base: "http://node", http: &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// NewHTTPClient returns a client of the node at a base URL.
func NewHTTPClient(base string, c *http.Client) *Client { return &Client{http: c, base: base} }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Query runs a statement and copies its rendered rows to w. An error after
// some rows is returned too; what came before it is in w. A node that cannot be
// reached is CodeUnavailable.
func (c *Client) Query(ctx context.Context, sql string, format render.Format, w io.Writer) error {
	body, err := json.Marshal(request{SQL: sql, Format: string(format)})
	if err != nil {
		return fmt.Errorf("encode query: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+Path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make query request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "ask the node", "%v", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	if resp.StatusCode != http.StatusOK {
		return readRefusal(resp)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if _, err := io.Copy(out, resp.Body); err != nil {
		_ = out.Flush() // the error of the stream says more
		return telemetry.Errorf(telemetry.CodeUnavailable, "ask the node", "the answer broke off: %v", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	if text := resp.Trailer.Get(errorTrailer); text != "" {
		var e wireError
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return fmt.Errorf("read the node's error %q: %w", text, err)
		}
		return e.err()
	}
	return nil
}

func readRefusal(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "ask the node", "the answer broke off: %v", err)
	}
	var body struct {
		Error wireError `json:"error"`
	}
	if err := json.Unmarshal(text, &body); err != nil || body.Error.Message == "" {
		return telemetry.Errorf(telemetry.CodeInternal, "ask the node", "status %s: %.200q", resp.Status, text)
	}
	return body.Error.err()
}
