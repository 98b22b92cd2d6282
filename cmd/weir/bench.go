package main

import (
	"context"
	"time"

	"github.com/weir-telemetry/weir/internal/bench"
	"github.com/weir-telemetry/weir/internal/node/config"
)

type benchCmd struct {
	Node    benchNodeCmd    `cmd:"" help:"Feed a node as a broker would and measure it."`
	Broker  benchBrokerCmd  `cmd:"" help:"Publish to a node's embedded broker and measure it."`
	Publish benchPublishCmd `cmd:"" help:"Publish a workload to any broker."`
	Floor   benchFloorCmd   `cmd:"" help:"Measure a minimal program that parses, appends, syncs and acknowledges."`
	Mochi   benchMochiCmd   `cmd:"" help:"Measure the mochi broker alone."`
	Query   benchQueryCmd   `cmd:"" help:"Load readings into a node and time queries."`
	Writes  benchWritesCmd  `cmd:"" help:"Measure the bytes written to the device per reading at low rates."`
	Ready   benchReadyCmd   `cmd:"" help:"Fill a data directory, kill a node on it, and measure how long the next start takes."`
	Report  benchReportCmd  `cmd:"" help:"Every number of docs/benchmarks.md, as Markdown."`

	FloorChild benchFloorChildCmd `cmd:"" hidden:""`
	MochiChild benchMochiChildCmd `cmd:"" hidden:""`
}

// benchFlags are the flags of every run.
type benchFlags struct {
	Workload       string        `enum:"w1,w2" default:"w1" help:"w1: six-field JSON; w2: 200 schemas, doubles, 1% invalid, 5% late, 1% repeated."`
	Series         int           `help:"Devices of w1 (default 1,000) or series of w2 (default 1,000,000)."`
	Rate           float64       `help:"Messages a second; 0 is flat out."`
	Duration       time.Duration `default:"10s" help:"How long to send."`
	Count          int64         `help:"Stop after so many messages."`
	QoS            int           `name:"qos" default:"1" help:"0 or 1."`
	MQTT           string        `enum:"5,3.1.1" default:"5" help:"The protocol version."`
	CommitInterval string        `placeholder:"DURATION" help:"The node's store.commit_interval."`
	Clients        int           `default:"1" help:"Publishers, where the target is a broker."`
	Dir            string        `help:"Where to put the data; kept afterwards. Default: a temporary directory."`
	Seed           uint64        `default:"1" help:"Of the workload's noise."`
	Weir           string        `placeholder:"FILE" help:"Another weir binary to measure."`
}

func (f benchFlags) options(s streams) bench.Options {
	return bench.Options{
		Weir: f.Weir, Workload: f.Workload, Series: f.Series, Rate: f.Rate, Duration: f.Duration, Count: f.Count,
		QoS: f.QoS, Version: f.MQTT, CommitInterval: f.CommitInterval, Clients: f.Clients, Dir: f.Dir, Seed: f.Seed, Out: s.out,
	}
}

type benchNodeCmd struct{ benchFlags }

func (c benchNodeCmd) Run(ctx context.Context, s streams) error {
	return printResult(s)(bench.Node(ctx, c.options(s)))
}

type benchBrokerCmd struct{ benchFlags }

func (c benchBrokerCmd) Run(ctx context.Context, s streams) error {
	return printResult(s)(bench.Broker(ctx, c.options(s)))
}

type benchPublishCmd struct {
	benchFlags
	To string `required:"" placeholder:"HOST:PORT" help:"The broker."`
}

func (c benchPublishCmd) Run(ctx context.Context, s streams) error {
	return printResult(s)(bench.Publish(ctx, c.options(s), c.To))
}

type benchFloorCmd struct{ benchFlags }

func (c benchFloorCmd) Run(ctx context.Context, s streams) error {
	return printResult(s)(bench.Floor(ctx, c.options(s)))
}

type benchMochiCmd struct{ benchFlags }

func (c benchMochiCmd) Run(ctx context.Context, s streams) error {
	return printResult(s)(bench.Mochi(ctx, c.options(s)))
}

type benchQueryCmd struct {
	Workload  string `enum:"w1,w2" default:"w1" help:"What to load."`
	Readings  int64  `default:"5000000" help:"How many messages to load."`
	Series    int    `help:"Devices of w1 (default 1,000) or series of w2 (default 1,000,000)."`
	Runs      int    `default:"20" help:"How often each query is timed."`
	Baselines bool   `negatable:"" default:"true" help:"Load w1 into VictoriaMetrics and InfluxDB too, where they are installed, and ask them the same."`
	Dir       string `help:"Where to put the data; kept afterwards."`
}

func (c benchQueryCmd) Run(ctx context.Context, s streams) error {
	return bench.Queries(ctx, bench.Options{
		Workload: c.Workload, Count: c.Readings, Series: c.Series, Baselines: c.Baselines, Dir: c.Dir, Out: s.out,
	}, c.Runs)
}

type benchWritesCmd struct {
	Duration time.Duration `default:"1m" help:"How long to send at each rate."`
}

func (c benchWritesCmd) Run(ctx context.Context, s streams) error {
	return bench.Writes(ctx, bench.Options{Duration: c.Duration, Out: s.out})
}

type benchReadyCmd struct {
	Size   string `default:"10GB" help:"How much to store, as 500MB or 10GB."`
	Series int    `default:"1000000" help:"Of how many series."`
	Runs   int    `default:"5" help:"How often it is killed and started."`
	Dir    string `help:"Where to put the data; kept afterwards."`
	Weir   string `placeholder:"FILE" help:"Another weir binary to measure."`
}

func (c benchReadyCmd) Run(ctx context.Context, s streams) error {
	size, err := config.ParseSize(c.Size)
	if err != nil {
		return err
	}
	return bench.Ready(ctx, bench.Options{Weir: c.Weir, Series: c.Series, Dir: c.Dir, Out: s.out}, size, c.Runs)
}

type benchReportCmd struct {
	Short bool `help:"Seconds instead of minutes for each run: to see that it works, not to quote."`
}

func (c benchReportCmd) Run(ctx context.Context, s streams) error {
	return bench.Report(ctx, bench.Options{Out: s.out}, c.Short)
}

type benchFloorChildCmd struct {
	URL  string `arg:""`
	File string `arg:""`
}

func (c benchFloorChildCmd) Run(ctx context.Context) error { return bench.RunFloor(ctx, c.URL, c.File) }

type benchMochiChildCmd struct {
	Listen string `arg:""`
}

func (c benchMochiChildCmd) Run(ctx context.Context) error { return bench.RunMochi(ctx, c.Listen) }

// printResult prints what a run measured, if it ended well.
func printResult(s streams) func(*bench.Result, error) error {
	return func(r *bench.Result, err error) error {
		if r != nil {
			r.Print(s.out)
		}
		return err
	}
}
