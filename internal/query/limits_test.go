package query_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/query/render"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a store that tests may share: they only read it.
var small = sync.OnceValue(func() *fakeStore { return newW1(50, 1000, 5) })

func run(t *testing.T, e *query.Engine, sql string) ([][]query.Value, error) {
	t.Helper()
	rows, err := e.Query(t.Context(), telemetry.DefaultTenant, sql)
	if err != nil {
		return nil, err
	}
	return rows.All()
}

func TestMemory(t *testing.T) {
	e := query.New(small(), query.Options{MemoryLimit: 1 << 20})
	for name, sql := range map[string]string{
		"Groups":             "select time, device, count(*) from env group by time, device",
		"DistinctValues":     "select count(distinct time || device) from env",
		"DistinctRows":       "select distinct time, device, temperature from env",
		"Order":              "select * from env order by temperature",
		"SQLiteSort":         "select * from (select * from env) order by temperature",
		"SQLiteGroups":       "with x as (select * from env) select time, device, count(*) from x group by 1, 2",
		"SQLiteMaterialised": "with x as materialized (select * from env) select count(*) from x a join x b on a.time = b.time",
		"SQLiteRecursion":    "with recursive c(x) as (select 1 union select x + 1 from c where x < 100000000) select max(x) from c",
		"SQLiteWindow":       "select sum(temperature) over (order by time) from env",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := run(t, e, sql)
			if telemetry.CodeOf(err) != telemetry.CodeLimit {
				t.Fatalf("got %v, want an error of code limit", err)
			}
			var te *telemetry.Error
			if errors.As(err, &te) && te.Hint == "" {
				t.Error("the error has no hint")
			}
			// The next statement has the whole limit again.
			if _, err := run(t, e, "with x as (select 1) select * from x"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	t.Run("TopRowsNeedNoMoreThanTheyKeep", func(t *testing.T) {
		rows, err := run(t, e, "select * from env order by temperature desc, device limit 10")
		if err != nil || len(rows) != 10 {
			t.Fatal(len(rows), err)
		}
	})
}

// TestStreamIsBounded reads all rows slowly and watches that the executor does
// not run ahead of the reader.
func TestStreamIsBounded(t *testing.T) {
	for name, o := range map[string]query.Options{"Executor": {}, "SQLite": {SQLiteOnly: true}} {
		t.Run(name, func(t *testing.T) {
			st := newW1(40, 1000, 1)
			var reads atomic.Int64
			st.onRead = func() { reads.Add(1) }
			rows, err := query.New(st, o).Query(t.Context(), telemetry.DefaultTenant, "select * from env")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close() //nolint:errcheck
			n, ahead := 0, int64(0)
			for rows.Next() {
				n += rows.Batch().Len()
				ahead = max(ahead, reads.Load()-int64(n/1000))
			}
			if err := rows.Err(); err != nil || n != 40_000 {
				t.Fatal(n, err)
			}
			if limit := int64(4*runtime.GOMAXPROCS(0) + 3); ahead > limit {
				t.Errorf("%d units were read ahead of the reader, more than %d", ahead, limit)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	slow := []string{
		"select * from env",
		"select device, time, avg(temperature * humidity) from env where pressure > 1 group by 1, 2",
		"select * from env order by temperature",
		"select count(*) from env a, env b, env c",
		"with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c",
		"with recursive c(x) as (select 1 union all select x + 1 from c) select x from c where x % 100000000 = 1",
		"select * from env_latest",
	}
	for _, sql := range slow {
		t.Run(sql, func(t *testing.T) {
			st := newW1(20, 1000, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			started := make(chan struct{})
			var once sync.Once
			st.onRead = func() { once.Do(func() { close(started) }) }
			done := make(chan error, 1)
			go func() {
				rows, err := query.New(st, query.Options{MemoryLimit: 1 << 30}).Query(ctx, telemetry.DefaultTenant, sql)
				if err == nil {
					for ctx.Err() == nil && rows.Next() {
					}
					for rows.Next() {
					}
					err = rows.Err()
					_ = rows.Close()
				}
				done <- err
			}()
			select {
			case <-started:
			case <-time.After(50 * time.Millisecond): // what reads no table
			}
			cancel()
			select {
			case err := <-done:
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want that the context was cancelled", err)
				}
			case <-time.After(2 * time.Minute):
				t.Fatal("the statement goes on after its context ended")
			}
		})
	}
}

// TestCloseEarly leaves rows unread: Close ends the work, and goleak sees that
// nothing stays.
func TestCloseEarly(t *testing.T) {
	for _, sql := range []string{"select * from env", "select * from (select * from env) where 1", "select device from env group by 1"} {
		rows, err := query.New(small(), query.Options{}).Query(t.Context(), telemetry.DefaultTenant, sql)
		if err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if rows.Next() {
			t.Error("there are rows after Close")
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	e := query.New(small(), query.Options{})
	want := map[string]string{}
	statements := []string{
		"select device, avg(temperature) from env group by device",
		"select count(*) from env where status = 'ok'",
		"select * from env_latest order by device",
		"with x as (select device, max(time) t from env group by device) select device, t from x order by 1",
	}
	render1 := func(sql string) (string, error) {
		rows, err := e.Query(t.Context(), telemetry.DefaultTenant, sql)
		if err != nil {
			return "", err
		}
		var b writer
		err = render.Write(&b, render.CSV, rows)
		return string(b), err
	}
	for _, sql := range statements {
		s, err := render1(sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		want[sql] = s
	}
	var wg sync.WaitGroup
	for range 8 {
		for _, sql := range statements {
			wg.Go(func() {
				if got, err := render1(sql); err != nil || got != want[sql] {
					t.Errorf("%s: %v, or another answer than alone", sql, err)
				}
			})
		}
	}
	wg.Wait()
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

var _ io.Writer = (*writer)(nil)
