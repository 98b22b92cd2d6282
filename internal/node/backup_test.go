package node

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/seal"
)

// sealedConfig is that of a node with encryption, whose key file is there.
func sealedConfig(t *testing.T) *config.Loaded {
	t.Helper()
	c := testConfig(t, "encryption.enabled=true", "encryption.key_file="+filepath.Join(t.TempDir(), "master.key"))
	if err := seal.Init(c.Encryption.KeyFile); err != nil {
		t.Fatal(err)
	}
	return c
}

// opens says whether the key of the newest snapshot opens its ring.
func opens(t *testing.T, dir string) error {
	t.Helper()
	to := t.TempDir()
	target := backup.Target{Data: filepath.Join(to, "data"), Schemas: filepath.Join(to, "schemas"), Config: filepath.Join(to, "config")}
	if _, err := backup.Restore(t.Context(), dir, "", target, nil, nil); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Source{File: filepath.Join(target.Config, "keys", "encryption.key_file")}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return seal.Probe(target.Data, keys)
}

func TestABackupWithItsKeysOpensAlsoWhereTheKeyIsRotatedMeanwhile(t *testing.T) {
	n, err := Open(t.Context(), sealedConfig(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n)
	dir, rotations := t.TempDir(), 0
	done, err := n.Backup(t.Context(), control.BackupOptions{Dir: dir, WithKeys: true}, func(int64, int64) {
		if _, err := n.RotateKey(t.Context(), ""); err != nil {
			t.Error(err)
		}
		rotations++
	})
	if err != nil || rotations < 3 {
		t.Fatalf("%d rotations, %v", rotations, err)
	}
	if err := opens(t, dir); err != nil {
		t.Error("after it was restored:", err)
	}
	for _, w := range done.Warnings {
		if strings.Contains(w, "does not open") {
			t.Error("a warning without need:", w)
		}
	}
}

func TestABackupWithAKeyThatDoesNotOpenItWarns(t *testing.T) {
	c := sealedConfig(t)
	n, err := Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n)
	if _, err := n.RotateKey(t.Context(), filepath.Join(t.TempDir(), "next.key")); err != nil {
		t.Fatal(err)
	}
	done, err := n.Backup(t.Context(), control.BackupOptions{Dir: t.TempDir(), WithKeys: true}, nil)
	if err != nil || !strings.Contains(strings.Join(done.Warnings, "\n"), "the key in "+c.Encryption.KeyFile+" does not open") {
		t.Errorf("%+v, %v", done, err)
	}
}

// A backup by hand and a scheduled one may be the first ones, and begin together.
func TestADataDirectoryHasOneNameInAllBackups(t *testing.T) {
	c := testConfig(t)
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var tasks sync.WaitGroup
		ids := make([]string, 8)
		for i := range ids {
			tasks.Go(func() {
				var err error
				if ids[i], err = (&keeper{cfg: c}).id(); err != nil {
					t.Error(err)
				}
			})
		}
		tasks.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("it is known as %q", ids)
			}
		}
		if err := os.Remove(filepath.Join(c.DataDir, backupID)); err != nil {
			t.Fatal(err)
		}
	}
}
