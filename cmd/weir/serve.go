package main

import (
	"context"
	"net"

	"github.com/weir-telemetry/weir/internal/node/command"
	"github.com/weir-telemetry/weir/internal/node/config"
)

type serveCmd struct {
	configFlags
	From string `placeholder:"URL" help:"Take messages from this broker (mqtt://host or mqtts://host) and run no broker."`
	Demo bool   `help:"Simulate a fleet of devices that publish over real MQTT; writes demo schemas where there are none."`
	Lan  bool   `help:"Listen for other machines as well; makes credentials and prints them once."`
}

func (c serveCmd) Run(ctx context.Context, s streams) error {
	var more []config.Override
	if c.From != "" {
		more = append(more, config.Override{Path: "sources[0].mqtt.url", Value: c.From, Flag: "--from"},
			config.Override{Path: "broker.enabled", Value: "false", Flag: "--from"})
	}
	if c.Lan {
		lan, err := c.lan(s)
		if err != nil {
			return err
		}
		more = append(more, lan...)
	}
	e, err := c.env(s, more...)
	if err != nil {
		return err
	}
	return command.Serve(ctx, e, command.ServeOptions{Demo: c.Demo, Flags: c.again()})
}

// lan makes the credentials and opens the listeners that stand at their defaults
// or on loopback to everybody.
func (c serveCmd) lan(s streams) ([]config.Override, error) {
	overrides, err := c.overrides()
	if err != nil {
		return nil, err
	}
	loaded, err := config.Load(config.Options{File: c.Config, Environ: s.environ, Overrides: overrides})
	if err != nil {
		return nil, err
	}
	users, err := command.LanUsers(loaded, s.out)
	if err != nil {
		return nil, err
	}
	more := []config.Override{{Path: "http.listen", Value: everywhere(loaded.HTTP.Listen), Flag: "--lan"}}
	if loaded.HTTP.PasswordFile == "" {
		more = append(more, config.Override{Path: "http.password_file", Value: users, Flag: "--lan"})
	}
	if loaded.Broker.Enabled {
		more = append(more, config.Override{Path: "broker.listen", Value: everywhere(loaded.Broker.Listen), Flag: "--lan"})
		if loaded.Broker.PasswordFile == "" {
			more = append(more, config.Override{Path: "broker.password_file", Value: users, Flag: "--lan"})
		}
	}
	return more, nil
}

// everywhere is the same port on all interfaces.
func everywhere(listen string) string {
	if !config.Loopback(listen) {
		return listen
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	return net.JoinHostPort("", port)
}
