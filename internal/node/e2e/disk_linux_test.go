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

func TestAFullDiskHoldsTheStreamUntilThereIsRoom(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema, "bare.yaml": bareSchema})
	disk := testkit.SmallDisk(t, 24)
	p.data = filepath.Join(disk, "data")
	r := p.serve()
	ballast := filepath.Join(disk, "ballast")
	ctx := deadline(t)
	const messages = 4000
	l, release := startHeldLoad(ctx, func() string { return r.broker }, messages)
	testkit.Eventually(t, "the stream flows", func() bool { return l.acked() > 500 })
	fill(t, ballast)
	release()

	testkit.Eventually(t, "/readyz says that the disk is full", func() bool { return saysFull(r) })
	stuck := holdsBack(t, r, l)
	if stuck == len(l.publishers)*messages {
		t.Fatalf("all %d messages were acknowledged on a full disk", stuck)
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

// saysFull reports whether /readyz names the full disk as what keeps the node from
// its work.
func saysFull(r *running) bool {
	status, body := r.get("/readyz")
	lower := strings.ToLower(body)
	return status == 503 && contains(lower, "store") && (strings.Contains(lower, "disk is full") || strings.Contains(lower, "no space"))
}

// holdsBack watches the acknowledgements while no commit succeeds, and returns their
// number: what is acknowledged was stored before. A node may find room once more,
// where a checkpoint gives some back; then the watch begins anew.
func holdsBack(t *testing.T, r *running, l *load) int {
	t.Helper()
	state := func() (failing bool, commits, stored float64) {
		_, text := r.get("/metrics")
		m := samples(t, text)
		return m["weir_store_failing"] == 1, m["weir_commits_total"], m[`weir_messages_stored_total{source="broker"}`]
	}
	const watched = 20
	stuck := -1
	testkit.Eventually(t, "commits fail for a while", func() bool {
		failing, commits, _ := state()
		if !failing {
			return false
		}
		for range watched {
			time.Sleep(50 * time.Millisecond) // too short a time can only hide a defect
			stuck = l.acked()
			full := saysFull(r)
			still, after, stored := state()
			if stuck > int(stored) {
				t.Fatalf("%d messages are acknowledged, and %v are stored", stuck, stored)
			}
			if !still || after != commits {
				return false
			}
			if !full {
				t.Fatal("commits fail, and /readyz does not say that the disk is full")
			}
		}
		return true
	})
	return stuck
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
	disk := testkit.SmallDisk(t, 24)
	p.data = filepath.Join(disk, "data")
	address := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	r := p.serve("--set", "broker.listen="+address, "--set", "node.drain_timeout=2s")
	ballast := filepath.Join(disk, "ballast")
	const messages = 3000
	l, release := startHeldLoad(deadline(t), func() string { return address }, messages)
	testkit.Eventually(t, "the stream flows", func() bool { return l.acked() > 500 })
	fill(t, ballast)
	release()
	testkit.Eventually(t, "commits fail", func() bool {
		_, metrics := r.get("/metrics")
		return strings.Contains(metrics, "weir_store_failing 1")
	})
	if code := r.stop(); code == 0 { // stop fails the test where it does not end
		t.Error("exit code 0, although messages could not be committed")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.serve("--set", "broker.listen="+address)
	l.wait(t)
	l.verify(t, p)
}
