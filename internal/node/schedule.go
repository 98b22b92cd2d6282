package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// backups are the node's scheduled backups.
type backups struct {
	schedule config.Schedule
	now      func() time.Time
	last     func() time.Time // when the newest snapshot was made; zero: there is none
	run      func(ctx context.Context) error

	mu       sync.Mutex
	made     time.Time // of the newest snapshot
	err      error     // of the last try, nil after a success
	runs     int
	failures int
}

const (
	// lookAgain bounds how long the loop sleeps, so that a clock that was set is
	// seen.
	lookAgain = time.Minute
	// tryAgain is how long after a failure the next try comes.
	tryAgain = 15 * time.Minute
)

// loop writes a snapshot whenever one is due, until ctx ends. One that was due
// while the node was away is written at the start.
func (b *backups) loop(ctx context.Context) {
	b.mu.Lock()
	b.made = b.last()
	b.mu.Unlock()
	var failed time.Time
	for {
		now := b.now()
		if b.newest().After(now.Add(time.Minute)) { // the clock was set back
			b.mu.Lock()
			b.made = now
			b.mu.Unlock()
		}
		due := b.schedule.Next(b.newest())
		if again := failed.Add(tryAgain); !failed.IsZero() && due.Before(again) && !again.After(now.Add(tryAgain)) {
			due = again
		}
		if wait := due.Sub(now); wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(min(wait, lookAgain)):
			}
			continue
		}
		err := b.run(ctx)
		if ctx.Err() != nil {
			return
		}
		b.ended(err)
		failed = time.Time{}
		if err != nil {
			failed = b.now()
		}
	}
}

func (b *backups) newest() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.made
}

func (b *backups) ended(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs++
	if b.err = err; err != nil {
		b.failures++
		return
	}
	b.made = b.now()
}

// startBackups begins the scheduled backups.
func (n *Node) startBackups() error {
	c := n.cfg.Backup
	schedule, err := config.ParseSchedule(c.Schedule)
	if err != nil || schedule.Never() {
		return err
	}
	k := keeper{store: n.store, cfg: n.cfg, version: n.opts.Version}
	log := part(n.opts.Logger, "backup")
	n.backups = &backups{schedule: schedule, now: n.now, last: func() time.Time { return k.newest(c.Dir) }}
	n.backups.run = func(ctx context.Context) error {
		done, err := k.backup(ctx, control.BackupOptions{Dir: c.Dir, Rate: c.Rate.Bytes, Keep: c.Keep, Verify: c.Verify, WithKeys: c.WithKeys}, nil)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			log.Error("the scheduled backup failed; it will be tried again", "dir", c.Dir, "error", err)
		default:
			log.Info("backed up", "snapshot", done.Snapshot, "bytes", done.Bytes, "copied", done.Copied, "removed", len(done.Pruned))
			for _, w := range done.Warnings {
				log.Warn(w)
			}
		}
		return err
	}
	n.sourceTasks.Go(func() { n.backups.loop(n.intake) })
	return nil
}

// newest returns when the newest snapshot of this data directory was made.
func (k *keeper) newest(dir string) time.Time {
	id, err := k.id()
	if err != nil {
		return time.Time{}
	}
	manifests, _, err := backup.List(dir) // where it cannot be read, a new one is due
	if err != nil {
		return time.Time{}
	}
	var t time.Time
	for _, m := range manifests {
		if m.Node == id && m.Created.After(t) {
			t = m.Created
		}
	}
	return t
}

// backupReason says what is wrong with the scheduled backups, nil for nothing.
func (n *Node) backupReason() error {
	if n.backups == nil {
		return nil
	}
	b := n.backups
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		return nil
	}
	since := "none was ever made"
	if !b.made.IsZero() {
		since = "the newest is of " + b.made.UTC().Format(time.RFC3339)
	}
	var te *telemetry.Error
	hint := "see backup.dir in the configuration; the next try comes by itself"
	if errors.As(b.err, &te) && te.Hint != "" {
		hint = te.Hint
	}
	return telemetry.Errorf(telemetry.CodeUnavailable, "", "the scheduled backup failed (%s): %v", since, b.err).WithHint(hint)
}

func (n *Node) collectBackups(e emitter) {
	if n.backups == nil {
		return
	}
	b := n.backups
	b.mu.Lock()
	defer b.mu.Unlock()
	e.count("weir_backup_runs_total", "Scheduled backups that ended, well or not.", float64(b.runs))
	e.count("weir_backup_failures_total", "Of them, those that failed.", float64(b.failures))
	made := 0.0
	if !b.made.IsZero() {
		made = float64(b.made.UnixNano()) / 1e9
	}
	e.gauge("weir_backup_last_timestamp_seconds", "When the newest snapshot was made, in unix seconds; 0: there is none.", made)
}
