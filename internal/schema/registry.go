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
	"regexp"
	"slices"
	"strconv"
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
	// Last gives, at the first load, the plan that was active for a document, by
	// its file's name, when the directory was last open: it stays active where
	// the document is broken or refused now, as it does for one that changes
	// while the Registry is open. named and version are what the document calls
	// itself, as far as that can be read. It returns nil where nothing is known.
	Last func(file, named string, version int) *Plan
	// Active is told at every load which plan is active for each document, by its
	// file's name, before the set is used, so that Last can answer after a restart.
	Active func(map[string]*Plan)
	// OnChange is told of every load that changed the set or the problems, one at
	// a time, in order. It is not called for the load of Open, and must not call
	// the Registry's Reload or Close.
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
// document that is broken keeps its last good plan, also over a restart where
// Options.Last and Options.Active keep it; one that is gone takes its plan with it.
type Registry struct {
	dir     string
	opts    Options
	current atomic.Pointer[Set]

	mu     sync.Mutex // one load at a time
	files  map[string]*fileState
	unread Problems    // of the last load, those of reading the files
	retry  retryPolicy // of approvals that failed for a reason that may pass

	problems atomic.Pointer[Problems] // of the last load

	stop chan struct{}
	done sync.WaitGroup
	once sync.Once
}

// retryPolicy spaces the loads of a directory that did not change.
type retryPolicy struct {
	due   bool // something may succeed without a change of a file
	after time.Time
	pause time.Duration
}

// mostPause is the longest time between two tries.
const mostPause = 10 * time.Minute

// next plans the try after one that failed at now, or none.
func (p *retryPolicy) next(failed bool, first time.Duration, now time.Time) {
	if !failed {
		*p = retryPolicy{}
		return
	}
	p.pause = min(max(2*p.pause, first), max(mostPause, first))
	p.due, p.after = true, now.Add(p.pause)
}

// why is what a load is for.
type why int

const (
	opening why = iota // the first load
	asked              // Reload: documents that were refused are tried again
	looking            // files may have changed
)

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
	if err := r.load(opening); err != nil {
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
	if p := r.problems.Load(); p != nil {
		return slices.Clone(*p)
	}
	return nil
}

// Reload loads the directory again at once. It returns the problems, if any, as
// an error; what could be loaded is active all the same.
func (r *Registry) Reload() error { return r.load(asked) }

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
			_ = r.load(looking) // told by Problems and the log
		case <-poll.C:
			_ = r.load(looking)
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

// load reads the directory and activates what can be.
func (r *Registry) load(reason why) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.Problems()
	data, unread, err := r.read()
	if err != nil {
		problem := Problem{File: r.dir, Message: "cannot be read: " + err.Error()}
		now := Problems{problem}
		if reason != opening && !slices.Equal(known, now) {
			r.opts.Logger.Error("schemas stay as they are", "dir", r.dir, "err", err)
		}
		r.unread = now
		r.tell(known, now, false)
		return telemetry.Errorf(telemetry.CodeUnavailable, "load schemas", "read directory %q: %v", r.dir, err)
	}
	if reason == looking && !r.differs(data, unread) {
		return known.Err()
	}
	r.unread = unread
	if reason == opening {
		r.recall(data)
	}
	plans, problems, passing := r.compile(data)
	r.retry.next(passing, r.opts.PollEvery, time.Now())
	problems = append(problems, unread...)
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
		active[filepath.Base(p.file)] = p
	}
	for name, f := range r.files {
		if p := active[name]; p != nil {
			f.good = p
		}
	}
	if !slices.Equal(problems, known) {
		for _, p := range problems {
			r.opts.Logger.Error("schema document", "file", p.File, "line", p.Line, "column", p.Column, "problem", p.Message, "hint", p.Hint)
		}
	}
	changed := reason == opening || !slices.Equal(set.plans, r.Current().plans)
	if r.opts.Active != nil {
		r.opts.Active(r.lastGood())
	}
	if changed {
		r.current.Store(set)
		r.opts.Logger.Info("schemas loaded", "dir", r.dir, "active", len(set.plans), "problems", len(problems))
	}
	if reason == opening {
		r.problems.Store(&problems)
	} else {
		r.tell(known, problems, changed)
	}
	return problems.Err()
}

// tell keeps the problems of a load, and tells of what it changed.
func (r *Registry) tell(before, now Problems, changed bool) {
	r.problems.Store(&now)
	if r.opts.OnChange != nil && (changed || !slices.Equal(before, now)) {
		r.opts.OnChange(r.Current())
	}
}

// differs reports whether a load could have another outcome than the last.
func (r *Registry) differs(data map[string][]byte, unread Problems) bool {
	if len(data) != len(r.files) || !slices.Equal(unread, r.unread) || r.retry.due && !time.Now().Before(r.retry.after) {
		return true
	}
	for name, d := range data {
		if f := r.files[name]; f == nil || !bytes.Equal(f.data, d) {
			return true
		}
	}
	return false
}

// lastGood is what Active is told: also a plan that a clash keeps out for now
// stays known.
func (r *Registry) lastGood() map[string]*Plan {
	all := map[string]*Plan{}
	for name, f := range r.files {
		if f.good != nil {
			all[name] = f.good
		}
	}
	return all
}

// recall gives every document the plan that was active when the directory was
// last open.
func (r *Registry) recall(data map[string][]byte) {
	if r.opts.Last == nil {
		return
	}
	for name, d := range data {
		path := filepath.Join(r.dir, name)
		named, version := callsItself(d)
		if p := r.opts.Last(name, named, version); p != nil {
			q := *p
			q.file = path
			r.files[name] = &fileState{data: d, good: &q}
		}
	}
}

// ownName and ownVersion find what a document calls itself even where it is
// not well-formed.
var (
	ownName    = regexp.MustCompile(`(?m)^[\s{,]*"?name"?\s*:\s*"?([a-z][a-z0-9_]*)`)
	ownVersion = regexp.MustCompile(`(?m)^[\s{,]*"?version"?\s*:\s*([0-9]+)`)
)

// callsItself returns the name and version of a document, "" and 0 where they
// cannot be made out.
func callsItself(document []byte) (name string, version int) {
	if m := ownName.FindSubmatch(document); m != nil {
		name = string(m[1])
	}
	if m := ownVersion.FindSubmatch(document); m != nil {
		version, _ = strconv.Atoi(string(m[1]))
	}
	return name, version
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
// so that it wins where two clash. passing says that a problem may pass without a
// change of the documents.
func (r *Registry) compile(data map[string][]byte) (plans []*Plan, problems Problems, passing bool) {
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
				stays := fmt.Sprintf("version %d of before stays active", f.good.version)
				if more[0].Hint != "" {
					stays = more[0].Hint + "; " + stays
				}
				more[0].Hint = stays
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
			passing = passing || telemetry.CodeOf(err) != telemetry.CodeConflict
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
	return kept, problems, passing
}

func (r *Registry) approve(p *Plan) error {
	if r.opts.Approve == nil {
		return nil
	}
	return r.opts.Approve(p)
}
