package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// peer is another database that holds the same readings and is asked the same.
type peer interface {
	name() string
	// load stores the readings, and waits until they are on the disk in the form
	// in which they stay.
	load(ctx context.Context, readings int64, series int, seed uint64) error
	// ask sends the equivalent of a query, reads the whole answer, and reports
	// false where there is none.
	ask(ctx context.Context, q *timedQuery, span time.Duration) (asked bool, err error)
	// count returns how many readings it holds.
	count(ctx context.Context, span time.Duration) (int64, error)
	dir() string
	stop() error
}

// startPeers starts the databases that are installed, each on free loopback ports
// and in a directory of its own; of the others it says so.
func (o *Options) startPeers(ctx context.Context, dir string) ([]peer, error) {
	var peers []peer
	for _, p := range []struct {
		binary, pkg string
		start       func(path, dir string, rest time.Duration) (peer, error)
	}{
		{"victoria-metrics", "victoria-metrics", startVictoria},
		{"influxd", "influxdb", startInflux},
	} {
		path, err := exec.LookPath(p.binary)
		if err != nil {
			fmt.Fprintf(o.Out, "SKIPPED: %s is not installed (Debian package %s), and is not compared with\n\n", p.binary, p.pkg)
			continue
		}
		at := filepath.Join(dir, p.binary)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return peers, err
		}
		started, err := p.start(path, at, o.Rest)
		if err != nil {
			return peers, err
		}
		peers = append(peers, started)
	}
	return peers, nil
}

// remote is a peer's process and its HTTP interface.
type remote struct {
	proc  *process
	base  string
	files string
	still time.Duration // how long nothing has changed before it is asked
}

func (r *remote) dir() string { return r.files }
func (r *remote) stop() error { return r.proc.stop() }

// wait asks until the peer answers.
func (r *remote) wait(path string) error {
	for begin := time.Now(); ; {
		resp, err := http.Get(r.base + path)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 300 {
				return nil
			}
		}
		select {
		case <-r.proc.done:
			return fmt.Errorf("%s ended: %w\n%s", r.proc.cmd.Path, r.proc.err, r.proc.stderr.buf)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(begin) > 30*time.Second {
			return fmt.Errorf("%s does not answer on %s: %w", r.proc.cmd.Path, r.base, err)
		}
	}
}

// do sends a request and reads the whole answer.
func (r *remote) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/csv") // InfluxDB's other form is three times as long
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s answered %s: %.300s", method, path, resp.Status, out)
	}
	return out, err
}

// write sends the readings in the line protocol, 5,000 lines at a time.
func (r *remote) write(ctx context.Context, path string, readings int64, series int, seed uint64, status bool) error {
	w := NewW1(series, seed)
	var lines []byte
	for i := range readings {
		lines = w.AppendLine(lines, status)
		if (i+1)%5000 == 0 || i+1 == readings {
			if _, err := r.do(ctx, http.MethodPost, path, lines); err != nil {
				return err
			}
			lines = lines[:0]
		}
	}
	return nil
}

