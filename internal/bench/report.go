package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Report runs everything that docs/benchmarks.md quotes.
func Report(ctx context.Context, o Options, short bool) error {
	length := func(d time.Duration) time.Duration {
		if short {
			return max(2*time.Second, d/30)
		}
		return d
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	run := func(f func(context.Context, Options) (*Result, error), change func(*Options)) (*Result, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := o
		p.QoS = 1
		change(&p)
		r, err := f(ctx, p)
		if err != nil {
			return nil, err
		}
		r.Print(o.Out)
		fmt.Fprintln(o.Out)
		return r, nil
	}

	fmt.Fprintf(o.Out, "## Ingest, flat out\n\n```\n")
	node, err := run(Node, func(o *Options) { o.Duration = length(time.Minute) })
	if err != nil {
		return err
	}
	floor, err := run(Floor, func(o *Options) { o.Duration = length(30 * time.Second) })
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "```\n\nThe node reaches %.2f of the minimal program.\n\n", node.Rate()/floor.Rate())

	fmt.Fprintf(o.Out, "## Ingest at a rate\n\n")
	fmt.Fprintf(o.Out, "```\n")
	for _, rate := range []float64{50_000, 5_000} {
		if _, err := run(Node, func(o *Options) { o.Rate, o.Duration = rate, length(10*time.Minute) }); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.Out, "```\n\n## Series\n\n```\n")
	var few *Result
	for _, series := range []int{1_000, 1_000_000} {
		r, err := run(Node, func(o *Options) { o.Series, o.Duration = series, length(30*time.Second) })
		if err != nil {
			return err
		}
		if few == nil {
			few = r
			continue
		}
		fmt.Fprintf(o.Out, "cost of a message with 1,000,000 series: %.2f of that with 1,000\n", r.CPUPerMessage()/few.CPUPerMessage())
	}
	if _, err := run(Node, func(o *Options) { o.Workload, o.Duration = "w2", length(30*time.Second) }); err != nil {
		return err
	}

	fmt.Fprintf(o.Out, "```\n\n## Embedded broker, 100 clients\n\n```\n")
	var rates [2]float64
	for i, f := range []func(context.Context, Options) (*Result, error){Broker, Mochi} {
		r, err := run(f, func(o *Options) { o.Clients, o.Duration = 100, length(20*time.Second) })
		if err != nil {
			return err
		}
		rates[i] = r.Rate()
	}
	fmt.Fprintf(o.Out, "```\n\nThe embedded broker, acknowledging after the commit, takes %.2f of what mochi alone accepts.\n\n", rates[0]/rates[1])

	fmt.Fprintf(o.Out, "## Bytes written to the device per reading\n\n")
	p := o
	p.Duration = length(time.Minute)
	if err := Writes(ctx, p); err != nil {
		return err
	}

	fmt.Fprintf(o.Out, "\n## Queries\n\n")
	p = o
	p.Count, p.Baselines = 5_000_000, true
	if short {
		p.Count, p.Rest = 200_000, 2*time.Second
	}
	return Queries(ctx, p, 20)
}

// Writes measures what a node writes to the device for each reading at low rates,
// with both settings of commit_interval that "auto" chooses between.
func Writes(ctx context.Context, o Options) error {
	intervals := []string{"2ms", "1s"}
	fmt.Fprintf(o.Out, "| messages/s | commit_interval %s | commit_interval %s |\n|---|---|---|\n", intervals[0], intervals[1])
	for _, rate := range []float64{1, 10, 100, 5000} {
		fmt.Fprintf(o.Out, "| %.0f |", rate)
		for _, interval := range intervals {
			p := o
			p.QoS, p.Rate, p.CommitInterval = 1, rate, interval
			r, err := Node(ctx, p)
			if err != nil {
				return err
			}
			fmt.Fprintf(o.Out, " %.0f |", float64(r.Written)/float64(max(r.Messages, 1)))
		}
		fmt.Fprintln(o.Out)
	}
	return nil
}
