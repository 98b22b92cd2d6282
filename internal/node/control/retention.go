package control

import (
	"context"
	"net/http"
	"time"
)

// Ages is what weir retention asks of a node; Client offers the same from another
// process.
type Ages interface {
	// Retention tells what is kept for how long, and from which time ages count.
	// confirm says first that the wall clock is right.
	Retention(ctx context.Context, confirm bool) (*Retention, error)
}

// Retention is what a node keeps for how long.
type Retention struct {
	// Time is that from which ages count; zero: none is known.
	Time time.Time `json:"time"`
	// AheadSeconds is how far the wall clock is ahead of it, where it is not believed.
	AheadSeconds float64 `json:"ahead_seconds,omitempty"`
	Tables       []Kept  `json:"tables"`
}

// Kept is what is kept of a table.
type Kept struct {
	Table     string   `json:"table"`
	Retention string   `json:"retention,omitempty"` // of readings; "" is for ever
	Rollups   []string `json:"rollups,omitempty"`   // as "1h" or "1h for 730d"
}

type retentionRequest struct {
	Confirm bool `json:"confirm"`
}

func handleAges(mux *http.ServeMux, a Ages) {
	mux.HandleFunc("POST /v1/retention", func(w http.ResponseWriter, r *http.Request) {
		var q retentionRequest
		if read(w, r, &q) {
			answer(w, r, func(ctx context.Context) (*Retention, error) { return a.Retention(ctx, q.Confirm) })
		}
	})
}

// Retention implements Ages.
func (c *Client) Retention(ctx context.Context, confirm bool) (*Retention, error) {
	return do[Retention](ctx, c, http.MethodPost, "/v1/retention", retentionRequest{confirm})
}
