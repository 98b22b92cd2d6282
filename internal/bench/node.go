package bench

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// benchNode is a node under test: its directory, its configuration, its process.
type benchNode struct {
	weir   string
	dir    string
	config string
	http   string
	proc   *process
}

func (o *Options) newNode(dir string, w Workload) (*benchNode, error) {
	n := &benchNode{weir: o.Weir, dir: filepath.Join(dir, "data"), config: filepath.Join(dir, "weir.yaml")}
	schemas := filepath.Join(dir, "schemas")
	if err := os.MkdirAll(schemas, 0o755); err != nil {
		return nil, err
	}
	if err := w.WriteSchemas(schemas); err != nil {
		return nil, err
	}
	var err error
	n.http, err = freeAddress()
	return n, err
}

// freeAddress returns a loopback address on which nothing listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start writes the configuration and starts the node: fed by the broker at url,
// or with its own broker at listen.
func (n *benchNode) start(o *Options, url string, filters []string, listen string) error {
	config := fmt.Sprintf("data_dir: %q\nschemas: %q\nhttp: {listen: %s}\n", n.dir, filepath.Join(filepath.Dir(n.dir), "schemas"), n.http)
	if listen != "" {
		config += fmt.Sprintf("broker: {enabled: true, listen: %s}\n", listen)
	} else {
		config += "broker: {enabled: false}\n"
	}
	if url != "" {
		config += fmt.Sprintf("sources:\n  - mqtt: {url: %q, qos: %d, version: %q, topics: [%q]}\n", url, o.QoS, o.Version, strings.Join(filters, `", "`))
	}
	if o.CommitInterval != "" {
		config += fmt.Sprintf("store: {commit_interval: %s}\n", o.CommitInterval)
	}
	if err := os.WriteFile(n.config, []byte(config), 0o644); err != nil {
		return err
	}
	var err error
	n.proc, err = startProcess(n.weir, "serve", "--config", n.config)
	return err
}

// gauges reads what the node says of itself.
func (n *benchNode) gauges(ctx context.Context) map[string]float64 {
	out := map[string]float64{}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/metrics", nil)
	if err != nil {
		return out
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return out
	}
	defer resp.Body.Close()
	names := map[string]string{
		"weir_store_compaction_debt_bytes": "debt_bytes",
		"weir_store_merge_debt_bytes":      "merge_debt_bytes",
		"weir_store_write_amplification":   "amplification",
		"weir_store_wal_bytes":             "wal_bytes",
		"weir_store_series":                "series",
		"weir_store_series_bytes":          "series_bytes",
		"weir_topic_cache_bytes":           "series_bytes",
		"weir_messages_stored_total":       "stored",
		"weir_messages_duplicate_total":    "duplicate",
		"weir_messages_quarantined_total":  "quarantined",
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if key := names[strings.Split(name, "{")[0]]; ok && key != "" {
			v, _ := strconv.ParseFloat(value, 64)
			out[key] += v
		}
	}
	return out
}

// watchDebt reads the compaction debt every five seconds until ctx ends.
func (n *benchNode) watchDebt(ctx context.Context) (out []float64) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return out
		case <-tick.C:
			if v, ok := n.gauges(ctx)["debt_bytes"]; ok {
				out = append(out, v)
			}
		}
	}
}

