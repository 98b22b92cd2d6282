package schema

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Options of a Registry.
type Options struct {
	// Logger hears of every load; nil is silent.
	Logger *slog.Logger
	// Approve is asked about every plan that was not active before, in the
	// order of name and version; an error keeps it out and is reported as a
	// problem of its document. A plan that was refused is asked about again at
	// the next load.
	Approve func(p *Plan) error
	// TableName gives the name of the table that a plan fills where it is not
	// the plan's own, as "env_v2" after a breaking version was accepted; it is
	// asked before Approve, which sees the plan with that table. "" and a nil
	// function keep the plan's name.
	TableName func(p *Plan) string
	// OnChange is told of every new set, one at a time, in order. It is not
	// called for the set that Open loads, and must not call the Registry's
	// Reload or Close.
	OnChange func(*Set)
	// Debounce is how long the directory must be quiet before it is loaded
	// again; 0 is 200 ms. An editor writes a file in several steps.
	Debounce time.Duration
	// PollEvery is how often the directory is compared with what was loaded,
	// for file systems that do not tell of changes; 0 is 10 s.
	PollEvery time.Duration
}

// maxDocuments bounds what one directory may hold.
const maxDocuments = 10_000

// Registry keeps the active set of a directory and follows its changes. A
// document that is broken keeps its last good plan; one that is gone takes its
// plan with it.
type Registry struct {
	dir     string
	opts    Options
	current atomic.Pointer[Set]

	mu       sync.Mutex // one load at a time
	files    map[string]*fileState
	problems Problems

	stop chan struct{}
	done sync.WaitGroup
	once sync.Once
}

// fileState is what is known of one document.
type fileState struct {
	data []byte // as last read
	good *Plan  // the last plan that was active
}

// Open loads every document of the directory and watches it. Documents with
// problems are left out and told by Problems; only a directory that cannot be
// read is an error.
func Open(dir string, opts Options) (*Registry, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Debounce = cmp.Or(opts.Debounce, 200*time.Millisecond)
	opts.PollEvery = cmp.Or(opts.PollEvery, 10*time.Second)
	r := &Registry{dir: dir, opts: opts, files: map[string]*fileState{}, stop: make(chan struct{})}
	empty, _ := NewSet(nil)
	r.current.Store(empty)
	if err := r.load(true); err != nil {
		if p := Problems(nil); !errors.As(err, &p) {
			return nil, err
		}
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(dir); err != nil {
			_ = watcher.Close()
		}
	}
	if err != nil {
		opts.Logger.Warn("schemas are polled: the directory cannot be watched", "dir", dir, "every", opts.PollEvery, "err", err)
		watcher = nil
	}
	r.done.Go(func() { r.watch(watcher) })
	return r, nil
}

// Current is the active set; never nil.
func (r *Registry) Current() *Set { return r.current.Load() }

// Problems are those of the last load.
func (r *Registry) Problems() Problems {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.problems)
}

// Reload loads the directory again at once. It returns the problems, if any, as
// an error; what could be loaded is active all the same.
func (r *Registry) Reload() error { return r.load(false) }

// Close ends the watching and waits for it.
func (r *Registry) Close() error {
	r.once.Do(func() { close(r.stop) })
	r.done.Wait()
	return nil
}

// watch loads again after changes. Polling goes on beside the watcher: network
// file systems take a watch and tell nothing.
func (r *Registry) watch(w *fsnotify.Watcher) {
	var events chan fsnotify.Event
	var failures chan error
	if w != nil {
		defer func() { _ = w.Close() }()
		events, failures = w.Events, w.Errors
	}
	quiet := time.NewTimer(0)
	if !quiet.Stop() {
		<-quiet.C
	}
	poll := time.NewTicker(r.opts.PollEvery)
	defer poll.Stop()
	for {
		select {
		case <-r.stop:
			return
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if isDocument(filepath.Base(e.Name)) {
				quiet.Reset(r.opts.Debounce)
			}
		case err, ok := <-failures:
			if !ok {
				failures = nil
				continue
			}
			r.opts.Logger.Warn("watching the schemas failed; polling goes on", "dir", r.dir, "err", err)
		case <-quiet.C:
			_ = r.load(false) // told by Problems and the log
		case <-poll.C:
			_ = r.load(false)
		}
	}
}

