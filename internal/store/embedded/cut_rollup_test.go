package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/powercut"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// agingCuts is how many readings the recorded program commits: two of its partitions
// grow too old meanwhile.
const agingCuts = 6000

// agingCutChild commits numbered readings, makes rollups, deletes by age and now and
// then gives back space of the catalog as a quiet store does, and reports each commit
// over a socket.
func agingCutChild(dir string) (err error) {
	ctx, n := context.Background(), 0
	conn, err := net.Dial("tcp", os.Getenv(powercut.Address))
	if err != nil {
		return err
	}
	opt := agingOptions(dir, &n, 0)
	opt.PageSize = 512 // many pages of few readings
	s, err := Open(ctx, opt)
	if err != nil {
		return err
	}
	table := counted()
	if err := s.PutTable(ctx, telemetry.DefaultTenant, table, nil); err != nil {
		return err
	}
	policy := store.Policy{Retention: killRetention, Rollups: []store.Rollup{{Every: time.Second}, {Every: 5 * time.Second}}}
	if err := s.SetPolicy(telemetry.DefaultTenant, table.Name, policy); err != nil {
		return err
	}
	vacuums, rng := 0, rand.New(rand.NewPCG(1, 0))
	if err := s.PutTable(ctx, telemetry.DefaultTenant, bulkTable, nil); err != nil {
		return err
	}
	for c := 1; n < agingCuts; c++ {
		sec, err := countedRows(s, table, &n, 300)
		if err != nil {
			return err
		}
		sections := []*telemetry.Section{sec}
		if c%5 == 0 {
			bulk, err := bulkRows(s, rng, c)
			if err != nil {
				return err
			}
			sections = append(sections, bulk)
		}
		st, err := s.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: sections}}})
		if err == nil {
			err = st.Commit(ctx)
		}
		if err == nil {
			_, err = fmt.Fprintf(conn, "%8d", n)
		}
		if err == nil {
			err = s.Compact(ctx)
		}
		if err != nil {
			return err
		}
		if c%5 == 0 {
			if err := s.deleteAllDoomed(); err != nil {
				return err
			}
			before := catalogPages(s)
			if err := s.shrink(); err != nil {
				return err
			}
			if catalogPages(s) <= before-shrinkPages {
				vacuums++
			}
		}
	}
	if st := s.Stats(); st.RollupsMade == 0 || st.RetiredRows == 0 || vacuums == 0 {
		return fmt.Errorf("%d rollups were made, %d rows retired, and the catalog was written anew %d times", st.RollupsMade, st.RetiredRows, vacuums)
	}
	return errors.Join(s.Close(), conn.Close())
}

// countedRows makes the next readings.
func countedRows(s *Store, table *telemetry.Table, n *int, rows int) (*telemetry.Section, error) {
	sec := &telemetry.Section{}
	sec.Reset(table)
	for end := *n + rows; *n < end; *n++ {
		device := fmt.Appendf(nil, "%d", *n%5)
		ref, err := s.Series(telemetry.DefaultTenant, table, append([]byte("d/"), device...), [][]byte{device})
		if err != nil {
			return nil, err
		}
		sec.AppendRow(ref, killTime(*n), killTime(*n), []telemetry.Value{{Bits: uint64(*n)}})
	}
	return sec, nil
}

// bulkTable's readings leave many free pages in the catalog when they are compacted.
var bulkTable = &telemetry.Table{
	Name: "bulk", Version: 1, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
	Columns: []telemetry.Column{{Name: "text", Type: telemetry.String}},
}

func bulkRows(s *Store, rng *rand.Rand, c int) (*telemetry.Section, error) {
	sec := &telemetry.Section{}
	sec.Reset(bulkTable)
	ref, err := s.Series(telemetry.DefaultTenant, bulkTable, []byte("bulk"), nil)
	for i := range 30 {
		text := make([]byte, 0, 2000)
		for len(text) < 2000 {
			text = strconv.AppendUint(text, rng.Uint64(), 36)
		}
		at := killTime(c*300) + int64(i)
		sec.AppendRow(ref, at, at, []telemetry.Value{{Text: text}})
	}
	return sec, err
}

func catalogPages(s *Store) (n int64) {
	_ = s.w.query("PRAGMA page_count", func(row []driver.Value) error { n = asInt(row[0]); return nil })
	return n
}

// The power is cut while rollups are made, readings deleted by age, the catalog
// written anew and its log emptied: readings and rollups together are each
// acknowledged reading once.
func TestAgingReadingsSurviveAPowerCutAtAnyPoint(t *testing.T) {
	events, root := powercut.Record(t, "WEIR_TEST_AGING_CUT_DIR")
	emptied := 0
	for i := range events {
		if e := &events[i]; e.Kind == powercut.Truncate && strings.HasSuffix(e.Path, "-wal") && e.Size == 0 {
			emptied++
		}
	}
	if last := string(powercut.Reported(events, events[len(events)-1].Start+1)); last != fmt.Sprintf("%8d", agingCuts) || emptied < 2 {
		t.Fatalf("recorded up to %q, and the log was emptied %d times", last, emptied)
	}
	disks := 120
	powercut.CutDisks(t, events, root, powercut.Sends(events), disks, func(dir string, at int) string {
		acked, _ := strconv.Atoi(strings.TrimSpace(string(powercut.Reported(events, at)))) // 0: none
		for _, when := range []string{"opened", "opened a second time"} {
			width := int64(time.Second)
			if at%2 == 0 {
				width *= 5
			}
			if checkAging(t, dir, acked, width); t.Failed() {
				return when + ": as above"
			}
		}
		return ""
	})
}
