package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// withVersion is envDoc as another version with more in it.
func withVersion(doc string, version int, more string) string {
	return strings.Replace(doc, "version: 1\n", fmt.Sprintf("version: %d\n", version), 1) + more
}

const lateDay = 86_400_000 // ms

func TestTooLate(t *testing.T) {
	t.Run("IsQuarantinedAndStoredByAReplayWhenTheRetentionWasRaised", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.Now = 100 * lateDay * 1e6
			r := start(t, st, Config{}, withVersion(envDoc, 1, "retention: 10d\n"))
			p := r.open("a")
			p.send(env(1, 90*lateDay, 20), env(1, 90*lateDay-1, 21), env(1, 2*lateDay, 22), env(1, 200*lateDay, 23))
			p.wait()
			if n := len(st.readings(t, "env")); n != 2 {
				t.Errorf("%d readings are stored, want those within the retention", n)
			}
			held := st.quarantined(t)
			if len(held) != 2 || held[0].Reason != telemetry.ReasonTooLate || held[1].Reason != telemetry.ReasonTooLate {
				t.Fatalf("the quarantine holds %+v", held)
			}
			if d := held[0].Detail + held[1].Detail; !strings.Contains(d, "the reading of 1970-01-03T00:00:00Z is older than the retention of 10d, by 88d") {
				t.Errorf("the reason is %q", d)
			}
			if got, err := r.Replay(context.Background(), store.QuarantineFilter{}); err != nil || got.Stored != 0 || got.Stay != 2 {
				t.Errorf("a replay under the same retention: %+v, %v", got, err)
			}
			r.use(withVersion(envDoc, 1, "retention: 10d\n"), withVersion(envDoc, 2, "retention: 99d\n"))
			if got, err := r.Replay(context.Background(), store.QuarantineFilter{}); err != nil || got.Stored != 2 || got.Stay != 0 {
				t.Errorf("a replay when the retention was raised: %+v, %v", got, err)
			}
			if n := len(st.readings(t, "env")); n != 4 {
				t.Errorf("%d readings after the replay", n)
			}
		})
	})
	t.Run("IsWhatTheNewestVersionOfTheTableSays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.Now = 100 * lateDay * 1e6
			// The second version takes no payload of these: the first does.
			narrow := strings.Replace(withVersion(envDoc, 2, "retention: 50d\n"), "maximum: 125", "maximum: 1", 1)
			r := start(t, st, Config{}, withVersion(envDoc, 1, "retention: 10d\n"), narrow)
			p := r.open("a")
			p.send(env(1, 60*lateDay, 20), env(1, 40*lateDay, 20))
			p.wait()
			if n := len(st.readings(t, "env")); n != 1 {
				t.Errorf("%d readings are stored, want that of 40 days ago", n)
			}
		})
	})
	t.Run("IsNothingWhereNoTimeIsKnown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			r := start(t, st, Config{}, withVersion(envDoc, 1, "retention: 10d\n"))
			p := r.open("a")
			p.send(env(1, 1, 20))
			p.wait()
			if n := len(st.readings(t, "env")); n != 1 {
				t.Errorf("%d readings are stored", n)
			}
		})
	})
	t.Run("IsDroppedWhereTheSchemaDrops", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.Now = 100 * lateDay * 1e6
			r := start(t, st, Config{}, withVersion(envDoc, 1, "retention: 10d\non_invalid: drop\n"))
			p := r.open("a")
			p.send(env(1, 1, 20))
			p.wait()
			if n := r.Stats().Sources[0].Dropped[telemetry.ReasonTooLate]; n != 1 || len(st.quarantined(t)) != 0 {
				t.Errorf("%d were dropped, %d quarantined", n, len(st.quarantined(t)))
			}
		})
	})
}
