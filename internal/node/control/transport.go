package control

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func transport(dataDir string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return Connect(ctx, dataDir)
	}}
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return nil, telemetry.Errorf(telemetry.CodeInternal, "ask the node", "%v", err)
		}
	}
	return c.request(ctx, method, path, "application/json", &b)
}

// post sends a body that is not JSON.
func (c *Client) post(ctx context.Context, path, kind string, body []byte) (*http.Response, error) {
	return c.request(ctx, http.MethodPost, path, kind, bytes.NewReader(body))
}

func (c *Client) request(ctx context.Context, method, path, kind string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInternal, "ask the node", "%v", err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, lost(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e wireError
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Message == "" {
		return nil, telemetry.Errorf(telemetry.CodeInternal, "ask the node", "the node answered %s to %s; is it of another version?", resp.Status, path)
	}
	return nil, e.err()
}
