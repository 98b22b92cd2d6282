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
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// timedQuery is a query of the report, with what asks the peers the same.
type timedQuery struct {
	name, sql string
	rows      int      // that it must answer; 0: not checked
	victoria  []string // see victoria.path; none: it cannot be asked
	influx    string
}

// timedQueries are asked of the readings of W1, all through a running node.
var timedQueries = []timedQuery{
	{
		"average and maximum of every hour and device",
		"select bucket('1h', time) as hour, device, avg(temperature), max(temperature) from env group by hour, device", 0,
		[]string{"range 1h avg_over_time(env_temperature[1h])", "range 1h max_over_time(env_temperature[1h])"},
		"SELECT mean(temperature), max(temperature) FROM env WHERE time >= 1749999600s AND time < 1760000000s GROUP BY time(1h), device fill(none)",
	},
	{
		"one device, one-minute averages",
		"select bucket('1m', time) as minute, avg(temperature) from env where device = 'd00500' group by minute", 0,
		[]string{`range 1m avg_over_time(env_temperature{device="d00500"}[1m])`},
		"SELECT mean(temperature) FROM env WHERE device = 'd00500' AND time >= 1749999600s AND time < 1760000000s GROUP BY time(1m) fill(none)",
	},
	{
		"one device, raw",
		"select time, temperature, humidity, pressure from env where device = 'd00500' order by time", 0,
		[]string{`export {__name__=~"env_(temperature|humidity|pressure)",device="d00500"}`},
		"SELECT temperature, humidity, pressure FROM env WHERE device = 'd00500'",
	},
	{
		"global min, max, average", "select min(temperature), max(temperature), avg(temperature) from env", 1,
		[]string{
			"at min(min_over_time(env_temperature[ALL]))", "at max(max_over_time(env_temperature[ALL]))",
			"at sum(sum_over_time(env_temperature[ALL])) / sum(count_over_time(env_temperature[ALL]))",
		},
		"SELECT min(temperature), max(temperature), mean(temperature) FROM env",
	},
	{
		"global average where another column is above a bound", "select avg(temperature) from env where humidity > 45", 1,
		nil, "SELECT mean(temperature) FROM env WHERE humidity > 45",
	},
	{
		"global average where two columns are compared", "select avg(temperature) from env where humidity > temperature * 2.2", 1,
		nil, "",
	},
	{
		"average by device", "select device, avg(temperature) from env group by device", everyDevice,
		[]string{"at avg_over_time(env_temperature[ALL])"},
		"SELECT mean(temperature) FROM env GROUP BY device",
	},
	{
		"latest of every device", "select device, time, temperature from env_latest", everyDevice,
		[]string{"at last_over_time(env_temperature[ALL])"},
		"SELECT last(temperature) FROM env GROUP BY device",
	},
	{
		"count", "select count(*) from env", 1,
		[]string{"at sum(count_over_time(env_temperature[ALL]))"},
		"SELECT count(temperature) FROM env",
	},
}

// wideQueries are asked of the messages of W2; its table m039 has 40 fields.
var wideQueries = []timedQuery{
	{"count of one of 200 tables", "select count(*) from m039", 1, nil, ""},
	{"one of 40 columns: min, max, average", "select min(f07), max(f07), avg(f07) from m039", 1, nil, ""},
	{"average of one column where another is above a bound", "select avg(f07) from m039 where f31 > 500", 1, nil, ""},
	{"latest of every series of a table", "select device, time, f01 from m039_latest", 0, nil, ""},
	{"all columns of one series", "select * from m039 where device = 'd0000017' order by time", 0, nil, ""},
}

// everyDevice is the number of rows of an answer with one for each device.
const everyDevice = -1

// askedDevices is how many devices W1 has at least, so that the one that queries
// ask for, d00500, is among them.
const askedDevices = 501

// checkQueries refuses what would measure nothing, or load without end.
func checkQueries(o *Options, runs int) error {
	const op = "measure queries"
	switch {
	case o.Count <= 0:
		return telemetry.Errorf(telemetry.CodeInvalid, op, "--readings %d loads nothing", o.Count).WithHint("give 1 or more")
	case runs <= 0:
		return telemetry.Errorf(telemetry.CodeInvalid, op, "--runs %d times nothing", runs).WithHint("give 1 or more")
	case o.Workload == "w1" && o.Series < askedDevices:
		return telemetry.Errorf(telemetry.CodeInvalid, op, "--series %d has no device d00500, which queries ask for", o.Series).WithHint(fmt.Sprintf("give %d or more", askedDevices))
	}
	return nil
}

