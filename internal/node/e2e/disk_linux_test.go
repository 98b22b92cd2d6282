package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// smallDisk mounts a tmpfs of that many megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", megabytes))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		testkit.Missing(t, "the right to mount a tmpfs", "run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAFullDiskHoldsTheStreamUntilThereIsRoom(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema, "bare.yaml": bareSchema})
	disk := smallDisk(t, 24)
	p.data = filepath.Join(disk, "data")
	r := p.serve()
	ballast := filepath.Join(disk, "ballast")
	ctx := deadline(t, 2*time.Minute)
	const messages = 4000
	l := startLoad(ctx, func() string { return r.broker }, messages)
	testkit.Eventually(t, "the stream flows", func() bool { return l.acked() > 500 })
	fill(t, ballast)

	testkit.Eventually(t, "/readyz says that the disk is full", func() bool {
		status, body := r.get("/readyz")
		lower := strings.ToLower(body)
		return status == 503 && (strings.Contains(lower, "full") || strings.Contains(lower, "no space"))
	})
	// Commits fail from here on; none may be acknowledged.
	stuck := l.acked()
	testkit.Eventually(t, "the node tries again", func() bool {
		_, metrics := r.get("/metrics")
		return strings.Contains(metrics, "weir_store_failing 1")
	})
	if now := l.acked(); now == len(l.publishers)*messages {
		t.Fatalf("all %d messages were acknowledged on a full disk", now)
	}
	if status, _ := r.get("/healthz"); status != 200 {
		t.Errorf("/healthz is %d: a restart would not help", status)
	}
	t.Logf("stuck at %d of %d acknowledgements", stuck, len(l.publishers)*messages)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.wait(t)
	testkit.Eventually(t, "/readyz is content again", func() bool { status, _ := r.get("/readyz"); return status == 200 })
	l.verify(t, p)
	r.kill() // and all of it is durable
	r = p.serve()
	l.verify(t, p)
}

// fill takes all the room that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		switch _, err := f.Write(make([]byte, size)); {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
}

func TestANodeThatCannotCommitStillEndsInTimeAndLosesNothing(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema, "bare.yaml": bareSchema})
	disk := smallDisk(t, 24)
	p.data = filepath.Join(disk, "data")
	address := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	r := p.serve("--set", "broker.listen="+address, "--set", "node.drain_timeout=2s")
	ballast := filepath.Join(disk, "ballast")
	const messages = 3000
	l := startLoad(deadline(t, 2*time.Minute), func() string { return address }, messages)
	testkit.Eventually(t, "the stream flows", func() bool { return l.acked() > 500 })
	fill(t, ballast)
	testkit.Eventually(t, "commits fail", func() bool {
		_, metrics := r.get("/metrics")
		return strings.Contains(metrics, "weir_store_failing 1")
	})
	if code := r.stop(); code == 0 { // stop fails the test after 15 s
		t.Error("exit code 0, although messages could not be committed")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.serve("--set", "broker.listen="+address)
	l.wait(t)
	l.verify(t, p)
}