// isDocument says which files of the directory are schema documents. Editors'
// own files begin with a dot or # or end in ~.
func isDocument(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// load reads the directory and activates what can be. first is the load of Open.
func (r *Registry) load(first bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, problems, err := r.read()
	if err != nil {
		problem := Problem{File: r.dir, Message: "cannot be read: " + err.Error()}
		if !first && !slices.Equal(r.problems, Problems{problem}) {
			r.opts.Logger.Error("schemas stay as they are", "dir", r.dir, "err", err)
		}
		r.problems = Problems{problem}
		return telemetry.Errorf(telemetry.CodeUnavailable, "load schemas", "read directory %q: %v", r.dir, err)
	}
	changed := first || len(data) != len(r.files) || len(r.problems) > 0
	for name, d := range data {
		if f := r.files[name]; f == nil || !bytes.Equal(f.data, d) {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	plans, more := r.compile(data)
	problems = append(problems, more...)
	set, more := NewSet(plans)
	problems = append(problems, more...)
	if len(more) > 0 {
		// What clashes keeps the last good plan of its document, if that fits.
		for i, p := range plans {
			f := r.files[filepath.Base(p.file)]
			if f != nil && f.good != nil && !slices.Contains(set.plans, p) {
				plans[i] = f.good
			}
		}
		set, _ = NewSet(plans)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.File, b.File) })

	active := map[string]*Plan{}
	for _, p := range set.plans {
		active[p.file] = p
	}
	for name, f := range r.files {
		if p := active[filepath.Join(r.dir, name)]; p != nil {
			f.good = p
		}
	}
	same := slices.Equal(problems, r.problems)
	r.problems = problems
	for _, p := range problems {
		if !same {
			r.opts.Logger.Error("schema document", "file", p.File, "line", p.Line, "column", p.Column, "problem", p.Message, "hint", p.Hint)
		}
	}
	if first || !slices.Equal(set.plans, r.Current().plans) {
		r.current.Store(set)
		r.opts.Logger.Info("schemas loaded", "dir", r.dir, "active", len(set.plans), "problems", len(problems))
		if !first && r.opts.OnChange != nil {
			r.opts.OnChange(set)
		}
	}
	return problems.Err()
}

// read reads every document of the directory.
func (r *Registry) read() (map[string][]byte, Problems, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, nil, err
	}
	data := map[string][]byte{}
	var problems Problems
	for _, e := range entries {
		if e.IsDir() || !isDocument(e.Name()) {
			continue
		}
		if len(data) == maxDocuments {
			problems = append(problems, Problem{File: r.dir, Message: fmt.Sprintf("more than %d documents; the rest is not read", maxDocuments)})
			break
		}
		path := filepath.Join(r.dir, e.Name())
		d, err := readLimited(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since the directory was read
		}
		if err != nil {
			problems = append(problems, Problem{File: path, Message: "cannot be read: " + err.Error()})
			if f := r.files[e.Name()]; f != nil {
				d = f.data // keep what it said
			}
		}
		data[e.Name()] = d
	}
	return data, problems, nil
}

// readLimited reads a file, one byte beyond the limit at most, so that Compile
// says that it is too large.
func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, MaxDocument+1))
}

// compile returns the plan of every document, that which was active before first,
// so that it wins where two clash.
func (r *Registry) compile(data map[string][]byte) ([]*Plan, Problems) {
	var problems Problems
	var kept, fresh []*Plan
	last := map[string]*Plan{}
	for name := range r.files {
		if _, ok := data[name]; !ok {
			delete(r.files, name)
		}
	}
	names := make([]string, 0, len(data))
	for name := range data {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f := r.files[name]
		if f == nil {
			f = &fileState{}
			r.files[name] = f
		}
		if f.good != nil && bytes.Equal(f.good.document, data[name]) {
			f.data = data[name]
			kept = append(kept, f.good)
			continue
		}
		f.data = data[name]
		path := filepath.Join(r.dir, name)
		p, more := Compile(path, data[name])
		if p == nil {
			if f.good != nil {
				more[0].Hint = strings.TrimSpace(more[0].Hint + fmt.Sprintf(" (version %d of before stays active)", f.good.version))
				kept = append(kept, f.good)
			}
			problems = append(problems, more...)
			continue
		}
		if f.good != nil {
			last[path] = f.good
		}
		fresh = append(fresh, p)
	}
	slices.SortFunc(fresh, func(a, b *Plan) int {
		return cmp.Or(strings.Compare(a.name, b.name), a.version-b.version)
	})
	for _, p := range fresh {
		if r.opts.TableName != nil {
			if t := r.opts.TableName(p); t != "" && t != p.table.Name {
				p = p.WithTable(t)
			}
		}
		if err := r.approve(p); err != nil {
			problem := Problem{File: p.file, Line: 1, Column: 1, Message: "not accepted: " + err.Error()}
			if good := last[p.file]; good != nil {
				problem.Hint = fmt.Sprintf("version %d of before stays active", good.version)
				kept = append(kept, good)
			}
			problems = append(problems, problem)
			continue
		}
		kept = append(kept, p)
	}
	return kept, problems
}

func (r *Registry) approve(p *Plan) error {
	if r.opts.Approve == nil {
		return nil
	}
	return r.opts.Approve(p)
}