// Queries loads a node and times queries through its local socket, answers as CSV
// included; with baselines it loads the same readings into the databases beside it
// that are installed, and asks them the same in the same run.
func Queries(ctx context.Context, o Options, runs int) error {
	o.QoS = 1
	if err := o.defaults(); err != nil {
		return err
	}
	if err := checkQueries(&o, runs); err != nil {
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
	if err := n.settle(ctx, o.Rest); err != nil {
		return err
	}
	client, err := control.NewClient(ctx, n.dir)
	if err != nil {
		return err
	}
	defer client.Close()
	t := queryTable{o: &o, runs: runs, client: client, queries: timedQueries, readings: loaded.Messages}
	t.span = time.Duration((loaded.Messages-1)/int64(o.Series)) * time.Second
	if o.Workload == "w2" {
		t.queries = wideQueries
	} else if o.Baselines {
		defer func() {
			for _, p := range t.peers {
				_ = p.stop()
			}
		}()
		if err := t.loadPeers(ctx, dir); err != nil {
			return err
		}
	}
	return t.write(ctx, n.dir)
}

// queryTable times the queries and writes the report's table.
type queryTable struct {
	o        *Options
	runs     int
	client   *control.Client
	queries  []timedQuery
	readings int64
	span     time.Duration // of the readings
	peers    []peer
}

// loadPeers loads what is installed, and makes sure that it holds the readings.
func (t *queryTable) loadPeers(ctx context.Context, dir string) (err error) {
	if t.peers, err = t.o.startPeers(ctx, dir); err != nil {
		return err
	}
	for _, p := range t.peers {
		if err := p.load(ctx, t.readings, t.o.Series, t.o.Seed); err != nil {
			return fmt.Errorf("load %s: %w", p.name(), err)
		}
		if n, err := p.count(ctx, t.span); err != nil || n != t.readings {
			return fmt.Errorf("%s holds %d of %d readings: %w", p.name(), n, t.readings, err)
		}
	}
	return nil
}

func (t *queryTable) write(ctx context.Context, dir string) error {
	out := t.o.Out
	per := func(dir string) float64 { return float64(diskUse(dir)) / float64(t.readings) }
	fmt.Fprintf(out, "Queries over %d %s messages of %d series, through the node's socket, answers as CSV, warm, median of %d;\n%s, %d processors\n\n",
		t.readings, strings.ToUpper(t.o.Workload), t.o.Series, t.runs, runtime.GOARCH, runtime.NumCPU())
	fmt.Fprint(out, "| | Weir | fastest | slowest | rows |")
	for _, p := range t.peers {
		fmt.Fprintf(out, " %s |", p.name())
	}
	fmt.Fprintf(out, "\n|---|---|---|---|---|%s\n", strings.Repeat("---|", len(t.peers)))
	fmt.Fprintf(out, "| bytes a message, everything in data_dir | %.2f | | | |", per(dir))
	for _, p := range t.peers {
		fmt.Fprintf(out, " %.2f |", per(p.dir()))
	}
	fmt.Fprintln(out)
	for i := range t.queries {
		q := &t.queries[i]
		times, rows, err := t.time(ctx, q)
		if err != nil {
			return fmt.Errorf("%s: %w", q.sql, err)
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %d |", q.name, ms(times[len(times)/2]), ms(times[0]), ms(times[len(times)-1]), rows)
		for _, p := range t.peers {
			times, err := t.timePeer(ctx, p, q)
			switch {
			case err != nil:
				return fmt.Errorf("%s: %s: %w", p.name(), q.name, err)
			case times == nil:
				fmt.Fprint(out, " not asked |")
			default:
				fmt.Fprintf(out, " %s |", ms(times[len(times)/2]))
			}
		}
		fmt.Fprintln(out)
	}
	return nil
}

// time returns the times of a query, ascending.
func (t *queryTable) time(ctx context.Context, q *timedQuery) (times []time.Duration, rows int, err error) {
	var out bytes.Buffer
	for i := range t.runs + 2 { // two to warm up
		out.Reset()
		start := time.Now()
		if err := t.client.Query(ctx, q.sql, "csv", &out); err != nil {
			return nil, 0, err
		}
		if i >= 2 {
			times = append(times, time.Since(start))
		}
	}
	rows = strings.Count(out.String(), "\n") - 1
	want := q.rows
	if want == everyDevice {
		want = int(min(int64(t.o.Series), t.readings))
	}
	if want > 0 && rows != want {
		return nil, 0, fmt.Errorf("%d rows, want %d", rows, want)
	}
	slices.Sort(times)
	return times, rows, nil
}

// slowPeer is the time after which a peer's query is not repeated to the end.
const slowPeer = 20 * time.Second

// timePeer returns the times that a peer takes, ascending; nil where it has no
// such query.
func (t *queryTable) timePeer(ctx context.Context, p peer, q *timedQuery) (times []time.Duration, err error) {
	for i, begin := 0, time.Now(); i < t.runs+2; i++ {
		start := time.Now()
		asked, err := p.ask(ctx, q, t.span)
		if !asked || err != nil {
			return nil, err
		}
		if i >= 2 || time.Since(begin) > slowPeer {
			times = append(times, time.Since(start))
		}
		if time.Since(begin) > slowPeer {
			break
		}
	}
	slices.Sort(times)
	return times, nil
}

// settle waits until compaction rests: what waits for it and what data_dir takes
// have not changed for a while, or three minutes are over. Merges begin ten seconds
// after the last flat-out commit, and a quiet store gives space back five seconds
// later.
func (n *benchNode) settle(ctx context.Context, rest time.Duration) error {
	const most = 3 * time.Minute
	var last [2]float64
	since := time.Now()
	for begin := time.Now(); time.Since(begin) < most; {
		if now := [2]float64{n.gauges(ctx)["debt_bytes"], float64(diskUse(n.dir))}; now != last {
			last, since = now, time.Now()
		} else if time.Since(since) >= rest {
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
