package node

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestTheMasterKeyIsRotatedBesideARunningNode(t *testing.T) {
	c := testConfig(t, "encryption.enabled=true", "encryption.key_file="+filepath.Join(t.TempDir(), "master.key"))
	if err := seal.Init(c.Encryption.KeyFile); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(c.Encryption.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { stop(t, n) }()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := RotateKey(t.Context(), c.Config, slog.New(slog.DiscardHandler), ""); err == nil {
		t.Error("another process rotated the ring of a running node")
	}
	client, err := control.NewClient(t.Context(), c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.RotateKey(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(c.Encryption.KeyFile); err != nil || bytes.Equal(now, before) {
		t.Error("the key file holds the old key", err)
	}
	keys, err := ListKeys(t.Context(), c.Config, slog.New(slog.DiscardHandler))
	if err != nil || len(keys) == 0 || !keys[0].Retired {
		t.Errorf("%+v, %v", keys, err)
	}
	stop(t, n)
	if n, err = Open(t.Context(), c, Options{}); err != nil {
		t.Fatal(err)
	}
}

func TestAWrongOrMissingKeyEndsTheStartAndWritesNothing(t *testing.T) {
	c := testConfig(t, "encryption.enabled=true", "encryption.key_file="+filepath.Join(t.TempDir(), "master.key"))
	if _, err := Open(t.Context(), c, Options{}); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Error("no key:", err)
	}
	if _, err := os.Stat(c.DataDir); err == nil {
		t.Error("a start without its key made the data directory")
	}
	if err := seal.Init(c.Encryption.KeyFile); err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	if err := os.Remove(c.Encryption.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := seal.Init(c.Encryption.KeyFile); err != nil {
		t.Fatal(err)
	}
	before := listing(t, c.DataDir)
	if _, err := Open(t.Context(), c, Options{}); telemetry.CodeOf(err) != telemetry.CodeInvalid || !strings.Contains(err.Error(), "is not the one") {
		t.Error("another key:", err)
	}
	if now := listing(t, c.DataDir); now != before {
		t.Errorf("a start with another key changed the directory:\n%s\n%s", before, now)
	}
}

// listing is the names, sizes and times of what is in a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			b.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLogLinesOfANodeWithEncryptionLeaveTopicsOut(t *testing.T) {
	var out bytes.Buffer
	l := discreet(slog.New(slog.NewTextHandler(&out, nil))).With("filter", "plants/secret/+")
	l.Info("refused", "topic", "plants/secret/env", "count", 7)
	if said := out.String(); strings.Contains(said, "secret") || !strings.Contains(said, "count=7") || strings.Count(said, "[hidden") != 2 {
		t.Error(said)
	}
}

// A kill after the keys went and before the rows did: the same command goes on.
func TestADestructionThatWasInterruptedGoesOn(t *testing.T) {
	c, log := sealedConfig(t), slog.New(slog.DiscardHandler)
	n, err := Open(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const tenant = string(telemetry.DefaultTenant)
	if _, err := n.store.Ring().Current(tenant); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	keys, err := Credentials(t.Context(), c.Config)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.OpenRing(c.DataDir, keys, seal.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Destroy(tenant, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if has, err := HasTenant(t.Context(), c.Config, log, tenant); has != want || err != nil {
			t.Fatalf("%v, %v; want %v", has, err, want)
		}
		err := DestroyTenant(t.Context(), c.Config, log, tenant, "")
		if want != (err == nil) || err != nil && telemetry.CodeOf(err) != telemetry.CodeNotFound {
			t.Fatal(err)
		}
	}
}
