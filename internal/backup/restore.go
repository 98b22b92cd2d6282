package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// RestoreMark is the file that a data directory has while it is being restored.
const RestoreMark = "restore.json"

// Target says where the parts of a snapshot go.
type Target struct {
	Data    string // the new data directory
	Schemas string
	Config  string // configuration, users and keys
}

// place returns where a file of a snapshot goes.
func (t Target) place(path string) (string, error) {
	root, rest, _ := strings.Cut(path, "/")
	dir, ok := map[string]string{"data": t.Data, "schemas": t.Schemas, "config": t.Config, "keys": filepath.Join(t.Config, "keys")}[root]
	if !ok || rest == "" {
		return "", telemetry.Errorf(telemetry.CodeInvalid, "restore", "the snapshot has a file %q, and this version does not know where it goes", path)
	}
	return filepath.Join(dir, filepath.FromSlash(rest)), nil
}

type restoreMark struct {
	Format   int    `json:"format"`
	Snapshot string `json:"snapshot"`
	Node     string `json:"node"`
}

// Interrupted reports whether a restore into the data directory did not end.
func Interrupted(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, RestoreMark))
	return err == nil
}

// Restore writes a snapshot, the newest for "", to its places. The data directory
// must be empty or missing, or one that the same restore did not finish. Every
// file is checked on the way; Restore returns nil only when all are whole and
// durable. finish, which may be nil, is called when the files are there and before
// the directory counts as restored: what it does is repeated by a run that goes on.
func Restore(ctx context.Context, dir, snapshot string, t Target, finish func(*Manifest) error, progress func(done, total int64)) (*Manifest, error) {
	if err := checkMark(dir); err != nil {
		return nil, err
	}
	lock, err := lock(ctx, dir, false)
	if err != nil {
		return nil, err
	}
	defer unlock(lock)
	m, err := choose(dir, snapshot)
	if err != nil {
		return nil, err
	}
	if err := begin(t, m); err != nil {
		return nil, goesOn(err)
	}
	r := &restorer{ctx: ctx, dir: dir, progress: progress, total: m.Bytes(), dirs: map[string]bool{}, made: map[string]bool{}}
	if err := r.makeDir(t.Data); err != nil {
		return nil, goesOn(err)
	}
	for i := range m.Files {
		to, err := t.place(m.Files[i].Path)
		if err != nil {
			return nil, err
		}
		if err := r.file(&m.Files[i], to); err != nil {
			return nil, goesOn(err)
		}
	}
	if finish != nil {
		if err := finish(m); err != nil {
			return nil, goesOn(err)
		}
	}
	for d := range r.dirs {
		// What may not be read was there before.
		if err := syncDir(d); err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, goesOn(err)
		}
	}
	if err := os.Remove(filepath.Join(t.Data, RestoreMark)); err != nil {
		return nil, unavailable("restore", err)
	}
	return m, syncDir(t.Data)
}

// goesOn says of an error of the file system that nothing is lost by it.
func goesOn(err error) error {
	var te *telemetry.Error
	if errors.As(err, &te) && te.Code == telemetry.CodeUnavailable && te.Hint == "" {
		return te.WithHint("make room, or mend what the message names, and run the same command again: it goes on where it ended")
	}
	return err
}

func choose(dir, snapshot string) (*Manifest, error) {
	if snapshot != "" {
		return readManifest(dir, snapshot)
	}
	all, err := ids(dir)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "restore", "%s holds no snapshot", dir)
	}
	return readManifest(dir, all[len(all)-1])
}

// begin refuses targets that hold something, and marks the data directory.
func begin(t Target, m *Manifest) error {
	want := restoreMark{Format, m.ID, m.Node}
	var have restoreMark
	if data, err := os.ReadFile(filepath.Join(t.Data, RestoreMark)); err == nil {
		if json.Unmarshal(data, &have) == nil && have == want {
			return nil // goes on
		}
		return telemetry.Errorf(telemetry.CodeConflict, "restore", "%s holds a part of the snapshot %s", t.Data, have.Snapshot).
			WithHint("go on with --snapshot " + have.Snapshot + ", or remove the directory")
	}
	for _, dir := range []string{t.Data, t.Schemas, t.Config} {
		if err := notFile("restore", dir); err != nil {
			return err
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !notThere(err) {
			return unavailable("restore", err)
		}
		for _, e := range entries {
			if e.Name() == "lost+found" || e.Name() == RestoreMark+".new" {
				continue
			}
			return telemetry.Errorf(telemetry.CodeConflict, "restore", "%s is not empty (it holds %s)", dir, e.Name()).
				WithHint("a restore writes only to a new place; move what is there away")
		}
	}
	if err := os.MkdirAll(t.Data, 0o700); err != nil {
		return unavailable("restore", err)
	}
	data, err := json.Marshal(want)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(t.Data, RestoreMark), append(data, '\n'), filepath.Join(t.Data, RestoreMark+".new"))
}

type restorer struct {
	ctx         context.Context
	dir         string
	progress    func(done, total int64)
	done, total int64
	made        map[string]bool // directories
	dirs        map[string]bool // those to be synced: with all above, which a run that was killed may have made
}

// file writes one file, or keeps one that an earlier run wrote.
func (r *restorer) file(f *File, to string) error {
	defer func() {
		if r.done += f.Size; r.progress != nil {
			r.progress(r.done, r.total)
		}
	}()
	if err := r.makeDir(filepath.Dir(to)); err != nil {
		return err
	}
	if n, sum, err := hashFile(r.ctx, to); err == nil && n == f.Size && sum == f.SHA256 {
		return nil
	} else if err != nil && !notThere(err) {
		return unavailable("restore "+f.Path, err)
	}
	damaged := func(what string) error {
		return telemetry.Errorf(telemetry.CodeDamaged, "restore", "%s cannot be restored: its object %s %s", f.Path, objectPath(r.dir, f.SHA256), what).
			WithHint("choose another snapshot with --snapshot; weir verify " + r.dir + " says which are whole")
	}
	in, err := os.Open(objectPath(r.dir, f.SHA256))
	if notThere(err) {
		return damaged("is missing")
	}
	if err != nil {
		return unavailable("restore", err)
	}
	defer in.Close()
	tmp := to + ".restoring"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return unavailable("restore", err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), &interruptible{r.ctx, in})
	if err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	if err == nil && (n != f.Size || hex.EncodeToString(h.Sum(nil)) != f.SHA256) {
		return errors.Join(damaged("is damaged"), os.Remove(tmp))
	}
	if err == nil {
		err = os.Chtimes(tmp, time.Time{}, time.Unix(0, f.MTime)) // so that a snapshot of it shares its files
	}
	if err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil {
		_ = os.Remove(tmp) // so that a full disk has room again
		return unavailable(fmt.Sprintf("restore %s", f.Path), err)
	}
	return nil
}

// makeDir makes a directory with those above it, which are to be synced.
func (r *restorer) makeDir(dir string) error {
	if r.made[dir] {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unavailable("restore", err)
	}
	r.made[dir] = true
	for d := filepath.Clean(dir); !r.dirs[d]; d = filepath.Dir(d) {
		r.dirs[d] = true
	}
	return nil
}
