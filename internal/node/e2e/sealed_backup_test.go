package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestABackupOfAnEncryptedStoreShowsNothingAndNeedsItsKey(t *testing.T) {
	p := newPlace(t, map[string]string{"doc.yaml": secretSchema})
	p.write("weir.yaml", "encryption: {enabled: true, key_file: ./keys.d/master.key}\nschemas: ./schemas\n")
	if err := os.Mkdir(filepath.Join(p.dir, "keys.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.must("key", "init")
	r := p.serve()
	const n = 3000
	publish(t, r, "device", func(i int) (string, []byte, bool) {
		topic, payload, _ := secretReading(i)
		return topic, payload, i < n
	})
	backup := filepath.Join(t.TempDir(), "backup")
	// What is being written is looked at, too.
	h := &haystack{dirs: []string{backup}, found: map[string]string{}, files: map[string]bool{}}
	end := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			_ = h.search() // the directory is not there at first
			select {
			case <-end:
				return
			default:
			}
		}
	})
	_, stderr, code := p.run("backup", backup, "--verify")
	if code != 0 || !strings.Contains(stderr, "without it, nothing can be restored") {
		t.Errorf("%d %s", code, stderr)
	}
	close(end)
	looking.Wait()
	if err := h.search(); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(p.dir, "keys.d", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	for what, file := range h.found {
		// The schema documents lie in clear on the disk of the node, and here.
		if !strings.Contains(secretSchema, strings.TrimPrefix(what, "text ")) {
			t.Errorf("%s stands in %s", what, file)
		}
	}
	if len(h.files) < 5 || holds(t, backup, strings.TrimSpace(string(key))) {
		t.Errorf("%d files were searched, or the key is among them", len(h.files))
	}
	want := p.number("select count(*) from tafelwort")

	got := restore(t, backup)
	config := filepath.Join(got.dir, "etc", "weir.yaml")
	args := []string{"query", "--config", config, "--format", "csv", "select count(*) from tafelwort"}
	if out, stderr, code := got.run(args...); code == 0 || !strings.Contains(stderr, "key") {
		t.Errorf("without the key: %d %s %s", code, out, stderr)
	}
	if err := os.MkdirAll(filepath.Join(got.dir, "etc", "keys.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(got.dir, "etc", "keys.d", "master.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := got.must(args...); !strings.Contains(out, "2997") || want != 2997 {
		t.Errorf("with the key: %s, there were %d", out, want)
	}
	got.must("verify", "--config", config)

	p.must("backup", backup, "--with-keys")
	whole := restore(t, backup)
	args[2] = filepath.Join(whole.dir, "etc", "weir.yaml")
	if out := whole.must(args...); !strings.Contains(out, "2997") {
		t.Errorf("from a backup with keys: %s", out)
	}
}
