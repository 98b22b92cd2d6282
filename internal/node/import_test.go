package node

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// bareDocument has no time in the payload and no identity, so that nothing but the
// mark of an import tells a row that came twice.
const bareDocument = `name: bare
version: 1
topic: bare/{client}
format: json
payload:
  type: object
  properties:
    seq: {type: integer}
`

// bareRows is a part of an import.
func bareRows(n int) []*transfer.Batch {
	b := &transfer.Batch{Shape: transfer.Shape{Table: "bare", Tags: []string{"client"}, Columns: []telemetry.Column{{Name: "seq", Type: telemetry.Int}}}}
	for i := range n {
		b.Rows = append(b.Rows, transfer.Row{
			Topic: "bare/a", Tags: []store.Tag{{Value: "a"}}, Time: 1_700_000_000e9,
			Values: []telemetry.Value{{Bits: uint64(i % 5)}}, Line: int64(i + 1),
		})
	}
	return []*transfer.Batch{b}
}

// importing is a node with the table bare, and a client of its socket.
func importing(t *testing.T) *control.Client {
	t.Helper()
	c := asked(t)
	if _, err := c.Accept(t.Context(), "bare.yaml", []byte(bareDocument), false); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantBare(t *testing.T, c *control.Client, want int) {
	t.Helper()
	var out strings.Builder
	if err := c.Query(t.Context(), "select count(*) as n from bare", "csv", &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != fmt.Sprintf("n\r\n%d\r\n", want) {
		t.Errorf("%q instead of %d readings", out.String(), want)
	}
}

func TestAPartOfAnImportIsStoredOnlyWhereTheOneBeforeEnded(t *testing.T) {
	c := importing(t)
	if done, err := c.ImportBatches(t.Context(), "k", 0, 10, bareRows(3)); err != nil || done.Stored != 3 {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, from := range []uint64{0, 9, 11} {
		if _, err := c.ImportBatches(t.Context(), "k", from, 20, bareRows(3)); telemetry.CodeOf(err) != telemetry.CodeConflict {
			t.Errorf("from %d: %v", from, err)
		}
	}
	if done, err := c.ImportBatches(t.Context(), "k", 10, 20, bareRows(2)); err != nil || done.Stored != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if mark, known, err := c.ImportMark(t.Context(), "k"); mark != 20 || !known || err != nil {
		t.Errorf("%d, %v, %v", mark, known, err)
	}
	wantBare(t, c, 5)
}

func TestRunsOfOneImportThatOverlapStoreEachPartOnce(t *testing.T) {
	c := importing(t)
	const parts, rows = 20, 50
	var runs sync.WaitGroup
	for range 4 {
		runs.Go(func() {
			at, _, err := c.ImportMark(t.Context(), "k")
			for err == nil && at < parts {
				if _, err = c.ImportBatches(t.Context(), "k", at, at+1, bareRows(rows)); telemetry.CodeOf(err) == telemetry.CodeConflict {
					at, _, err = c.ImportMark(t.Context(), "k")
					continue
				}
				at++
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	runs.Wait()
	wantBare(t, c, parts*rows)
}

func TestAnImportWhoseClientIsGoneIsAtTheMarkThatItsRowsReached(t *testing.T) {
	c := importing(t)
	stored := 0
	for at := uint64(0); at < 200; {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = c.ImportBatches(ctx, "k", at, at+1, bareRows(7)) // the mark tells
		}()
		for range at % 50 { // some are gone before, some while, some after
			_, _, _ = c.ImportMark(ctx, "other")
		}
		cancel()
		<-ended
		mark, _, err := c.ImportMark(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if mark == at { // it was not taken at all, or is still on its way
			if _, err := c.ImportBatches(t.Context(), "k", at, at+1, bareRows(7)); err != nil && telemetry.CodeOf(err) != telemetry.CodeConflict {
				t.Fatal(err)
			}
		}
		at++
		stored += 7
	}
	wantBare(t, c, stored)
}

// A document that an import brings along is not active, and its retention counts all
// the same: rows that it would delete at once are refused.
func TestAnImportRefusesWhatTheRetentionOfItsOwnDocumentWouldDelete(t *testing.T) {
	c := asked(t)
	if _, err := c.Accept(t.Context(), "bare.yaml", []byte(bareDocument+"retention: 1000d\n"), false); err != nil {
		t.Fatal(err)
	}
	old, young := bareRows(2), bareRows(1)
	young[0].Rows[0].Time = time.Now().UnixNano()
	done, err := c.ImportBatches(t.Context(), "k", 0, 1, append(old, young...))
	if err != nil || done.Stored != 1 || len(done.Refused) != 2 || !strings.Contains(done.Refused[0].Why, "retention of bare, which is 1000d") {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestAnImportRefusesTheTimeThatNoQueryFinds(t *testing.T) {
	c := importing(t)
	rows := bareRows(3)
	rows[0].Rows[0].Time, rows[0].Rows[1].Time, rows[0].Rows[2].Time = math.MaxInt64, math.MaxInt64-1, math.MinInt64
	done, err := c.ImportBatches(t.Context(), "k", 0, 1, rows)
	if err != nil || done.Stored != 2 || len(done.Refused) != 1 || done.Refused[0].Line != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	wantBare(t, c, 2)
}
