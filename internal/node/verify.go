package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/store/embedded"
)

// aside lists what was set aside as damaged: it is no part of the store any more.
func aside(dataDir string, found func(control.Finding)) {
	dir := filepath.Join(dataDir, "damaged")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return
	}
	found(control.Finding{
		Where: dir, What: fmt.Sprintf("%d damaged frames, rows or segments were set aside earlier", len(entries)),
		Do: "look at them or not; then remove the directory", Note: true,
	})
}

// Verify implements control.Keeper.
func (n *Node) Verify(ctx context.Context, found func(control.Finding), progress func(done, total int64)) error {
	aside(n.cfg.DataDir, found)
	accepted(n.store, found)
	return verifyStore(ctx, n.store, found, progress)
}

// Verify implements control.Keeper.
func (r *Reader) Verify(ctx context.Context, found func(control.Finding), progress func(done, total int64)) error {
	aside(r.cfg.DataDir, found)
	accepted(r.store, found)
	orphans, err := r.store.Orphans()
	if err != nil {
		return err
	}
	for _, path := range orphans {
		found(control.Finding{Where: path, What: "no row of the catalog names it: an interrupted compaction left it", Do: "nothing: the next start of the node removes it", Note: true})
	}
	return verifyStore(ctx, r.store, found, progress)
}

// verifyStore reads everything that a store keeps.
func verifyStore(ctx context.Context, st *embedded.Store, found func(control.Finding), progress func(done, total int64)) error {
	s := st.Stats()
	total := s.SegmentSize + s.Level0Bytes
	return st.Verify(ctx, func(d embedded.Damage) {
		f := control.Finding{Where: d.File, What: d.Err.Error(), Do: adviceFor(d.Kind)}
		if d.Length > 0 {
			f.Where = fmt.Sprintf("%s, bytes %d to %d", d.File, d.Offset, d.Offset+d.Length-1)
		}
		found(f)
	}, func(v embedded.Verified) {
		if progress != nil {
			progress(min(v.Bytes, total), total)
		}
	})
}

// adviceFor says what to do about a kind of damage.
func adviceFor(kind string) string {
	switch kind {
	case "frame":
		return "the readings of this commit are lost and the rest is whole: the node sets the frame aside at its next compaction; a backup made before the damage has them"
	case "segment":
		return "the rest of the store stays readable; stop the node and put back the file of this name from a backup (weir restore into another directory, then copy it), or give these readings up: weir verify --accept-loss"
	case "manifest":
		return "somebody or something removed rows or files from a sealed store: find out who; then restore a backup, or give up what is missing: weir verify --accept-loss"
	case "quarantine":
		return "these quarantined messages are lost, and the readings are not concerned; weir verify --accept-loss gives them up"
	}
	return "copy the data directory first; then restore a backup, or go on without what the row held (docs/format/catalog.md says what that is; weir verify --accept-loss gives up what can be)"
}
