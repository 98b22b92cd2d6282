package control

import (
	"context"
	"net/http"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Keeper is what weir backup and weir verify ask of a node or of a data directory;
// Client offers the same from another process.
type Keeper interface {
	// Backup writes a snapshot into a directory.
	Backup(ctx context.Context, o BackupOptions, progress func(done, total int64)) (*BackedUp, error)
	// Verify reads everything that is stored and reports what is damaged.
	Verify(ctx context.Context, found func(Finding), progress func(done, total int64)) error
}

// BackupOptions say how a snapshot is made.
type BackupOptions struct {
	Dir      string `json:"dir"` // absolute
	Rate     int64  `json:"rate,omitempty"`
	Keep     int    `json:"keep,omitempty"`
	Verify   bool   `json:"verify,omitempty"`
	WithKeys bool   `json:"with_keys,omitempty"`
}

// BackedUp is a snapshot that was made.
type BackedUp struct {
	Snapshot string   `json:"snapshot"`
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"`
	Copied   int64    `json:"copied"`
	Shared   int64    `json:"shared"`
	Readings int64    `json:"readings"`
	Pruned   []string `json:"pruned,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Finding is something that a check found.
type Finding struct {
	Where string `json:"where"`
	What  string `json:"what"`
	Do    string `json:"do"`
	// Note is true where nothing is lost or wrong.
	Note bool `json:"note,omitempty"`
}

func handleKeeper(mux *http.ServeMux, b Keeper) {
	mux.HandleFunc("POST /v1/backup", func(w http.ResponseWriter, r *http.Request) {
		var o BackupOptions
		if !read(w, r, &o) {
			return
		}
		stream(w, r, func(ctx context.Context, item func(BackedUp), progress func(done, total int64)) error {
			done, err := b.Backup(ctx, o, progress)
			if err == nil {
				item(*done)
			}
			return err
		})
	})
	mux.HandleFunc("POST /v1/verify", func(w http.ResponseWriter, r *http.Request) {
		stream(w, r, b.Verify)
	})
}

var _ Keeper = (*Client)(nil)

// Backup implements Keeper.
func (c *Client) Backup(ctx context.Context, o BackupOptions, progress func(done, total int64)) (*BackedUp, error) {
	var out *BackedUp
	err := receive(ctx, c, "/v1/backup", o, func(b BackedUp) { out = &b }, progress)
	if err == nil && out == nil {
		err = telemetry.Errorf(telemetry.CodeInternal, "ask the node", "it says nothing of the snapshot")
	}
	return out, err
}

// Verify implements Keeper.
func (c *Client) Verify(ctx context.Context, found func(Finding), progress func(done, total int64)) error {
	return receive(ctx, c, "/v1/verify", nil, found, progress)
}
