package main

import (
	"context"
	"io"
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
	from := fromOverrides(c.From)
	var last []config.Override
	if c.Lan {
		lan, err := c.lan(s, from)
		if err != nil {
			return err
		}
		last = lan
	}
	e, err := c.load(s, config.Options{Overrides: from, CheckFiles: true}, last...)
	if err != nil {
		return err
	}
	return command.Serve(ctx, e, command.ServeOptions{Demo: c.Demo, From: quotedFlag("--from", c.From), Flags: c.again()})
}

// fromOverrides are what --from means.
func fromOverrides(url string) []config.Override {
	if url == "" {
		return nil
	}
	return []config.Override{
		{Path: "sources[0].mqtt.url", Value: url, Flag: "--from"},
		{Path: "broker.enabled", Value: "false", Flag: "--from"},
	}
}

// lan makes the credentials and opens the listeners that stand at their defaults
// or on loopback, wherever that was said, to everybody.
func (c serveCmd) lan(s streams, from []config.Override) ([]config.Override, error) {
	// The listeners may be open already and wait only for the credentials: what is
	// read here is not what the node runs with.
	s.err = io.Discard // the second reading warns
	e, err := c.load(s, config.Options{Overrides: from, CheckFiles: true},
		config.Override{Path: "broker.anonymous", Value: "yes", Flag: "--lan"})
	if err != nil {
		return nil, err
	}
	loaded := e.Config
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
