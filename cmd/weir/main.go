// Command weir is the one binary of Weir: a node, and the tools around it. This
// package reads flags and signals and sets exit codes; what the commands do
// stands in internal/node.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/weir-telemetry/weir/internal/node/command"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// version is set by the linker.
var version = "dev"

type cli struct {
	Serve      serveCmd      `cmd:"" help:"Run a node."`
	Query      queryCmd      `cmd:"" help:"Ask SQL of the readings."`
	Schema     schemaCmd     `cmd:"" help:"Check, propose, accept and list schema documents."`
	Quarantine quarantineCmd `cmd:"" help:"Look at messages that could not become readings, and try them again."`
	Bench      benchCmd      `cmd:"" help:"Measure: ingest, acknowledgement, memory, queries."`
	Doctor     doctorCmd     `cmd:"" help:"Look for trouble: configuration, disk, clock, brokers."`
	Config     configCmd     `cmd:"" help:"Print the effective configuration."`
	Password   passwordCmd   `cmd:"" help:"Make a line for a password_file."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
}

func main() {
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr, os.Environ()}))
}

// run is main without the process around it; tests call it.
func run(args []string, s streams) (code int) {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("weir"),
		kong.Description("Weir stores MQTT telemetry durably and answers SQL.\n\nStart with: weir serve --demo"),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.UsageOnError(),
	)
	if err != nil {
		return report(s.err, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help was printed
		return exited
	}
	if err != nil {
		fmt.Fprintf(s.err, "weir: %v\nweir --help lists commands and flags\n", err)
		return exitUsage
	}
	ctx, stop := interruptible(context.Background(), s.err)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	return report(s.err, k.Run(s))
}

// interruptible ends the context at the first SIGINT or SIGTERM and the process
// at the second.
func interruptible(parent context.Context, log io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for n := 0; ; n++ {
			select {
			case <-signals:
				if n > 0 {
					fmt.Fprintln(log, "weir: second signal, ending at once")
					os.Exit(exitForced)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-finished
		cancel()
	}
}

type versionCmd struct{}

func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintf(s.out, "weir %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

type passwordCmd struct {
	Name string `arg:"" help:"The user's name."`
}

func (c passwordCmd) Run(s streams) error {
	e := &command.Env{In: s.in, Out: s.out, Err: s.err}
	return command.Password(e, c.Name)
}

func invalid(op, format string, args ...any) *telemetry.Error {
	return telemetry.Errorf(telemetry.CodeInvalid, op, format, args...)
}
