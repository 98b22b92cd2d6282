package main

import (
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/command"
	"github.com/weir-telemetry/weir/internal/node/config"
)

// configFlags are the flags of every command that reads the configuration.
type configFlags struct {
	Config   string   `short:"c" placeholder:"FILE" help:"The configuration (default: WEIR_CONFIG, else ./weir.yaml where it exists)."`
	DataDir  string   `placeholder:"DIR" help:"Overrides data_dir."`
	Schemas  string   `placeholder:"DIR" help:"Overrides schemas."`
	LogLevel string   `placeholder:"LEVEL" help:"Overrides log.level: debug, info, warn or error."`
	Set      []string `sep:"none" placeholder:"KEY=VALUE" help:"Overrides any key, as store.commit_interval=5ms; may be repeated."`
}

func (f configFlags) overrides() ([]config.Override, error) {
	var all []config.Override
	for _, s := range f.Set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, invalid("read --set", "%q is not KEY=VALUE", s)
		}
		all = append(all, config.Override{Path: key, Value: value, Flag: "--set"})
	}
	for _, o := range []config.Override{
		{Path: "data_dir", Value: f.DataDir, Flag: "--data-dir"},
		{Path: "schemas", Value: f.Schemas, Flag: "--schemas"},
		{Path: "log.level", Value: f.LogLevel, Flag: "--log-level"},
	} {
		if o.Value != "" {
			all = append(all, o)
		}
	}
	return all, nil
}

// env loads the configuration for a command.
func (f configFlags) env(s streams) (*command.Env, error) {
	return f.load(s, config.Options{})
}

// load is env with more: the flags win over the overrides of o, and last wins
// over all.
func (f configFlags) load(s streams, o config.Options, last ...config.Override) (*command.Env, error) {
	overrides, err := f.overrides()
	if err != nil {
		return nil, err
	}
	o.File, o.Environ = f.Config, s.environ
	o.Overrides = slices.Concat(o.Overrides, overrides, last)
	loaded, err := config.Load(o)
	if err != nil {
		return nil, err
	}
	logger := node.NewLogger(loaded.Log, s.err)
	for _, w := range loaded.Warnings {
		logger.Warn(w, "part", "config")
	}
	return &command.Env{In: s.in, Out: s.out, Err: s.err, Config: loaded, Logger: logger, Version: version}, nil
}

// again is what a person adds to other commands so that they find the same node.
func (f configFlags) again() string {
	var b strings.Builder
	for _, flag := range [][2]string{{"--config", f.Config}, {"--data-dir", f.DataDir}, {"--schemas", f.Schemas}} {
		b.WriteString(quotedFlag(flag[0], flag[1]))
	}
	for _, s := range f.Set {
		if strings.HasPrefix(s, "data_dir=") || strings.HasPrefix(s, "schemas=") {
			b.WriteString(" --set " + quoted(s))
		}
	}
	return b.String()
}

// quotedFlag is a flag with its value and a space before, or nothing where it was
// not given.
func quotedFlag(flag, value string) string {
	if value == "" {
		return ""
	}
	return " " + flag + " " + quoted(value)
}

// quoted is a word as a shell takes it.
func quoted(s string) string {
	if strings.ContainsAny(s, " '\"\\$`*?;&|<>()[]{}~#!\t\n") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
