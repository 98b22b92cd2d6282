package control

import (
	"context"
	"net/http"

	"github.com/weir-telemetry/weir/internal/store/embedded"
)

// LossKeeper is what weir verify --accept-loss asks of a node; Client offers the same
// from another process.
type LossKeeper interface {
	// FindLosses reads everything that is stored and tells what cannot be read and may
	// be given up.
	FindLosses(ctx context.Context, found func(embedded.Loss), progress func(done, total int64)) error
	// AcceptLosses gives up what FindLosses told, all of it or, where that has changed,
	// nothing.
	AcceptLosses(ctx context.Context, losses []embedded.Loss) error
}

func handleLosses(mux *http.ServeMux, k LossKeeper) {
	mux.HandleFunc("POST /v1/losses/find", func(w http.ResponseWriter, r *http.Request) {
		stream(w, r, k.FindLosses)
	})
	mux.HandleFunc("POST /v1/losses/accept", func(w http.ResponseWriter, r *http.Request) {
		var losses []embedded.Loss
		if read(w, r, &losses) {
			answer(w, r, func(ctx context.Context) (*struct{}, error) { return &struct{}{}, k.AcceptLosses(ctx, losses) })
		}
	})
}

var _ LossKeeper = (*Client)(nil)

// FindLosses implements LossKeeper.
func (c *Client) FindLosses(ctx context.Context, found func(embedded.Loss), progress func(done, total int64)) error {
	return receive(ctx, c, "/v1/losses/find", nil, found, progress)
}

// AcceptLosses implements LossKeeper.
func (c *Client) AcceptLosses(ctx context.Context, losses []embedded.Loss) error {
	_, err := do[struct{}](ctx, c, http.MethodPost, "/v1/losses/accept", losses)
	return err
}
