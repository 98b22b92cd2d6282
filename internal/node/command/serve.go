package command

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/demo"
	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/source/credentials"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ServeOptions are the flags of weir serve that are no keys.
type ServeOptions struct {
	Demo  bool
	From  string // as a flag with a space before, for the commands that take it
	Flags string // with a space before, what other commands need to find this node
}

// Serve runs a node until ctx ends, which drains it.
func Serve(ctx context.Context, e *Env, o ServeOptions) error {
	d := &demonstration{env: e, options: o}
	if o.Demo {
		if err := d.prepare(); err != nil {
			return err
		}
		defer d.cleanUp()
	}
	node.TuneMemory(e.Config.Config)
	n, err := node.Open(ctx, e.Config, node.Options{Logger: e.Logger, Version: e.Version})
	if err != nil {
		return err
	}
	err = n.Start(ctx)
	if err == nil {
		err = e.run(ctx, n, d)
	}
	if ctx.Err() != nil {
		e.Logger.Info("stopping: what was taken is made durable and acknowledged", "part", "node")
	}
	d.stop()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.Config.Node.DrainTimeout.D)
	defer cancel()
	stopped := n.Stop(stop)
	if stopped == nil && err == nil {
		e.Logger.Info("stopped", "part", "node")
	}
	return errors.Join(err, stopped)
}

func (e *Env) run(ctx context.Context, n *node.Node, d *demonstration) error {
	status, err := n.Status(ctx)
	if err != nil {
		return err
	}
	if d.options.Demo {
		d.start(status)
	}
	if err := e.welcome(status, d); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.Failed():
		return err
	}
}

// demonstration is the simulated fleet of --demo.
type demonstration struct {
	env     *Env
	options ServeOptions
	fleet   *demo.Fleet
	user    string
	secret  string
	users   string // a file of users with one more, to be removed
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

const demoUser = "weir-demo"

// prepare writes the demo schemas where there are none, moves listeners whose
// default port is taken, and gives the fleet a login where one is needed.
func (d *demonstration) prepare() error {
	c := d.env.Config
	if _, err := demo.WriteSchemas(c.Schemas); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "write the demo schemas", "%w", err)
	}
	if !c.Given("http.listen") {
		c.HTTP.Listen = freeUnlessOpen(c.HTTP.Listen)
	}
	if c.Broker.Enabled && !c.Given("broker.listen") {
		c.Broker.Listen = freeUnlessOpen(c.Broker.Listen)
	}
	if !c.Broker.Enabled || c.Broker.PasswordFile == "" {
		return nil
	}
	d.user, d.secret = demoUser, credentials.New()
	line, err := credentials.Line(d.user, d.secret)
	if err != nil {
		return err
	}
	users, err := os.ReadFile(c.Broker.PasswordFile)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeNotFound, "read the users of the broker", "%w", err)
	}
	d.users = filepath.Join(c.DataDir, "demo-users")
	if err := durable.MakeDir(c.DataDir, 0o700); err != nil {
		return node.DataDirError(c.DataDir, err)
	}
	if err := os.WriteFile(d.users, append(users, []byte("\n"+line+"\n")...), 0o600); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "give the demo fleet a login", "%w", err)
	}
	c.Broker.PasswordFile = d.users
	return nil
}

func (d *demonstration) cleanUp() {
	if d.users != "" {
		_ = os.Remove(d.users) // a leftover holds only hashes
	}
}

// freeUnlessOpen returns the address, or any free port of its host where
// somebody listens there.
func freeUnlessOpen(address string) string {
	l, err := net.Listen("tcp", address)
	if err == nil {
		_ = l.Close() // it was only tried
		return address
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort(host, "0")
}

// start lets the fleet publish to the node's broker, or to the one that the node
// listens to.
func (d *demonstration) start(status *control.Status) {
	o := demo.Options{History: time.Hour, Logger: d.env.Logger.With("part", "demo"), Username: d.user, Password: d.secret}
	for _, l := range status.Listeners {
		if l.What == "mqtt tcp" {
			o.Broker = node.Dialable(l.Address)
		}
	}
	if o.Broker == "" {
		m := d.env.Config.Sources
		if len(m) == 0 {
			return
		}
		address, usesTLS, err := node.BrokerAddress(m[0].MQTT.URL)
		if err != nil || usesTLS || m[0].MQTT.Username != "" {
			d.env.Logger.Warn("the demo fleet publishes only to a broker without TLS and login", "part", "demo")
			return
		}
		o.Broker = address
	}
	d.fleet = demo.New(o)
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	d.done.Go(func() { d.fleet.Run(ctx) })
}

func (d *demonstration) stop() {
	if d.cancel != nil {
		d.cancel()
		d.done.Wait()
	}
}
