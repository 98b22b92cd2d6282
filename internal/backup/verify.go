package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Damage is something that a check found.
type Damage struct {
	Where string `json:"where"` // a file
	What  string `json:"what"`
	Do    string `json:"do"`
}

// Checked says what Verify looked at.
type Checked struct {
	Snapshots int   `json:"snapshots"`
	Files     int   `json:"files"`
	Bytes     int64 `json:"bytes"`
}

// Verify reads every file of a snapshot, or of all for "".
func Verify(ctx context.Context, dir, snapshot string, progress func(done, total int64)) ([]Damage, *Checked, error) {
	if err := checkMark(dir); err != nil {
		return nil, nil, err
	}
	lock, err := lock(ctx, dir, false)
	if err != nil {
		return nil, nil, err
	}
	defer unlock(lock)
	manifests, broken, err := List(dir)
	if err != nil {
		return nil, nil, err
	}
	var damage []Damage
	if snapshot != "" {
		m, err := readManifest(dir, snapshot)
		if err != nil {
			return nil, nil, err
		}
		manifests, broken = []*Manifest{m}, nil
	}
	for _, err := range broken {
		damage = append(damage, Damage{dir, err.Error(), "nothing can be restored from this snapshot; keep the others, and make a new one"})
	}
	c := &counting{progress: progress}
	for _, m := range manifests {
		c.total += m.Bytes()
	}
	seen := map[string]bool{}
	checked := &Checked{Snapshots: len(manifests)}
	for _, m := range manifests {
		damage = append(damage, checkFiles(ctx, dir, m, seen, c)...)
		checked.Files += len(m.Files)
		for _, what := range m.Missing {
			damage = append(damage, Damage{manifestPath(dir, m.ID), "the store was damaged when the snapshot was made: " + what, "restore an older snapshot, or live without what is lost"})
		}
	}
	checked.Bytes = c.read
	return damage, checked, ctx.Err()
}

type counting struct {
	progress          func(done, total int64)
	done, total, read int64
}

// checkFiles reads the objects of a snapshot that were not seen yet.
func checkFiles(ctx context.Context, dir string, m *Manifest, seen map[string]bool, c *counting) []Damage {
	var damage []Damage
	for _, f := range m.Files {
		if ctx.Err() != nil {
			return damage
		}
		if c != nil {
			c.done += f.Size
			if c.progress != nil {
				c.progress(c.done, c.total)
			}
		}
		good, known := seen[f.SHA256]
		if known && good {
			continue
		}
		path := objectPath(dir, f.SHA256)
		what := ""
		n, sum, err := hashFile(ctx, path)
		switch {
		case notThere(err):
			what = "is missing"
		case err != nil && ctx.Err() != nil:
			return damage
		case err != nil:
			what = err.Error()
		case n != f.Size:
			what = fmt.Sprintf("has %d bytes instead of %d", n, f.Size)
		case sum != f.SHA256:
			what = "has other content than its checksum says"
		}
		if c != nil {
			c.read += n
		}
		seen[f.SHA256] = what == ""
		if what != "" {
			damage = append(damage, Damage{
				path, fmt.Sprintf("%s: it is %s of snapshot %s", what, f.Path, m.ID),
				"the snapshot cannot be restored whole; make a new one: it writes the file again if the store still has it (remove the damaged object first)",
			})
		}
	}
	return damage
}

func hashFile(ctx context.Context, path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, &interruptible{ctx, f})
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// interruptible ends reading with the context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot be read: %w", err)
	}
	return n, err
}
