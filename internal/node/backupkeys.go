package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// keyCopies are the key ring and the master key as they are between two rotations.
// A rotation replaces both, so files that are read one after the other may not go
// together: then nothing of the snapshot could be read.
type keyCopies struct {
	dir    string
	ring   []string // files
	master string   // file; "" where the snapshot has none
	file   string   // that master is a copy of
}

// copyKeys copies them to a new directory. Where nothing is sealed there are none.
func (k *keeper) copyKeys(dir string, withKeys bool) (*keyCopies, error) {
	c := &keyCopies{dir: dir}
	ring := k.store.Ring()
	if ring == nil {
		return c, nil
	}
	from := map[string]string{}
	for _, name := range []string{seal.RingFile, seal.CopyFile} {
		from[name] = filepath.Join(k.cfg.DataDir, name)
	}
	const master = "master"
	if withKeys && k.cfg.Encryption.KeyFile != "" {
		c.file = k.cfg.Encryption.KeyFile
		from[master] = c.file
	}
	data := map[string][]byte{}
	err := ring.Hold(func() error {
		for name, path := range from {
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // one of the ring's files is enough, and addConfig misses the key
			}
			if err != nil {
				return err
			}
			data[name] = b
		}
		return nil
	})
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	for name, b := range data {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		clear(b)
		if name == master {
			c.master = path
		} else {
			c.ring = append(c.ring, path)
		}
	}
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "back up the key ring", "%w", err)
	}
	return c, nil
}

// check warns of a master key that does not open the ring, as after a rotation to
// another file that the configuration does not name yet.
func (c *keyCopies) check(ctx context.Context) []string {
	if c.master == "" {
		return nil
	}
	keys, err := seal.Source{File: c.master}.Load(ctx)
	if err == nil {
		err = seal.Probe(c.dir, keys)
	}
	if err != nil {
		return []string{fmt.Sprintf("the key in %s does not open what is in the snapshot; keep the one that does in another place", c.file)}
	}
	return nil
}
