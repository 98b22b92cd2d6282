package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// lastGoodFile keeps which version was active for each schema document.
const lastGoodFile = "schemas.json"

// lastGood remembers over a restart which plan was active for each document. A
// document that was broken while the node was away then keeps its last good plan,
// as it would have in a running node, and one that was removed stays inactive.
type lastGood struct {
	gate    *gate
	log     *slog.Logger
	path    string        // of the file, "" where nothing is to be written
	schemas string        // the directory of documents
	box     telemetry.Box // seals the file; nil: it is in clear

	known map[string]goodVersion // by file name; nil where nothing was ever kept
}

// goodVersion names a recorded version.
type goodVersion struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

// loadLastGood reads what the last run kept. A file that is damaged or missing
// is made up for by what the documents call themselves.
func loadLastGood(dataDir, schemas string, g *gate, box telemetry.Box, log *slog.Logger) *lastGood {
	l := &lastGood{gate: g, log: log, path: filepath.Join(dataDir, lastGoodFile), schemas: schemas, box: box}
	data, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l
	}
	if err == nil && box != nil {
		data, err = box.Open(nil, data, lastGoodFile)
	}
	var kept struct {
		Documents map[string]goodVersion `json:"documents"`
	}
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		log.Error("which schemas were active cannot be read; recorded ones of the same name stand in for broken documents", "file", l.path, "error", err)
		return l
	}
	l.known = kept.Documents
	if l.known == nil {
		l.known = map[string]goodVersion{}
	}
	return l
}

// plan answers schema.Options.Last.
func (l *lastGood) plan(file, named string, version int) *schema.Plan {
	want, ok := l.known[file]
	switch {
	case ok:
	case named == "":
		return nil
	case l.known == nil:
		want = goodVersion{named, version}
	default:
		if want, ok = l.renamed(named, version); !ok {
			return nil // it was not active, or is new
		}
	}
	p, err := l.gate.recorded(context.Background(), want, l.known == nil)
	if err != nil {
		l.log.Error("the last good version of a schema cannot be read", "file", file, "schema", want.Name, "version", want.Version, "error", err)
	}
	return p
}

// renamed finds the version of a document whose file has another name now.
func (l *lastGood) renamed(named string, version int) (found goodVersion, ok bool) {
	for file, v := range l.known {
		if v.Name != named || version != 0 && v.Version != version {
			continue
		}
		if _, err := os.Stat(filepath.Join(l.schemas, file)); errors.Is(err, fs.ErrNotExist) && (!ok || v.Version > found.Version) {
			found, ok = v, true
		}
	}
	return found, ok
}

// active answers schema.Options.Active: it keeps what changed.
func (l *lastGood) active(plans map[string]*schema.Plan) {
	now := make(map[string]goodVersion, len(plans))
	for file, p := range plans {
		now[file] = goodVersion{p.Name(), p.Version()}
	}
	if l.path == "" || l.known != nil && maps.Equal(now, l.known) {
		return
	}
	data, err := json.MarshalIndent(map[string]any{"documents": now}, "", "  ")
	data = append(data, '\n')
	if err == nil && l.box != nil {
		data, err = l.box.Seal(nil, data, lastGoodFile)
	}
	if err == nil {
		err = writeFile(l.path, data)
	}
	if err != nil {
		l.log.Error("which schemas are active is not kept: after a restart, documents that are broken then are inactive", "file", l.path, "error", err)
		return
	}
	l.known = now
}

// recorded returns a recorded version in the table that it fills, nil where there
// is none. nearest takes the newest one that is not newer where that version is
// not recorded, or its number is not known.
func (g *gate) recorded(ctx context.Context, want goodVersion, nearest bool) (*schema.Plan, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	family, err := g.family(ctx, want.Name)
	if err != nil {
		return nil, fmt.Errorf("look for %s version %d: %w", want.Name, want.Version, err)
	}
	var best *schema.Plan
	for _, m := range family {
		if v := m.plan.Version(); v == want.Version || nearest && (want.Version == 0 || v < want.Version) {
			best = m.plan // ascending, so the last is the newest
		}
	}
	return best, nil
}
