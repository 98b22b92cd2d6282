package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Source is what a snapshot is made of. Its files stay readable until Write
// returns.
type Source struct {
	Manifest Manifest // what is known of the snapshot; Write fills id, time and files
	Files    []SourceFile
}

// SourceFile is one file of a snapshot.
type SourceFile struct {
	Path      string // in the snapshot
	From      string // on disk
	Immutable bool
	// Optional files may go while the snapshot is made; then they are left out.
	Optional bool
}

// Options say how a snapshot is written.
type Options struct {
	Dir    string
	Rate   int64 // bytes a second at most; 0: no limit
	Keep   int   // snapshots of this node to keep; 0: all
	Verify bool  // read everything again at the end
	Now    func() time.Time
	// Progress is told what was done, of how many bytes in all; nil: nobody.
	Progress func(done, total int64)
}

// Result says what Write did.
type Result struct {
	Manifest *Manifest
	Copied   int64 // bytes that were written
	Shared   int64 // bytes that earlier snapshots have
	Pruned   []string
}

// Prepare opens or makes a backup directory for writing and returns a directory
// for temporary files. The caller ends with Close.
func Prepare(ctx context.Context, o Options) (*Writer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if err := notFile("make backup directory", o.Dir); err != nil {
		return nil, err
	}
	if err := durable.MakeDir(o.Dir, 0o700); err != nil {
		return nil, unavailable("make backup directory", err)
	}
	lock, err := lock(ctx, o.Dir, true)
	if err != nil {
		return nil, err
	}
	w := &Writer{o: o, lock: lock}
	if err := create(o.Dir); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	if err := emptyTmp(o.Dir); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Writer writes one snapshot.
type Writer struct {
	o       Options
	lock    *os.File
	known   map[fileKey]File
	partial *os.File
	pace    pace
	done    int64
	total   int64
	result  Result
}

// fileKey is what makes an immutable file the same.
type fileKey struct {
	path        string
	size, mtime int64
}

// Tmp is a directory for the source's temporary files. It is emptied at the end.
func (w *Writer) Tmp() string { return filepath.Join(w.o.Dir, tmpDir) }

// Close lets go of the directory. Without a Write that succeeded before it, there
// is no new snapshot.
func (w *Writer) Close() error {
	var errs []error
	if w.partial != nil {
		errs = append(errs, w.partial.Close())
	}
	if w.lock != nil {
		errs = append(errs, emptyTmp(w.o.Dir), unlock(w.lock))
		w.partial, w.lock = nil, nil
	}
	return errors.Join(errs...)
}

// Write makes the snapshot.
func (w *Writer) Write(ctx context.Context, src *Source) (*Result, error) {
	m := src.Manifest
	m.Format, m.Created = Format, w.o.Now().UTC()
	var err error
	if m.ID, err = newID(w.o.Dir, m.Created); err != nil {
		return nil, err
	}
	if err := w.learn(m.Node); err != nil {
		return nil, err
	}
	sort.SliceStable(src.Files, func(i, j int) bool { return src.Files[i].Path < src.Files[j].Path })
	for _, f := range src.Files {
		if info, err := os.Stat(f.From); err == nil {
			w.total += info.Size()
		}
	}
	w.pace = pace{rate: w.o.Rate, began: time.Now()}
	for i := range src.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := w.store(ctx, m.Node, &src.Files[i])
		if err != nil {
			return nil, err
		}
		if f != nil {
			m.Files = append(m.Files, *f)
		}
	}
	w.result.Manifest = &m
	if w.o.Verify {
		if damage := checkFiles(ctx, w.o.Dir, &m, map[string]bool{}, nil); len(damage) > 0 {
			return nil, telemetry.Errorf(telemetry.CodeDamaged, "verify the new snapshot", "%s: %s", damage[0].Where, damage[0].What)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if err := syncDir(filepath.Join(w.o.Dir, objectDir)); err != nil {
		return nil, err
	}
	if err := w.commit(&m); err != nil {
		return nil, err
	}
	if err := w.prune(&m); err != nil {
		return &w.result, fmt.Errorf("the snapshot %s is written, but: %w", m.ID, err)
	}
	return &w.result, nil
}

// learn notes which immutable files the directory holds already.
func (w *Writer) learn(node string) error {
	w.known = map[fileKey]File{}
	note := func(n string, f File) {
		if n == node && f.Immutable {
			w.known[fileKey{f.Path, f.Size, f.MTime}] = f
		}
	}
	manifests, _, err := List(w.o.Dir) // a damaged one is of no use here
	if err != nil {
		return err
	}
	for _, m := range manifests {
		for _, f := range m.Files {
			note(m.Node, f)
		}
	}
	path := filepath.Join(w.o.Dir, partialFile)
	if data, err := os.Open(path); err == nil {
		lines := bufio.NewScanner(data)
		for lines.Scan() {
			var p partialLine
			if json.Unmarshal(lines.Bytes(), &p) == nil && len(p.SHA256) == 64 {
				note(p.Node, p.File)
			}
		}
		_ = data.Close() // it was only read
	}
	w.partial, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return unavailable("write backup", err)
	}
	return nil
}

type partialLine struct {
	Node string `json:"node"`
	File
}

// store makes one file an object. It returns nil for an optional file that went.
func (w *Writer) store(ctx context.Context, node string, s *SourceFile) (*File, error) {
	in, err := os.Open(s.From)
	if s.Optional && notThere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("read "+s.From, err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, unavailable("read "+s.From, err)
	}
	f := File{Path: s.Path, Size: info.Size(), MTime: info.ModTime().UnixNano(), Immutable: s.Immutable}
	if k, ok := w.known[fileKey{f.Path, f.Size, f.MTime}]; ok && s.Immutable && exists(objectPath(w.o.Dir, k.SHA256), k.Size) {
		w.advance(f.Size)
		w.result.Shared += f.Size
		return &k, nil
	}
	out, err := os.CreateTemp(w.Tmp(), "object-*")
	if err != nil {
		return nil, unavailable("write backup", err)
	}
	h := sha256.New()
	f.Size, err = w.copy(ctx, out, h, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(out.Name()) // so that a full disk has room again
		return nil, unavailable("write backup of "+s.Path, err)
	}
	f.SHA256 = hex.EncodeToString(h.Sum(nil))
	if err := w.place(out.Name(), &f); err != nil {
		return nil, err
	}
	line, err := json.Marshal(partialLine{node, f})
	if err == nil && f.Immutable {
		_, err = w.partial.Write(append(line, '\n'))
	}
	if err != nil {
		return nil, unavailable("write backup", err)
	}
	return &f, nil
}

// copy copies at the pace, hashing on the way. Files that grow are copied up to
// the length that they had.
func (w *Writer) copy(ctx context.Context, out io.Writer, h hash.Hash, in *os.File) (int64, error) {
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	r := io.LimitReader(in, info.Size())
	buf := make([]byte, 256<<10)
	var size int64
	for {
		n, err := r.Read(buf)
		if n > 0 {
			_, _ = h.Write(buf[:n]) // never fails
			if _, err := out.Write(buf[:n]); err != nil {
				return size, err
			}
			size += int64(n)
			w.advance(int64(n))
			if err := w.pace.take(ctx, n); err != nil {
				return size, err
			}
		}
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

func (w *Writer) advance(n int64) {
	w.done += n
	w.o.Progress(w.done, max(w.total, w.done))
}

// place makes a temporary file the object of its content.
func (w *Writer) place(tmp string, f *File) error {
	path := objectPath(w.o.Dir, f.SHA256)
	dir := filepath.Dir(path)
	if exists(path, f.Size) {
		w.result.Shared += f.Size
		if err := os.Remove(tmp); err != nil {
			return unavailable("write backup", err)
		}
		return syncDir(dir) // a writer that was killed may not have come to it
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return unavailable("write backup", err)
	}
	_ = os.Chmod(tmp, 0o400) // some file systems have no modes
	if err := os.Rename(tmp, path); err != nil {
		return unavailable("write backup", err)
	}
	w.result.Copied += f.Size
	return syncDir(dir)
}

// commit makes the snapshot exist.
func (w *Writer) commit(m *Manifest) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	sum := sha256.Sum256(data)
	line := fmt.Sprintf("%x  %s.json\n", sum, m.ID)
	if err := writeFile(sumPath(w.o.Dir, m.ID), []byte(line), filepath.Join(w.Tmp(), "sum")); err != nil {
		return err
	}
	return writeFile(manifestPath(w.o.Dir, m.ID), data, filepath.Join(w.Tmp(), "manifest"))
}

// pace keeps a rate.
type pace struct {
	rate  int64
	began time.Time
	bytes int64
}

func (p *pace) take(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.bytes += int64(n)
	ahead := time.Duration(float64(p.bytes)/float64(p.rate)*float64(time.Second)) - time.Since(p.began)
	if ahead < 10*time.Millisecond {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ahead):
		return nil
	}
}
