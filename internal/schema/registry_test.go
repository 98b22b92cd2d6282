package schema

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-telemetry/weir/internal/telemetry"
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
		// A document that was read while it was written is empty, at line 1.
		until(t, "the problem is reported", func() bool { p := r.Problems(); return len(p) == 1 && p[0].Line != 1 })
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
		until(t, "the overlap is reported", func() bool { p := r.Problems(); return len(p) == 1 && strings.Contains(p[0].Message, "overlap") })
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

	t.Run("WhatWasActiveIsActiveAfterARestartAlthoughItsDocumentIsBroken", func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"a", "b", "c"} {
			writeFile(t, filepath.Join(dir, name+".yaml"), doc(name, 1, "x/"+name, ""))
		}
		kept := map[string]*Plan{}
		opts := Options{
			Active: func(plans map[string]*Plan) { kept = maps.Clone(plans) },
			Last:   func(file, _ string, _ int) *Plan { return kept[file] },
			Approve: func(p *Plan) error {
				if p.Version() == 2 {
					return telemetry.Errorf(telemetry.CodeConflict, "approve", "does not fit")
				}
				return nil
			},
		}
		if err := open(t, dir, opts).Close(); err != nil || len(kept) != 3 {
			t.Fatalf("kept %v, %v", kept, err)
		}
		writeFile(t, filepath.Join(dir, "a.yaml"), "name: a\nversion: [")
		writeFile(t, filepath.Join(dir, "b.yaml"), doc("b", 2, "x/b", ""))
		if err := os.Remove(filepath.Join(dir, "c.yaml")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second restart knows it from the first
			r := open(t, dir, opts)
			plans := r.Current().Plans()
			if len(plans) != 2 || plans[0].Name() != "a" || plans[1].Name() != "b" || plans[1].Version() != 1 {
				t.Fatalf("active are %v", plans)
			}
			if plans[0].File() != filepath.Join(dir, "a.yaml") {
				t.Errorf("the plan is said to be from %q", plans[0].File())
			}
			for _, p := range r.Problems() {
				if !strings.Contains(p.Hint, "version 1 of before stays active") {
					t.Errorf("problem %v", p)
				}
			}
			if _, ok := kept["c.yaml"]; ok || len(kept) != 2 || len(r.Problems()) != 2 {
				t.Errorf("kept %v, problems %v", kept, r.Problems())
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("AStandingProblemIsNotLookedAtAgainBeforeAFileChanges", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "env.yaml"), envSchema)
		asked := 0
		r := open(t, dir, Options{PollEvery: time.Hour, Approve: func(*Plan) error {
			asked++
			return telemetry.Errorf(telemetry.CodeConflict, "approve", "does not fit")
		}})
		for range 3 {
			if err := r.load(looking); err == nil {
				t.Error("the problem is forgotten")
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		writeFile(t, filepath.Join(dir, "env.yaml"), v2)
		if err := r.load(looking); err == nil || asked != 2 {
			t.Errorf("after a change: asked %d times, %v", asked, err)
		}
	})

	t.Run("AnApprovalThatFailsForNowIsTriedAgainEverMoreSeldom", func(t *testing.T) {
		var p retryPolicy
		at := time.Unix(0, 0)
		var pauses []time.Duration
		for range 9 {
			p.next(true, 10*time.Second, at)
			pauses = append(pauses, p.after.Sub(at))
			at = p.after
		}
		if !p.due || pauses[0] != 10*time.Second || pauses[1] != 20*time.Second || pauses[8] != mostPause {
			t.Errorf("pauses %v", pauses)
		}
		if p.next(false, time.Second, at); p.due {
			t.Error("tried again after a success")
		}
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "env.yaml"), envSchema)
		away := atomic.Bool{}
		away.Store(true)
		r := open(t, dir, Options{PollEvery: time.Millisecond, Approve: func(*Plan) error {
			if away.Load() {
				return errors.New("the store is away")
			}
			return nil
		}})
		if len(r.Problems()) != 1 {
			t.Fatalf("problems %v", r.Problems())
		}
		away.Store(false)
		until(t, "the document is active", func() bool { return len(r.Current().Plans()) == 1 && len(r.Problems()) == 0 })
	})

	t.Run("ProblemsThatComeAndGoAreTold", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "env.yaml"), envSchema)
		told := make(chan int, 100)
		var r *Registry
		ready := make(chan struct{})
		r = open(t, dir, Options{OnChange: func(*Set) { <-ready; told <- len(r.Problems()) }})
		close(ready)
		broken := filepath.Join(dir, "other.yaml")
		writeFile(t, broken, "name: [")
		if n := <-told; n != 1 {
			t.Errorf("%d problems", n)
		}
		if err := os.Remove(broken); err != nil {
			t.Fatal(err)
		}
		for n := <-told; n != 0; n = <-told { // the file was seen half-written, too
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
