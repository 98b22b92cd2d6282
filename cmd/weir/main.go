// Command weir is the one binary of Weir: a node, and the tools around it. This
// package reads flags and signals and sets exit codes; what the commands do
// stands in internal/node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

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
	Retention  retentionCmd  `cmd:"" help:"Say what is kept for how long, and whether the clock is believed."`
	Delete     deleteCmd     `cmd:"" help:"Delete the readings of a table for which a condition is true."`
	Upgrade    upgradeCmd    `cmd:"" help:"Bring the data directory to this program's format; a start of the node does it too."`
	Backup     backupCmd     `cmd:"" help:"Write a snapshot into a backup directory, while the node runs."`
	Restore    restoreCmd    `cmd:"" help:"Write a snapshot of a backup to a new place."`
	Verify     verifyCmd     `cmd:"" help:"Read everything that is stored, or in a backup, and report what is damaged."`
	Export     exportCmd     `cmd:"" help:"Write readings to files: CSV, NDJSON, Parquet."`
	Import     importCmd     `cmd:"" help:"Bring readings from files into the store."`
	Card       cardCmd       `cmd:"" help:"Prepare cards for recorders."`
	Key        keyCmd        `cmd:"" help:"Make, change, list and destroy the keys of encryption."`
	Bench      benchCmd      `cmd:"" help:"Measure: ingest, acknowledgement, memory, queries."`
	Doctor     doctorCmd     `cmd:"" help:"Look for trouble: configuration, disk, clock, brokers."`
	Config     configCmd     `cmd:"" help:"Print the effective configuration."`
	Password   passwordCmd   `cmd:"" help:"Make a line for a password_file."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version."`
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
		kong.Vars{"version": versionText()},
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
	if exited >= 0 { // --help or --version was printed
		return exited
	}
	if err != nil {
		fmt.Fprintf(s.err, "weir: %v\n%s\n", err, usageHint(args, err))
		return exitUsage
	}
	ctx, stop := interruptible(context.Background(), s.err)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if f, ok := s.in.(*os.File); ok {
		s.in = &answers{f, ctx}
	}
	err = k.Run(s)
	if err != nil && ctx.Err() != nil && k.Command() != "serve" {
		err = context.Canceled // whatever broke, broke because a person stopped it
	}
	return report(s.err, err)
}

// usageHint says where to find what the flags should have been.
func usageHint(args []string, err error) string {
	if args[0] == "query" && strings.Contains(err.Error(), "<sql>") {
		return `hint: give one statement in quotes, as weir query "select * from env limit 5"; - reads it from standard input`
	}
	if command := commandOf(err); command != "" {
		return "hint: " + command + " --help lists what it takes"
	}
	return "hint: weir --help lists commands and flags"
}

// commandOf is the command whose words could not be read: "weir card format".
func commandOf(err error) string {
	var parse *kong.ParseError
	if !errors.As(err, &parse) || parse.Context == nil || parse.Context.Selected() == nil {
		return ""
	}
	name := "weir"
	for _, p := range parse.Context.Path {
		if p.Command != nil {
			name += " " + p.Command.Name
		}
	}
	return name
}

// together is how soon after the first a second signal counts as the same one:
// timeout and some supervisors signal the process and then its whole group.
const together = 500 * time.Millisecond

// interruptible ends the context at the first SIGINT or SIGTERM and the process
// at the next one that does not come together with it.
func interruptible(parent context.Context, log io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		var first time.Time
		for {
			select {
			case <-signals:
				if first.IsZero() {
					first = time.Now()
					cancel()
				} else if time.Since(first) > together {
					fmt.Fprintln(log, "weir: second signal, ending at once")
					os.Exit(exitForced)
				}
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

// answers is standard input that a person is asked for: a signal ends the wait.
type answers struct {
	*os.File
	ctx context.Context
}

// Read implements io.Reader. A read that was given up is left behind, because nothing
// ends it; the process is about to end then.
func (a *answers) Read(p []byte) (int, error) {
	type result struct {
		data []byte
		err  error
	}
	came := make(chan result, 1)
	go func() {
		b := make([]byte, len(p))
		n, err := a.File.Read(b)
		came <- result{b[:n], err}
	}()
	select {
	case <-a.ctx.Done():
		return 0, a.ctx.Err()
	case r := <-came:
		return copy(p, r.data), r.err
	}
}

type versionCmd struct{}

func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, versionText())
	return err
}

func versionText() string {
	return fmt.Sprintf("weir %s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
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
