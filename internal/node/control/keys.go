package control

import (
	"context"
	"net/http"
)

// Keys is what weir key asks of a node; Client offers the same from another process.
type Keys interface {
	// RotateKey wraps the node's data keys by a new master key, which takes the
	// place of the key file, or is that of the named file.
	RotateKey(ctx context.Context, newKeyFile string) (*Rotated, error)
}

// Rotated is what a rotation did.
type Rotated struct {
	// Finished says that an earlier rotation, which was interrupted, was completed,
	// and no new key drawn.
	Finished bool `json:"finished"`
}

type rotateRequest struct {
	NewKeyFile string `json:"new_key_file"`
}

func handleKeys(mux *http.ServeMux, k Keys) {
	mux.HandleFunc("POST /v1/keys/rotate", func(w http.ResponseWriter, r *http.Request) {
		var q rotateRequest
		if read(w, r, &q) {
			answer(w, r, func(ctx context.Context) (*Rotated, error) { return k.RotateKey(ctx, q.NewKeyFile) })
		}
	})
}

// RotateKey implements Keys.
func (c *Client) RotateKey(ctx context.Context, newKeyFile string) (*Rotated, error) {
	return do[Rotated](ctx, c, http.MethodPost, "/v1/keys/rotate", rotateRequest{newKeyFile})
}
