package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// aged is a table of readings of the last days.
var aged = &telemetry.Table{
	Name: "aged", Version: 1, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
	Columns: []telemetry.Column{{Name: "v", Type: telemetry.Int}},
}

// storeDays stores readings of so many days before today, and compacts them.
func storeDays(t *testing.T, n *Node, days, perDay int) {
	t.Helper()
	ctx := t.Context()
	if err := n.store.PutTable(ctx, telemetry.DefaultTenant, aged, nil); err != nil {
		t.Fatal(err)
	}
	ref, err := n.store.Series(telemetry.DefaultTenant, aged, []byte("d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sec := &telemetry.Section{}
	sec.Reset(aged)
	for d := range days {
		day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -d-3)
		for i := range perDay {
			at := day.Add(time.Duration(i) * time.Second).UnixNano()
			sec.AppendRow(ref, at, at, []telemetry.Value{{Bits: uint64(i)}})
		}
	}
	st, err := n.store.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{sec}}}})
	if err == nil {
		err = st.Commit(ctx)
	}
	if err == nil {
		err = n.store.Compact(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func countAged(t *testing.T, s *embedded.Store) (rows int) {
	t.Helper()
	sc, err := s.Scan(t.Context(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: aged.Name, From: -1 << 63, To: 1<<63 - 1})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, []string{"v"}, false); err != nil {
			t.Fatal(err)
		}
		rows += sec.Rows()
	}
	return rows
}

// TestRetentionDuringABackupLeavesASnapshotThatRestores holds a backup, by hand or
// scheduled, at the first file that it copies, which is one of the configuration, and
// lets retention delete all readings before it goes on.
func TestRetentionDuringABackupLeavesASnapshotThatRestores(t *testing.T) {
	const days, perDay = 5, 300
	for _, how := range []string{"by hand", "scheduled"} {
		t.Run(how, func(t *testing.T) {
			dir, users := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "users")
			if err := os.WriteFile(users, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			c := testConfig(t, "broker.password_file="+users, "backup.dir="+dir, "backup.schedule=24h")
			n, err := Open(t.Context(), c, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer stop(t, n)
			testkit.Eventually(t, "the first scheduled backup", func() bool {
				n.backups.mu.Lock()
				defer n.backups.mu.Unlock()
				return n.backups.runs == 1
			})
			storeDays(t, n, days, perDay)
			if err := os.Remove(users); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(users, 0o600); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				if how == "scheduled" {
					ended <- n.backups.run(context.Background())
					return
				}
				_, err := n.Backup(context.Background(), control.BackupOptions{Dir: dir}, func(int64, int64) {})
				ended <- err
			}()
			// The backup opens the file when it has its segments and none of them is copied.
			hold := -1
			testkit.Eventually(t, "the backup is held", func() (held bool) {
				hold, err = unix.Open(users, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				return err == nil
			})
			if err := n.store.SetPolicy(telemetry.DefaultTenant, aged.Name, store.Policy{Retention: 24 * time.Hour}); err != nil {
				t.Fatal(err)
			}
			if err := n.store.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := countAged(t, n.store); left != 0 {
				t.Fatalf("retention left %d readings", left)
			}
			if err := unix.Close(hold); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if left, err := n.store.Orphans(); err != nil || len(left) > 0 {
				t.Errorf("the backup is done, and these are still there: %v, %v", left, err)
			}
			if err := os.Remove(users); err != nil {
				t.Fatal(err)
			}

			damage, _, err := backup.Verify(t.Context(), dir, "", nil)
			if err != nil || len(damage) > 0 {
				t.Fatal(damage, err)
			}
			to := t.TempDir()
			m, err := backup.Restore(t.Context(), dir, "", backup.Target{Data: filepath.Join(to, "data"), Schemas: filepath.Join(to, "schemas"), Config: filepath.Join(to, "etc")}, nil, nil)
			if err != nil || m.Readings != days*perDay || len(m.Missing) > 0 {
				t.Fatal(m, err)
			}
			s, err := embedded.Open(t.Context(), embedded.Options{Dir: filepath.Join(to, "data"), ManualCompaction: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Verify(t.Context(), func(d embedded.Damage) { t.Errorf("damage: %s", d.String()) }, nil); err != nil {
				t.Fatal(err)
			}
			if rows := countAged(t, s); rows != days*perDay {
				t.Errorf("the snapshot has %d readings", rows)
			}
			names, err := filepath.Glob(filepath.Join(to, "data", "segments", "*"))
			if err != nil || len(names) == 0 {
				t.Fatal(names, err)
			}
			if left, err := s.Orphans(); err != nil || slices.ContainsFunc(names, func(n string) bool { return slices.Contains(left, n) }) {
				t.Errorf("the snapshot has files that it does not name: %v, %v", left, err)
			}
		})
	}
}