// ask runs SQL through the running node and returns the first row.
func (n *benchNode) ask(ctx context.Context, sql string) ([]string, error) {
	out, err := exec.CommandContext(ctx, n.weir, "query", "--config", n.config, "--format", "csv", sql).Output()
	if err != nil {
		return nil, fmt.Errorf("weir query %q: %w", sql, err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) < 2 {
		return nil, fmt.Errorf("weir query %q answered %q", sql, out)
	}
	return rows[1], nil
}

// Node measures a node that is fed as a broker would feed it.
func Node(ctx context.Context, o Options) (*Result, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	dir, remove, err := o.tempDir()
	if err != nil {
		return nil, err
	}
	defer remove()
	w, err := o.workload()
	if err != nil {
		return nil, err
	}
	n, err := o.newNode(dir, w)
	if err != nil {
		return nil, err
	}
	var disk *histogram
	if o.Rate > 0 { // what the disk does by itself, just before
		if disk, err = probeSync(dir, 500); err != nil {
			return nil, err
		}
	}
	gauges := map[string]float64{}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	debt := make(chan []float64, 1)
	r, proc, err := o.feed(ctx, o.name("node"), n.dir, func(url string) (*process, error) {
		err := n.start(&o, url, w.Filters(), "")
		go func() { debt <- n.watchDebt(watching) }()
		return n.proc, err
	}, func() { gauges = n.gauges(ctx) })
	stopWatching()
	if err != nil {
		return nil, err
	}
	r.Gauges, r.Debt, r.Disk = gauges, <-debt, disk
	if o.Workload != "w2" {
		if row, err := n.ask(ctx, "select count(*) from env"); err == nil {
			r.Stored, _ = strconv.ParseInt(row[0], 10, 64)
		} else {
			fmt.Fprintln(o.Out, err)
		}
	}
	return r, proc.stop()
}

// Broker measures a node's embedded broker, published to by Options.Clients.
func Broker(ctx context.Context, o Options) (*Result, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	dir, remove, err := o.tempDir()
	if err != nil {
		return nil, err
	}
	defer remove()
	w, err := o.workload()
	if err != nil {
		return nil, err
	}
	n, err := o.newNode(dir, w)
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if err := n.start(&o, "", nil, listen); err != nil {
		return nil, err
	}
	r, err := o.publish(ctx, o.name("embedded broker"), n.dir, listen, n.proc)
	if stopErr := n.proc.stop(); err == nil {
		err = stopErr
	}
	return r, err
}

// Mochi measures mochi alone, as its authors ship it, published to by
// Options.Clients: the baseline of Broker.
func Mochi(ctx context.Context, o Options) (*Result, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	proc, err := startProcess(o.Weir, "bench", "mochi-child", listen)
	if err != nil {
		return nil, err
	}
	r, err := o.publish(ctx, o.name("mochi alone"), "", listen, proc)
	_ = proc.stop()
	return r, err
}

// publish waits until a broker answers and publishes to it from all clients.
func (o *Options) publish(ctx context.Context, name, dir, address string, proc *process) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if proc != nil {
		for begin := time.Now(); ; {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-proc.done:
				return nil, fmt.Errorf("the broker ended: %w\n%s", proc.err, proc.stderr.buf)
			case <-time.After(20 * time.Millisecond):
			}
			if time.Since(begin) > 30*time.Second {
				return nil, fmt.Errorf("the broker does not listen on %s: %w", address, err)
			}
		}
	}
	var pumps []*pump
	var rests [][]byte
	for i := range o.Clients {
		share := max(1, o.Series/o.Clients)
		var w Workload = NewW1Part(i*share, share, o.Series, o.Seed+uint64(i))
		if o.Workload == "w2" {
			w = NewW2(share, o.Seed+uint64(i))
		}
		p, rest, err := dialPublisher(ctx, address, fmt.Sprintf("bench-%d", i), w, pumpOptions{
			qos: byte(o.QoS), v5: o.Version == "5", rate: o.Rate / float64(o.Clients), length: o.Duration, count: o.Count / int64(o.Clients),
		})
		if err != nil {
			return nil, err
		}
		defer p.conn.Close()
		pumps, rests = append(pumps, p), append(rests, rest)
	}
	if proc == nil {
		proc = &process{}
	}
	return o.measure(ctx, name, dir, proc, pumps, rests, nil)
}

// Publish publishes to any broker; of its process nothing is measured.
func Publish(ctx context.Context, o Options, address string) (*Result, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	return o.publish(ctx, o.name("publish to "+address), "", strings.TrimPrefix(address, "mqtt://"), nil)
}

func (o *Options) name(what string) string {
	rate := "flat out"
	if o.Rate > 0 {
		rate = fmt.Sprintf("at %.0f messages/s", o.Rate)
	}
	workload := o.Workload
	if workload == "" {
		workload = "w1"
	}
	return fmt.Sprintf("%s: %s, %d series, QoS %d, %s, clients %d", what, strings.ToUpper(workload), o.Series, o.QoS, rate, o.Clients)
}
