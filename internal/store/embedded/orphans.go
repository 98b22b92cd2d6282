package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Orphans returns files that look like segments and that the catalog does not
// name: what an interrupted compaction left, which the next start of a node
// removes. It is for a store that is open for reading only; a running node may
// be writing them.
func (s *Store) Orphans() ([]string, error) {
	named := map[string]bool{}
	for _, tn := range *s.tenants.Load() {
		if len(tn.lost)+len(tn.lostRollups) > 0 {
			return nil, nil // what they name is not known
		}
		for _, g := range slices.Concat(tn.segs, tn.rollups) {
			if g.pack != nil {
				named[filepath.Base(g.pack.file.path)] = true
			} else {
				named[filepath.Base(s.segmentPath(g.id))] = true
			}
		}
	}
	dir := filepath.Join(s.opt.Dir, segmentDir)
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "list segments", "%w", fmt.Errorf("%s: %w", dir, err))
	}
	var out []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".seg", packExt, ".tmp":
			if !named[e.Name()] {
				out = append(out, filepath.Join(dir, e.Name()))
			}
		}
	}
	return out, nil
}
