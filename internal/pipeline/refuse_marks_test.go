package pipeline

import (
	"context"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestRowsOfARefusedCommitAreStoredWithTheirMarks: wherever the process dies, a row
// of a source with marks is stored if and only if its mark is.
func TestRowsOfARefusedCommitAreStoredWithTheirMarks(t *testing.T) {
	for name, refuse := range map[string]func(*tap){"AtStage": (*tap).refuseStage, "AtCommit": (*tap).refuseCommit} {
		for diesAfter := range 4 {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					st := newTap()
					refuse(st)
					left := diesAfter
					inner := st.commit
					st.onCommit(func(c *seen) error {
						if inner != nil {
							if err := inner(c); err != nil {
								return err
							}
						}
						if left--; left < 0 {
							return telemetry.Errorf(telemetry.CodeUnavailable, "commit", "the power is gone")
						}
						return nil
					})
					r := start(t, st, Config{CommitInterval: time.Hour, Lanes: 1}, pulseDoc)
					p := r.open("messages") // another source in the same batch
					s, err := r.OpenSession(context.Background(), "devices", "d1", &acks{news: make(chan struct{}, 1)})
					if err != nil {
						t.Fatal(err)
					}
					m := s.(telemetry.MarkSession)
					p.send(pulse(1, 1), pulse(2, 2))
					if err := m.Begin(context.Background()); err != nil {
						t.Fatal(err)
					}
					for i, v := range []float64{10, 11, poison, 13, 14, poison} {
						row := telemetry.Row{Schema: "pulse", Version: 1, Topic: []byte("pulse/d1"), Time: int64(1 + i), Received: 1, Values: []telemetry.Value{{Bits: math.Float64bits(v)}}}
						if taken, _ := m.AddRow(&row); !taken {
							t.Fatal("a row is not taken")
						}
					}
					m.Mark(7, 6)
					m.End()
					time.Sleep(2 * time.Hour)
					r.crash()

					st.onStage(nil)
					st.onCommit(nil)
					r = start(t, st, Config{}, pulseDoc)
					s, err = r.OpenSession(context.Background(), "devices", "d1", &acks{news: make(chan struct{}, 1)})
					if err != nil {
						t.Fatal(err)
					}
					marks := s.(telemetry.MarkSession).Marks()
					devices := 0
					for _, line := range st.readings(t, "pulse") {
						if len(line) > 8 && line[:8] == "pulse/d1" {
							devices++
						}
					}
					refused := len(st.quarantined(t))
					want := []int{0, 0}
					if len(marks) == 1 {
						want = []int{4, 2}
						if name == "AtCommit" { // which one it was nobody knows
							want = []int{0, 6}
						}
					}
					if got := []int{devices, refused}; !slices.Equal(got, want) {
						t.Errorf("died after %d commits: %d rows and %d records are there with the marks %v", diesAfter, devices, refused, marks)
					}
					if diesAfter == 3 && len(marks) != 1 {
						t.Errorf("nothing was stored: %v", marks)
					}
				})
			})
		}
	}
}