// rest waits until what the directory takes has not changed for a while.
func (r *remote) rest(ctx context.Context) error {
	const most = 3 * time.Minute
	last, since := int64(-1), time.Now()
	for begin := time.Now(); time.Since(begin) < most; {
		if now := diskUse(r.files); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) >= r.still {
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

// victoria is VictoriaMetrics. It holds numbers only, a series for each field.
type victoria struct{ remote }

func startVictoria(path, dir string, rest time.Duration) (peer, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	proc, err := startProcess(path, "-storageDataPath", filepath.Join(dir, "data"), "-httpListenAddr", addr,
		"-retentionPeriod", "100y", "-search.latencyOffset", "0s", "-search.maxUniqueTimeseries", "3000000")
	if err != nil {
		return nil, err
	}
	v := &victoria{remote{proc, "http://" + addr, filepath.Join(dir, "data"), rest}}
	if err := v.wait("/health"); err != nil {
		_ = proc.stop()
		return nil, err
	}
	return v, nil
}

func (v *victoria) name() string { return "VictoriaMetrics" }

func (v *victoria) load(ctx context.Context, readings int64, series int, seed uint64) error {
	if err := v.write(ctx, "/write?precision=ms", readings, series, seed, false); err != nil {
		return err
	}
	for _, path := range []string{"/internal/force_flush", "/internal/force_merge"} {
		if _, err := v.do(ctx, http.MethodGet, path, nil); err != nil {
			return err
		}
	}
	return v.rest(ctx)
}

// ask sends each of the query's requests: MetricsQL has one aggregate in each.
func (v *victoria) ask(ctx context.Context, q *timedQuery, span time.Duration) (bool, error) {
	for _, request := range q.victoria {
		path := v.path(request, span)
		if _, err := v.do(ctx, http.MethodGet, path, nil); err != nil {
			return true, err
		}
	}
	return len(q.victoria) > 0, nil
}

// path fills in the times: "range STEP EXPR", "at EXPR" or "export SELECTOR",
// where [ALL] stands for the whole time of the readings.
func (v *victoria) path(request string, span time.Duration) string {
	kind, rest, _ := strings.Cut(request, " ")
	start, end := int64(baseTime/1000), (baseTime+span.Milliseconds())/1000+1
	rest = strings.ReplaceAll(rest, "[ALL]", fmt.Sprintf("[%ds]", end-start+1))
	values := url.Values{"nocache": {"1"}}
	switch kind {
	case "export":
		values.Set("match[]", rest)
		return "/api/v1/export?" + values.Encode()
	case "at":
		values.Set("query", rest)
		values.Set("time", strconv.FormatInt(end, 10))
		return "/api/v1/query?" + values.Encode()
	}
	step, expr, _ := strings.Cut(rest, " ")
	length, _ := time.ParseDuration(step)
	seconds := int64(length.Seconds())
	values.Set("query", expr)
	values.Set("step", step)
	// A point covers the step before it: the first after the begin, the last after the end.
	values.Set("start", strconv.FormatInt((start/seconds+1)*seconds, 10))
	values.Set("end", strconv.FormatInt((end/seconds+1)*seconds, 10))
	return "/api/v1/query_range?" + values.Encode()
}

func (v *victoria) count(ctx context.Context, span time.Duration) (int64, error) {
	out, err := v.do(ctx, http.MethodGet, v.path("at sum(count_over_time(env_temperature[ALL]))", span), nil)
	if err != nil {
		return 0, err
	}
	// ..."value":[1750005000,"5000000"]...
	_, rest, _ := strings.Cut(string(out), `"value":[`)
	_, rest, _ = strings.Cut(rest, `,"`)
	number, _, _ := strings.Cut(rest, `"`)
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("VictoriaMetrics counts %.200s", out)
	}
	return n, nil
}

// influx is InfluxDB 1.x.
type influx struct{ remote }

func startInflux(path, dir string, rest time.Duration) (peer, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	rpc, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(path, "run"), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(),
		"INFLUXDB_META_DIR="+filepath.Join(dir, "data", "meta"), "INFLUXDB_DATA_DIR="+filepath.Join(dir, "data", "data"),
		"INFLUXDB_DATA_WAL_DIR="+filepath.Join(dir, "data", "wal"), "INFLUXDB_HTTP_BIND_ADDRESS="+addr, "INFLUXDB_BIND_ADDRESS="+rpc,
		"INFLUXDB_REPORTING_DISABLED=true", "INFLUXDB_MONITOR_STORE_ENABLED=false", "INFLUXDB_HTTP_LOG_ENABLED=false",
		"INFLUXDB_DATA_MAX_SERIES_PER_DATABASE=0", "INFLUXDB_DATA_MAX_VALUES_PER_TAG=0", "INFLUXDB_DATA_QUERY_LOG_ENABLED=false",
		// What it would do after minutes and hours it does now.
		"INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION=3s", "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION=6s")
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	i := &influx{remote{p, "http://" + addr, filepath.Join(dir, "data"), rest}}
	if err := i.wait("/ping"); err != nil {
		_ = p.stop()
		return nil, err
	}
	return i, nil
}

func (i *influx) name() string { return "InfluxDB 1.6" }

func (i *influx) load(ctx context.Context, readings int64, series int, seed uint64) error {
	if _, err := i.do(ctx, http.MethodPost, "/query?q="+url.QueryEscape("CREATE DATABASE w1"), nil); err != nil {
		return err
	}
	if err := i.write(ctx, "/write?db=w1&precision=ms", readings, series, seed, true); err != nil {
		return err
	}
	return i.rest(ctx)
}

func (i *influx) ask(ctx context.Context, q *timedQuery, _ time.Duration) (bool, error) {
	if q.influx == "" {
		return false, nil
	}
	_, err := i.query(ctx, q.influx)
	return true, err
}

func (i *influx) query(ctx context.Context, q string) ([]byte, error) {
	return i.do(ctx, http.MethodGet, "/query?"+url.Values{"db": {"w1"}, "epoch": {"ms"}, "q": {q}}.Encode(), nil)
}

func (i *influx) count(ctx context.Context, _ time.Duration) (int64, error) {
	out, err := i.query(ctx, "SELECT count(temperature) FROM env")
	if err != nil {
		return 0, err
	}
	lines := strings.Fields(string(out)) // name,tags,time,count and then env,,0,5000000
	n, err := strconv.ParseInt(lines[len(lines)-1][strings.LastIndexByte(lines[len(lines)-1], ',')+1:], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("InfluxDB counts %.200s", out)
	}
	return n, nil
}
