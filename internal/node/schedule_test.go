package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/node/config"
)

func schedule(t *testing.T, text string) config.Schedule {
	t.Helper()
	s, err := config.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBackupsAreWrittenWhenTheyAreDue(t *testing.T) {
	for _, c := range []struct {
		name, schedule string
		last           time.Duration // before the start; 0: never
		want           []time.Duration
	}{
		{"the first at once", "6h", 0, []time.Duration{0, 6 * time.Hour, 12 * time.Hour}},
		{"a missed one at once", "6h", 10 * time.Hour, []time.Duration{0, 6 * time.Hour}},
		{"not before its time", "6h", 4 * time.Hour, []time.Duration{2 * time.Hour, 8 * time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				var runs []time.Duration
				b := &backups{schedule: schedule(t, c.schedule), now: time.Now, last: func() time.Time {
					if c.last == 0 {
						return time.Time{}
					}
					return start.Add(-c.last)
				}}
				b.run = func(context.Context) error {
					if runs = append(runs, time.Since(start)); len(runs) == len(c.want) {
						cancel()
					}
					return nil
				}
				b.loop(ctx)
				for i := range c.want {
					if runs[i] < c.want[i] || runs[i] > c.want[i]+lookAgain {
						t.Errorf("run %d came after %s, want %s", i, runs[i], c.want[i])
					}
				}
			})
		})
	}
}

func TestAFailedBackupIsTriedAgainAndToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var runs []time.Duration
		b := &backups{schedule: schedule(t, "24h"), now: time.Now, last: func() time.Time { return time.Time{} }}
		n := &Node{backups: b}
		b.run = func(context.Context) error {
			runs = append(runs, time.Since(start))
			switch len(runs) {
			case 1, 2:
				return errors.New("the disk is away")
			case 4:
				cancel()
			}
			return nil
		}
		done := make(chan struct{})
		go func() { defer close(done); b.loop(ctx) }()
		synctest.Wait()
		if err := n.backupReason(); err == nil {
			t.Error("nothing is told of the failure")
		}
		time.Sleep(time.Hour)
		if err := n.backupReason(); err != nil || b.failures != 2 {
			t.Errorf("after a success: %v, %d failures", err, b.failures)
		}
		<-done
		for i, want := range []time.Duration{0, tryAgain, 2 * tryAgain, 2*tryAgain + 24*time.Hour} {
			if runs[i] < want || runs[i] > want+2*lookAgain {
				t.Errorf("run %d came after %s, want %s", i, runs[i], want)
			}
		}
	})
}

func TestAClockThatWasSetBackStopsNoBackups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 13*time.Hour)
		defer cancel()
		runs := 0
		b := &backups{schedule: schedule(t, "6h"), now: time.Now, last: func() time.Time { return time.Now().AddDate(1, 0, 0) }}
		b.run = func(context.Context) error { runs++; return nil }
		b.loop(ctx)
		if runs < 1 {
			t.Errorf("%d backups in 13 hours", runs)
		}
	})
}
