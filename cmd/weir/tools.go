package main

import (
	"context"
	"time"

	"github.com/weir-telemetry/weir/internal/node/command"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

type queryCmd struct {
	configFlags
	Format string `enum:"table,json,ndjson,csv" default:"table" help:"table, json, ndjson or csv."`
	SQL    string `arg:"" name:"sql" help:"The statement; each schema is a table. - reads it from standard input."`
}

func (c queryCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.Query(ctx, e, c.SQL, c.Format)
}

type schemaCmd struct {
	Check   schemaCheckCmd   `cmd:"" help:"Compile documents and report every problem with file, line and column."`
	Infer   schemaInferCmd   `cmd:"" help:"Propose a document from sample payloads."`
	Compile schemaCompileCmd `cmd:"" help:"Make the binary plan of a document that a device executes, or report what a device cannot run."`
	Publish schemaPublishCmd `cmd:"" help:"Compile and sign a document for devices, and leave it with the broker: they take it without a restart."`
	Accept  schemaAcceptCmd  `cmd:"" help:"Record a document; with --break also one that does not fit the stored readings."`
	List    schemaListCmd    `cmd:"" help:"List the active schemas."`
}

type schemaCheckCmd struct {
	configFlags
	Files []string `arg:"" optional:"" help:"Documents or directories (default: the configured directory)."`
}

func (c schemaCheckCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.SchemaCheck(ctx, e, c.Files)
}

type schemaInferCmd struct {
	Files []string `arg:"" optional:"" help:"Files of payloads, one in a line (default: standard input)."`
}

func (c schemaInferCmd) Run(s streams) error {
	return command.SchemaInfer(&command.Env{In: s.in, Out: s.out, Err: s.err}, c.Files)
}

type schemaCompileCmd struct {
	Target string `enum:"mcu" required:"" help:"What for: mcu, a device with the firmware."`
	Out    string `short:"o" placeholder:"FILE" help:"Where the plan goes; without it, it is only made."`
	Form   string `enum:"bin,c" default:"bin" help:"bin, or c: a source to link into a firmware."`
	Sign   string `placeholder:"KEYFILE" help:"Sign it: an Ed25519 private key in PEM."`
	File   string `arg:"" help:"The document; it has profile: device."`
}

func (c schemaCompileCmd) Run(s streams) error {
	e := &command.Env{In: s.in, Out: s.out, Err: s.err}
	return command.SchemaCompile(e, command.CompileOptions{File: c.File, Out: c.Out, Form: c.Form, Sign: c.Sign})
}

type schemaPublishCmd struct {
	configFlags
	Sign         string `placeholder:"KEYFILE" required:"" help:"An Ed25519 private key in PEM; devices know its public key."`
	Broker       string `placeholder:"URL" help:"The broker that the devices listen to (default: the node's own, or that of its first source)."`
	Username     string `help:"For the broker."`
	PasswordFile string `placeholder:"FILE" help:"For the broker."`
	File         string `arg:"" help:"The document; it has profile: device."`
}

func (c schemaPublishCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.SchemaPublish(ctx, e, command.PublishOptions{File: c.File, Sign: c.Sign, Broker: c.Broker, Username: c.Username, PasswordFile: c.PasswordFile})
}

type schemaAcceptCmd struct {
	configFlags
	Break bool   `help:"Accept what breaks with the stored readings: they stay in their table, and a new one is opened."`
	File  string `arg:"" help:"The document."`
}

func (c schemaAcceptCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.SchemaAccept(ctx, e, c.File, c.Break)
}

type schemaListCmd struct {
	configFlags
	Format string `enum:"table,json" default:"table" help:"table or json."`
}

func (c schemaListCmd) Run(ctx context.Context, s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.SchemaList(ctx, e, c.Format)
}

type quarantineCmd struct {
	List   quarantineListCmd   `cmd:"" help:"List records, newest first."`
	Replay quarantineReplayCmd `cmd:"" help:"Try records again, after their schema was mended; what is valid now is stored once."`
}

// quarantineFlags select records.
type quarantineFlags struct {
	configFlags
	Schema string `help:"Only records of this schema."`
	Reason string `help:"Only records with this reason, as invalid or malformed."`
	Topic  string `help:"Only records whose topic matches this MQTT topic filter."`
	Since  string `help:"Only records since then: 2h, 7d, 2026-01-31, or RFC 3339."`
}

func (f quarantineFlags) filter() (control.Filter, error) {
	since, err := command.ParseSince("--since", f.Since, time.Now(), config.ParseDuration)
	return control.Filter{Schema: f.Schema, Reason: telemetry.Reason(f.Reason), Topic: f.Topic, Since: since}, err
}

type quarantineListCmd struct {
	quarantineFlags
	Limit  int    `default:"50" help:"How many at most; 0 is all."`
	Format string `enum:"table,json" default:"table" help:"table, or json: one record in a line with its whole payload."`
}

func (c quarantineListCmd) Run(ctx context.Context, s streams) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	e, err := c.env(s)
	if err != nil {
		return err
	}
	f.Limit = c.Limit
	return command.QuarantineList(ctx, e, f, c.Format)
}

type quarantineReplayCmd struct{ quarantineFlags }

func (c quarantineReplayCmd) Run(ctx context.Context, s streams) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return command.QuarantineReplay(ctx, e, f)
}

type configCmd struct {
	configFlags
	Origins bool `help:"Say where each value came from."`
}

func (c configCmd) Run(s streams) error {
	e, err := c.env(s)
	if err != nil {
		return err
	}
	return e.Config.Print(s.out, c.Origins)
}

type doctorCmd struct {
	configFlags
	From   string        `placeholder:"URL" help:"Ask this broker (mqtt://host or mqtts://host), as weir serve --from would."`
	Outage time.Duration `default:"1h" help:"How long the node may be away without loss; the broker's queue is sized for it."`
	Rate   float64       `help:"Messages per second (default: what the running node receives, else 10)."`
	Size   int           `default:"200" help:"Bytes of a message, topic and payload."`
	Watch  time.Duration `placeholder:"1m" help:"Watch for this long whether the broker drops messages (Mosquitto tells every 10s)."`
}

func (c doctorCmd) Run(ctx context.Context, s streams) error {
	e, err := c.load(s, config.Options{Overrides: fromOverrides(c.From), CheckFiles: true})
	if err != nil {
		return err
	}
	return command.Doctor(ctx, e, command.DoctorOptions{Outage: c.Outage, Rate: c.Rate, Size: c.Size, Watch: c.Watch})
}
