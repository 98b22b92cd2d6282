package bench

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
)

// timedQuery is a query of the report.
type timedQuery struct {
	name, sql string
	rows      int // that it must answer; 0: not checked
}

// timedQueries are asked of the readings of W1, all through a running node.
var timedQueries = []timedQuery{
	{"average and maximum of every hour and device", "select bucket('1h', time) as hour, device, avg(temperature), max(temperature) from env group by hour, device", 0},
	{"one device, one-minute averages", "select bucket('1m', time) as minute, avg(temperature) from env where device = 'd00500' group by minute", 0},
	{"one device, raw", "select time, temperature, humidity, pressure from env where device = 'd00500' order by time", 0},
	{"global min, max, average", "select min(temperature), max(temperature), avg(temperature) from env", 1},
	{"global average where another column is above a bound", "select avg(temperature) from env where humidity > 45", 1},
	{"global average where two columns are compared", "select avg(temperature) from env where humidity > temperature * 2.2", 1},
	{"average by device", "select device, avg(temperature) from env group by device", 1000},
	{"latest of every device", "select device, time, temperature from env_latest", 1000},
	{"count", "select count(*) from env", 1},
}

// Queries loads a node with W1 readings and times queries through its local
// socket, answers as CSV included.
func Queries(ctx context.Context, o Options, runs int) error {
	o.Workload, o.QoS = "w1", 1
	if err := o.defaults(); err != nil {
		return err
	}
	o.Duration = 0
	dir, remove, err := o.tempDir()
	if err != nil {
		return err
	}
	defer remove()
	w, err := o.workload()
	if err != nil {
		return err
	}
	n, err := o.newNode(dir, w)
	if err != nil {
		return err
	}
	loaded, proc, err := o.feed(ctx, o.name("load"), n.dir, func(url string) (*process, error) {
		err := n.start(&o, url, w.Filters(), "")
		return n.proc, err
	}, nil)
	if err != nil {
		return err
	}
	defer func() { _ = proc.stop() }()
	if err := n.settle(ctx); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "Queries over %d W1 readings of %d devices (%.2f bytes a reading in data_dir), through the node's socket,\nwarm, median of %d; %s, %d processors\n\n",
		loaded.Messages, o.Series, float64(diskUse(n.dir))/float64(loaded.Messages), runs, runtime.GOARCH, runtime.NumCPU())
	fmt.Fprintf(o.Out, "| query | median | fastest | slowest | rows |\n|---|---|---|---|---|\n")
	client, err := control.NewClient(ctx, n.dir)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, q := range timedQueries {
		times, rows, err := timeQuery(ctx, client, q, runs)
		if err != nil {
			return fmt.Errorf("%s: %w", q.sql, err)
		}
		slices.Sort(times)
		fmt.Fprintf(o.Out, "| %s | %s | %s | %s | %d |\n", q.name, ms(times[len(times)/2]), ms(times[0]), ms(times[len(times)-1]), rows)
	}
	return nil
}

func timeQuery(ctx context.Context, client *control.Client, q timedQuery, runs int) (times []time.Duration, rows int, err error) {
	var out bytes.Buffer
	for i := range runs + 2 { // two to warm up
		out.Reset()
		start := time.Now()
		if err := client.Query(ctx, q.sql, "csv", &out); err != nil {
			return nil, 0, err
		}
		if i >= 2 {
			times = append(times, time.Since(start))
		}
	}
	rows = strings.Count(out.String(), "\n") - 1
	if q.rows > 0 && rows != q.rows {
		return nil, 0, fmt.Errorf("%d rows, want %d", rows, q.rows)
	}
	return times, rows, nil
}

// settle waits until compaction rests: what waits for it and what data_dir takes
// have not changed for restFor, or the wait is over. Merges begin ten seconds after
// the last flat-out commit, and a quiet store gives space back five seconds later.
func (n *benchNode) settle(ctx context.Context) error {
	const restFor, most = 16 * time.Second, 3 * time.Minute
	var last [2]float64
	since := time.Now()
	for begin := time.Now(); time.Since(begin) < most; {
		if now := [2]float64{n.gauges(ctx)["debt_bytes"], float64(diskUse(n.dir))}; now != last {
			last, since = now, time.Now()
		} else if time.Since(since) >= restFor {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Nanoseconds())/1e6) }
