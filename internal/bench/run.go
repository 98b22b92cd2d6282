package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options say what one run sends and to what.
type Options struct {
	Weir           string        // the weir binary under test; default: the running one
	Workload       string        // w1 or w2
	Series         int           // devices of W1 or series of W2; 0: 1,000 and 1,000,000
	Rate           float64       // messages a second; 0 is flat out
	Duration       time.Duration // how long to send
	Count          int64         // or how many messages
	QoS            int           // 0 or 1
	Version        string        // MQTT version that the subscriber asks for: 5 or 3.1.1
	CommitInterval string        // of the node; "" is its default
	Clients        int           // publishers, where the target is a broker
	Dir            string        // where to put data; default: a new temporary directory, removed afterwards
	Baselines      bool          // of queries: other databases that are installed, with the same readings
	Rest           time.Duration // of queries: how long nothing has changed before they begin; 0: 16 s
	Seed           uint64
	Out            io.Writer
}

func (o *Options) defaults() error {
	if o.Weir == "" {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		o.Weir = exe
	}
	if o.Series == 0 {
		o.Series = 1000
		if o.Workload == "w2" {
			o.Series = 1_000_000
		}
	}
	if o.Version == "" {
		o.Version = "5"
	}
	if o.Clients == 0 {
		o.Clients = 1
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Workload == "" {
		o.Workload = "w1"
	}
	if o.Rest == 0 {
		o.Rest = 16 * time.Second
	}
	if o.Duration == 0 && o.Count == 0 {
		o.Duration = 10 * time.Second
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	return nil
}

func (o *Options) workload() (Workload, error) {
	switch o.Workload {
	case "", "w1":
		return NewW1(o.Series, o.Seed), nil
	case "w2":
		return NewW2(o.Series, o.Seed), nil
	}
	return nil, fmt.Errorf("there is no workload %q: use w1 or w2", o.Workload)
}

// tempDir returns the directory of a run and what removes it.
func (o *Options) tempDir() (string, func(), error) {
	if o.Dir != "" {
		return o.Dir, func() {}, os.MkdirAll(o.Dir, 0o755)
	}
	dir, err := os.MkdirTemp("", "weir-bench-*")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// Result is what one run measured.
type Result struct {
	Name         string
	Messages     int64
	Elapsed      time.Duration
	FirstTen     float64 // messages a second in the first ten seconds; 0: the run was shorter
	LastTen      float64 // and in the last ten
	CPU          time.Duration
	Ack          *histogram
	PeakResident int64
	Written      int64 // bytes written to the device
	Kept         int64 // bytes in the data directory at the end
	Strays       int64 // acknowledgements out of order
	Stored       int64 // readings that the node counts afterwards; -1: not asked
	Gauges       map[string]float64
	Disk         *histogram // times of an append of 4 KB with fsync, before the run; nil: not measured
	Debt         []float64  // bytes that wait for compaction, every five seconds
}

// Rate is in messages a second.
func (r *Result) Rate() float64 { return float64(r.Messages) / r.Elapsed.Seconds() }

// CPUPerMessage is in microseconds.
func (r *Result) CPUPerMessage() float64 { return r.CPU.Seconds() * 1e6 / float64(r.Messages) }

// Print writes the result for a person.
func (r *Result) Print(w io.Writer) {
	per := func(n int64) float64 { return float64(n) / float64(max(r.Messages, 1)) }
	fmt.Fprintf(w, "%s\n", r.Name)
	fmt.Fprintf(w, "  messages            %d in %.1f s\n", r.Messages, r.Elapsed.Seconds())
	fmt.Fprintf(w, "  rate                %.0f messages/s", r.Rate())
	if r.LastTen > 0 {
		fmt.Fprintf(w, ", first 10 s %.0f, last 10 s %.0f", r.FirstTen, r.LastTen)
	}
	fmt.Fprintln(w)
	if r.CPU > 0 {
		fmt.Fprintf(w, "  CPU per message     %.3f us\n", r.CPUPerMessage())
	}
	if r.Ack != nil && r.Ack.n > 0 {
		fmt.Fprintf(w, "  acknowledged after  p50 %v  p99 %v  p99.9 %v  max %v\n",
			r.Ack.percentile(0.5), r.Ack.percentile(0.99), r.Ack.percentile(0.999), r.Ack.max)
	}
	if r.Disk != nil {
		fmt.Fprintf(w, "  the disk's fsync    p50 %v  p99 %v, before the run\n", r.Disk.percentile(0.5), r.Disk.percentile(0.99))
	}
	if r.PeakResident > 0 {
		fmt.Fprintf(w, "  resident memory     %.1f MB at most\n", float64(r.PeakResident)/1e6)
		fmt.Fprintf(w, "  written to device   %.1f bytes a message\n", per(r.Written))
		fmt.Fprintf(w, "  kept on disk        %.2f bytes a message\n", per(r.Kept))
	}
	if len(r.Debt) > 0 {
		fmt.Fprintf(w, "  waits for compaction")
		for _, d := range r.Debt {
			fmt.Fprintf(w, " %.1f", d/1e6)
		}
		fmt.Fprintf(w, " MB (every 5 s)\n")
	}
	if v := r.Gauges["amplification"]; v > 0 {
		fmt.Fprintf(w, "  written by the store %.1f times what was committed; merges are due for %.1f MB\n", v, r.Gauges["merge_debt_bytes"]/1e6)
	}
	if v, ok := r.Gauges["wal_bytes"]; ok {
		fmt.Fprintf(w, "  write-ahead log     %.1f MB\n", v/1e6)
	}
	if series := r.Gauges["series"]; series > 0 {
		fmt.Fprintf(w, "  memory of a series  %.0f bytes (catalog, watermark and topic cache)\n", r.Gauges["series_bytes"]/series)
	}
	if r.Gauges["quarantined"]+r.Gauges["duplicate"] > 0 {
		fmt.Fprintf(w, "  messages            %.0f stored, %.0f duplicate, %.0f quarantined\n", r.Gauges["stored"], r.Gauges["duplicate"], r.Gauges["quarantined"])
	}
	if r.Stored >= 0 {
		fmt.Fprintf(w, "  readings stored     %d\n", r.Stored)
	}
	if r.Strays > 0 {
		fmt.Fprintf(w, "  OUT OF ORDER        %d acknowledgements\n", r.Strays)
	}
}

// feed runs a process that subscribes to a feeder and measures both.
func (o *Options) feed(ctx context.Context, name, dir string, start func(url string) (*process, error), before func()) (*Result, *process, error) {
	w, err := o.workload()
	if err != nil {
		return nil, nil, err
	}
	f, err := listenFeeder()
	if err != nil {
		return nil, nil, err
	}
	defer f.close()
	proc, err := start(f.url())
	if err != nil {
		return nil, nil, err
	}
	result, err := func() (*Result, error) {
		hello, cancel := context.WithTimeout(ctx, 60*time.Second)
		defer cancel()
		go func() {
			select {
			case <-proc.done:
				cancel()
			case <-hello.Done():
			}
		}()
		p, rest, err := f.accept(hello, w, pumpOptions{qos: byte(o.QoS), rate: o.Rate, length: o.Duration, count: o.Count})
		if err != nil {
			return nil, err
		}
		defer p.conn.Close()
		return o.measure(ctx, name, dir, proc, []*pump{p}, [][]byte{rest}, before)
	}()
	if err != nil {
		_ = proc.stop()
		return nil, nil, fmt.Errorf("%w\n%s", err, proc.stderr.buf)
	}
	return result, proc, nil
}

// measure runs the pumps against the process.
func (o *Options) measure(ctx context.Context, name, dir string, proc *process, pumps []*pump, rests [][]byte, before func()) (*Result, error) {
	from, err := proc.usage()
	if err != nil {
		return nil, err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	peak := make(chan int64, 1)
	go func() { peak <- proc.watch(watching) }()
	acked := func() (n int64) {
		for _, p := range pumps {
			n += p.acked.Load()
		}
		return n
	}
	seconds := make(chan []int64, 1)
	go func() { seconds <- everySecond(watching, acked) }()

	begin := time.Now()
	errs := make(chan error, len(pumps))
	for i, p := range pumps {
		go func() { errs <- p.run(ctx, rests[i]) }()
	}
	for range pumps {
		if e := <-errs; e != nil && err == nil {
			err = e
		}
	}
	elapsed := time.Since(begin)
	if before != nil && err == nil {
		before()
	}
	to, usageErr := proc.usage()
	if err == nil {
		err = usageErr
	}
	if err != nil {
		return nil, err
	}
	stopWatching()
	r := &Result{
		Name: name, Elapsed: elapsed, CPU: to.cpu - from.cpu, Ack: &histogram{},
		PeakResident: max(<-peak, to.resident), Written: to.written - from.written, Kept: diskUse(dir), Stored: -1,
		Gauges: map[string]float64{},
	}
	if counts := <-seconds; len(counts) > 11 {
		r.FirstTen = float64(counts[10]-counts[0]) / 10
		r.LastTen = float64(counts[len(counts)-1]-counts[len(counts)-11]) / 10
	}
	for _, p := range pumps {
		r.Messages += p.sent.Load()
		r.Strays += p.strays
		for b, n := range p.latency.counts {
			r.Ack.counts[b] += n
		}
		r.Ack.n += p.latency.n
		r.Ack.max = max(r.Ack.max, p.latency.max)
	}
	return r, nil
}

// everySecond returns the count at each second until ctx ends.
func everySecond(ctx context.Context, count func() int64) (out []int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		out = append(out, count())
		select {
		case <-ctx.Done():
			return out
		case <-tick.C:
		}
	}
}

// Floor measures the minimal program on the same workload.
func Floor(ctx context.Context, o Options) (*Result, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	o.QoS = 1
	dir, remove, err := o.tempDir()
	if err != nil {
		return nil, err
	}
	defer remove()
	r, proc, err := o.feed(ctx, "minimal program: parse, append, fsync, acknowledge", dir, func(url string) (*process, error) {
		return startProcess(o.Weir, "bench", "floor-child", url, filepath.Join(dir, "floor.log"))
	}, nil)
	if err != nil {
		return nil, err
	}
	_ = proc.stop()
	return r, nil
}
