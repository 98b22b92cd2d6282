package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/node/control"
)

// aside lists what was set aside as damaged: it is no part of the store any more.
func aside(dataDir string, found func(control.Finding)) {
	dir := filepath.Join(dataDir, "damaged")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return
	}
	found(control.Finding{
		Where: dir, What: fmt.Sprintf("%d damaged frames or rows were set aside earlier", len(entries)),
		Do: "look at them or not; then remove the directory", Note: true,
	})
}

// Verify implements control.Keeper.
func (n *Node) Verify(ctx context.Context, found func(control.Finding), progress func(done, total int64)) error {
	aside(n.cfg.DataDir, found)
	return verifyStore(ctx, n.store, found, progress)
}

// Verify implements control.Keeper.
func (r *Reader) Verify(ctx context.Context, found func(control.Finding), progress func(done, total int64)) error {
	aside(r.cfg.DataDir, found)
	return verifyStore(ctx, r.store, found, progress)
}
