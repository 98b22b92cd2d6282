package schema

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func open(t *testing.T, dir string, opts Options) *Registry {
	t.Helper()
	opts.Debounce = time.Millisecond
	r, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestRegistry(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	v2 := strings.Replace(envSchema, "version: 1", "version: 2", 1)

	t.Run("FollowsTheDirectory", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "env.yaml"), envSchema)
		writeFile(t, filepath.Join(dir, "notes.txt"), "not a schema")
		writeFile(t, filepath.Join(dir, ".env.yaml.swp.yaml"), "not: [a schema")
		var mu sync.Mutex
		var told []uint64
		r := open(t, dir, Options{OnChange: func(s *Set) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, s.Generation())
		}})
		if n := len(r.Current().Plans()); n != 1 || len(r.Problems()) != 0 {
			t.Fatalf("%d plans, problems %v", n, r.Problems())
		}
		writeFile(t, filepath.Join(dir, "env2.yaml"), v2)
		until(t, "version 2 is active", func() bool { return len(r.Current().Plans()) == 2 })
		route := r.Current().Route([]byte(envTopic))
		if route == nil || route.Plans[0].Version() != 2 || route.Plans[1].Version() != 1 {
			t.Fatal("the newest version is not tried first")
		}
		if err := os.Remove(filepath.Join(dir, "env.yaml")); err != nil {
			t.Fatal(err)
		}
		until(t, "version 1 is gone", func() bool {
			plans := r.Current().Plans()
			return len(plans) == 1 && plans[0].Version() == 2
		})
		until(t, "both changes were told", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(told) >= 2 && told[len(told)-1] == r.Current().Generation()
		})
	})

	t.Run("ABrokenDocumentKeepsTheLastGoodOne", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "env.yaml")
		writeFile(t, file, envSchema)
		r := open(t, dir, Options{})
		good := r.Current().Plans()[0]
		writeFile(t, file, strings.Replace(envSchema, "version: 1", "version: one", 1))
		until(t, "the problem is reported", func() bool { return len(r.Problems()) == 1 })
		if p := r.Problems()[0]; p.File != file || p.Line != 2 || p.Column != 10 || !strings.Contains(p.Hint, "stays active") {
			t.Errorf("problem %+v", p)
		}
		if plans := r.Current().Plans(); len(plans) != 1 || plans[0] != good {
			t.Error("the last good plan is not active")
		}
		writeFile(t, file, v2)
		until(t, "the mended document is active", func() bool {
			return len(r.Problems()) == 0 && r.Current().Plans()[0].Version() == 2
		})
	})

	t.Run("AClashKeepsTheLastGoodOne", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "a.yaml"), doc("a", 1, "x/a", ""))
		writeFile(t, filepath.Join(dir, "b.yaml"), doc("b", 1, "x/b", ""))
		r := open(t, dir, Options{})
		writeFile(t, filepath.Join(dir, "a.yaml"), doc("a", 2, "x/+", ""))
		until(t, "the overlap is reported", func() bool { return len(r.Problems()) == 1 })
		if p := r.Problems()[0]; !strings.Contains(p.Message, "overlap") || filepath.Base(p.File) != "a.yaml" {
			t.Errorf("problem %v", p)
		}
		if plans := r.Current().Plans(); len(plans) != 2 || plans[0].Version() != 1 {
			t.Errorf("%d plans", len(plans))
		}
	})

	t.Run("ARefusedPlanIsAskedAboutAgain", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "env.yaml"), envSchema)
		allow := false
		r := open(t, dir, Options{PollEvery: time.Hour, Approve: func(p *Plan) error {
			if !allow {
				return errors.New("does not fit what is stored")
			}
			return nil
		}})
		if len(r.Current().Plans()) != 0 || len(r.Problems()) != 1 || !strings.Contains(r.Problems()[0].Message, "does not fit") {
			t.Fatalf("plans %v problems %v", r.Current().Plans(), r.Problems())
		}
		allow = true
		if err := r.Reload(); err != nil || len(r.Current().Plans()) != 1 {
			t.Fatalf("after approval: %v, %d plans", err, len(r.Current().Plans()))
		}
	})

	t.Run("ATableMayHaveAnotherName", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "env.yaml"), v2)
		r := open(t, dir, Options{TableName: func(p *Plan) string { return "env_v2" }})
		if p := r.Current().Plans()[0]; p.Table().Name != "env_v2" || p.Name() != "env" {
			t.Errorf("table %q of %q", p.Table().Name, p.Name())
		}
	})

	t.Run("PollingAloneIsEnough", func(t *testing.T) {
		dir := t.TempDir()
		r := &Registry{dir: dir, opts: Options{PollEvery: time.Millisecond}, files: map[string]*fileState{}, stop: make(chan struct{})}
		r.opts.Logger = slog.New(slog.DiscardHandler)
		empty, _ := NewSet(nil)
		r.current.Store(empty)
		r.done.Go(func() { r.watch(nil) })
		writeFile(t, filepath.Join(dir, "env.json"), `{"name":"a","version":1,"topic":"a"}`)
		until(t, "the document is active", func() bool { return len(r.Current().Plans()) == 1 })
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("AMissingDirectoryIsAnError", func(t *testing.T) {
		if _, err := Open(filepath.Join(t.TempDir(), "none"), Options{}); err == nil {
			t.Error("no error")
		}
	})
}
