package embedded

import (
	"context"
	"errors"
	"slices"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// RotateKey wraps the data keys of a directory that no node has open by a new
// master key; next is as in seal.Ring.Rotate. finished says that an interrupted
// rotation was completed, and no further key drawn.
func RotateKey(o Options, next string) (finished bool, err error) {
	ring, release, err := lockedRing(o)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if ring.Resumed() && next == "" {
		return true, nil
	}
	return false, ring.Rotate(next)
}

// lockedRing opens the key ring of a directory for this process alone.
func lockedRing(o Options) (*seal.Ring, func() error, error) {
	o = o.withDefaults()
	if err := CheckSealing(o); err != nil {
		return nil, nil, err
	}
	if !seal.Exists(o.Dir) {
		return nil, nil, telemetry.Errorf(telemetry.CodeNotFound, "open key ring", "there is no key ring in %s: no node has run on it with encryption", o.Dir)
	}
	lock, err := lockDir(o.Dir, true)
	if err != nil {
		return nil, nil, err
	}
	ring, err := seal.OpenRing(o.Dir, o.Sealing, seal.RingOptions{Logger: o.Logger, Now: o.Now})
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return ring, lock.Close, nil
}

// DestroyTenant makes what a tenant has stored unreadable for good, in a directory
// that no node has open: its data keys go, the others are wrapped by a new master
// key (next is as in seal.Ring.Destroy), and what it left is cleared away.
func DestroyTenant(ctx context.Context, o Options, tenant telemetry.Tenant, next string) error {
	ring, release, err := lockedRing(o)
	if err != nil {
		return err
	}
	owner := string(tenant)
	switch {
	case slices.Contains(ring.Destroyed(), owner): // and not yet cleared away
	case owner == seal.NodeOwner || !slices.ContainsFunc(ring.List(), func(k seal.KeyInfo) bool { return k.Owner == owner }):
		err = telemetry.Errorf(telemetry.CodeNotFound, "destroy tenant", "tenant %q has no keys in %s", owner, o.Dir).
			WithHint("weir key list shows who has")
	default:
		err = ring.Destroy(owner, next)
	}
	o.Sealing = ring.Credentials()
	if err = errors.Join(err, release()); err != nil {
		return err
	}
	o.ReadOnly, o.ManualCompaction = false, true
	s, err := Open(ctx, o)
	if err != nil {
		return err
	}
	return s.Close()
}
