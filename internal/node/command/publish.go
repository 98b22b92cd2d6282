package command

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"

	"github.com/weir-telemetry/weir/internal/device/record"
	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/probe"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// PublishOptions says how a schema goes to the devices.
type PublishOptions struct {
	File         string
	Sign         string // a file with an Ed25519 private key
	Broker       string // a URL; "": that of the configuration
	Username     string
	PasswordFile string
}

// schemaTopic is where devices listen for schemas.
const schemaTopic = "weir/schema/"

// SchemaPublish compiles a document for devices, signs it, and leaves it with the
// broker as a retained message: devices take it, now or when they connect.
func SchemaPublish(ctx context.Context, e *Env, o PublishOptions) error {
	const op = "publish schema"
	document, err := os.ReadFile(o.File)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeNotFound, op, "%v", err)
	}
	key, err := signingKey(o.Sign)
	if err != nil {
		return err
	}
	plan, bin, problems := schema.CompileDevice(o.File, document)
	for _, p := range problems {
		if _, err := fmt.Fprintln(e.Err, p.Error()); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, op, "%d problem(s): a device does not run %s", len(problems), o.File)
	}
	login, err := e.publishLogin(o)
	if err != nil {
		return err
	}
	envelope := record.Sign(bin, key)
	if err := probe.Retain(ctx, login, schemaTopic+plan.Name(), envelope); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, op, "%s: %v", login.Address, err).
			WithHint("name the broker with --broker, and who publishes with --username and --password-file")
	}
	id := schema.DevicePlanID(bin)
	return e.printf("%s version %d (plan %x, %d bytes, key id %x) is retained on %s%s at %s\n",
		plan.Name(), plan.Version(), id, len(envelope), record.KeyID(key.Public().(ed25519.PublicKey)), schemaTopic, plan.Name(), login.Address)
}

// publishLogin is the broker that the devices listen to: the one that is named, the
// node's own, or that of its first source.
func (e *Env) publishLogin(o PublishOptions) (probe.Login, error) {
	if o.Broker != "" {
		address, usesTLS, err := node.BrokerAddress(o.Broker)
		return probe.Login{Address: address, TLS: usesTLS, Username: o.Username, PasswordFile: o.PasswordFile}, err
	}
	c := e.Config.Config
	if c.Broker.Enabled && c.Broker.Listen != "" {
		return probe.Login{Address: node.Dialable(c.Broker.Listen), Username: o.Username, PasswordFile: o.PasswordFile}, nil
	}
	if len(c.Sources) == 0 {
		return probe.Login{}, telemetry.Errorf(telemetry.CodeInvalid, "publish schema", "the configuration has no broker").WithHint("name one with --broker mqtt://host:port")
	}
	login, err := node.BrokerLogin(c, 0)
	if o.Username != "" {
		login.Username, login.PasswordFile = o.Username, o.PasswordFile
	}
	return login, err
}
