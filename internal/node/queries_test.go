package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// endless rows, each of them 200 bytes.
const endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select printf('%0200d', x) from c"

// asked starts a node with one slot for queries, and a client of its socket.
func asked(t *testing.T, overrides ...string) *control.Client {
	t.Helper()
	cfg := testConfig(t, append([]string{"query.max_active=1", "broker.enabled=false", "http.listen="}, overrides...)...)
	n, err := Open(t.Context(), cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, n) })
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := control.NewClient(t.Context(), cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// wantFree fails where the only slot is not given back.
func wantFree(t *testing.T, c *control.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out strings.Builder
	if err := c.Query(ctx, "select 1 as one", "csv", &out); err != nil || out.String() != "one\r\n1\r\n" {
		t.Fatalf("the next statement: %q, %v", out.String(), err)
	}
}

// heapWatch counts what is written and remembers the largest heap it saw.
type heapWatch struct {
	bytes, next int
	most        uint64
}

func (h *heapWatch) Write(p []byte) (int, error) {
	if h.bytes += len(p); h.bytes >= h.next {
		h.next += 10 << 20
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		h.most = max(h.most, m.HeapAlloc)
	}
	return len(p), nil
}

func TestAResultLargerThanTheBoundStreamsThroughTheSocket(t *testing.T) {
	c := asked(t)
	formats, rows := []string{"csv", "ndjson", "json", "table"}, 300_000
	if testing.Short() {
		formats, rows = formats[:1], 10_000
		t.Log("SHORT: 2 MB of CSV stream, which says nothing of the bound; the long form has 60 MB of each format")
	}
	for _, format := range formats {
		h := &heapWatch{}
		if err := c.Query(t.Context(), fmt.Sprintf("%s limit %d", endless, rows), format, h); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if h.bytes < 200*rows || h.most > 24<<20 {
			t.Errorf("%s: %d bytes came, with %d of heap on both sides together", format, h.bytes, h.most)
		}
	}
}

// gone stops reading after the first bytes.
type gone struct{ cancel func() }

func (g *gone) Write(p []byte) (int, error) {
	g.cancel()
	return len(p), nil
}

func TestAClientThatGoesAwayEndsItsStatement(t *testing.T) {
	c := asked(t)
	t.Run("WhileRowsCome", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := c.Query(ctx, endless, "csv", &gone{cancel}); err == nil {
			t.Error("endless rows ended")
		}
		wantFree(t, c)
	})
	t.Run("BeforeTheFirstRow", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		err := c.Query(ctx, "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c", "csv", io.Discard)
		if err == nil {
			t.Error("an endless count ended")
		}
		wantFree(t, c)
	})
	t.Run("WhileItWaitsForItsTurn", func(t *testing.T) {
		first, cancel := context.WithCancel(t.Context())
		defer cancel()
		blocked := &blocking{came: make(chan struct{}), goOn: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- c.Query(first, endless, "csv", blocked) }()
		<-blocked.came
		second, cancelSecond := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancelSecond()
		if err := c.Query(second, "select 1", "csv", io.Discard); err == nil {
			t.Error("two statements ran at a time")
		}
		cancel()
		close(blocked.goOn)
		<-done
		wantFree(t, c)
	})
}

// blocking holds the rows until it is told to go on.
type blocking struct {
	came, goOn chan struct{}
	held       bool
}

func (b *blocking) Write(p []byte) (int, error) {
	if !b.held {
		b.held = true
		close(b.came)
		<-b.goOn
	}
	return len(p), nil
}

func TestErrorsComeThroughTheSocketBeforeAndAfterRows(t *testing.T) {
	patient, hasty := asked(t), asked(t, "query.timeout=1s")
	const fails = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 100000) " +
		"select abs(case when x = %d then -9223372036854775807 - 1 else x end) from c"
	for _, q := range []struct {
		what, sql, format string
		code              telemetry.Code
		least, most       int // bytes that come before it
		asked             *control.Client
	}{
		{"no such column", "select nosuch from weir_tables", "csv", telemetry.CodeInvalid, 0, 0, patient},
		{"no such format", "select 1", "xml", telemetry.CodeInvalid, 0, 0, patient},
		{"the first row fails", fmt.Sprintf(fails, 1), "json", telemetry.CodeInvalid, 0, 0, patient},
		{"a later row fails", fmt.Sprintf(fails, 90_000), "csv", telemetry.CodeInvalid, 100_000, 1 << 30, patient},
		{"the time is over, without a row", "with recursive c(x) as (select 1 union all select x + 1 from c) select max(x) from c", "csv", telemetry.CodeLimit, 0, 0, hasty},
		{"the time is over, after rows", endless, "csv", telemetry.CodeLimit, 30_000, 1 << 40, hasty},
	} {
		h := &heapWatch{}
		err := q.asked.Query(t.Context(), q.sql, q.format, h)
		var e *telemetry.Error
		if !errors.As(err, &e) || e.Code != q.code || h.bytes < q.least || h.bytes > q.most {
			t.Errorf("%s: %d bytes, then %v", q.what, h.bytes, err)
		}
	}
	wantFree(t, patient)
	wantFree(t, hasty)
}
