package node

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

var _ control.Keys = (*Node)(nil)

// RotateKey implements control.Keys.
func (n *Node) RotateKey(_ context.Context, newKeyFile string) (*control.Rotated, error) {
	ring := n.store.Ring()
	if ring == nil {
		return nil, notSealed("rotate master key")
	}
	return &control.Rotated{}, ring.Rotate(newKeyFile)
}

func notSealed(op string) error {
	return telemetry.Errorf(telemetry.CodeInvalid, op, "encryption is off").
		WithHint("set encryption.enabled to true, in a configuration whose data_dir is new")
}

// keyOptions are those of the store for a command about its keys.
func keyOptions(ctx context.Context, c *config.Config, log *slog.Logger, op string) (embedded.Options, error) {
	if !c.Encryption.Enabled {
		return embedded.Options{}, notSealed(op)
	}
	return storeOptions(ctx, c, log, time.Now, false)
}

// RotateKey does for a data directory that no node runs on what Node.RotateKey does.
func RotateKey(ctx context.Context, c *config.Config, log *slog.Logger, newKeyFile string) (*control.Rotated, error) {
	o, err := keyOptions(ctx, c, log, "rotate master key")
	if err != nil {
		return nil, err
	}
	finished, err := embedded.RotateKey(o, newKeyFile)
	return &control.Rotated{Finished: finished}, asInUse(err)
}

// DestroyTenant makes a tenant's data unreadable for good. No node may run.
func DestroyTenant(ctx context.Context, c *config.Config, log *slog.Logger, tenant, newKeyFile string) error {
	o, err := keyOptions(ctx, c, log, "destroy tenant")
	if err != nil {
		return err
	}
	return asInUse(embedded.DestroyTenant(ctx, o, telemetry.Tenant(tenant), newKeyFile))
}

// CheckKeys finds out, without writing anything, whether the master key that the
// configuration names is there and opens what is in the data directory.
func CheckKeys(ctx context.Context, c *config.Config, log *slog.Logger) error {
	o, err := storeOptions(ctx, c, log, time.Now, true)
	if err != nil {
		return err
	}
	return embedded.CheckSealing(o)
}

// HasTenant reports whether there is something to destroy of a tenant: its keys, or
// what a destruction that was interrupted has not cleared away yet.
func HasTenant(ctx context.Context, c *config.Config, log *slog.Logger, tenant string) (bool, error) {
	ring, err := readRing(ctx, c, log, "destroy tenant")
	if err != nil {
		return false, err
	}
	return slices.Contains(ring.Destroyed(), tenant) || slices.ContainsFunc(ring.List(), func(k seal.KeyInfo) bool { return k.Owner == tenant }), nil
}

// ListKeys describes the data keys, also beside a running node.
func ListKeys(ctx context.Context, c *config.Config, log *slog.Logger) ([]seal.KeyInfo, error) {
	ring, err := readRing(ctx, c, log, "list keys")
	if err != nil {
		return nil, err
	}
	return ring.List(), nil
}

func readRing(ctx context.Context, c *config.Config, log *slog.Logger, op string) (*seal.Ring, error) {
	o, err := keyOptions(ctx, c, log, op)
	if err != nil {
		return nil, err
	}
	if !seal.Exists(c.DataDir) {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, op, "there is no key ring in %s yet: the first start of a node makes it", c.DataDir)
	}
	return seal.OpenRing(c.DataDir, o.Sealing, seal.RingOptions{ReadOnly: true, Logger: log})
}
