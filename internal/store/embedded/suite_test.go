package embedded

import (
	"context"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/storetest"
)

// compacting is a store whose Compact, as the suite calls it, is now a step as
// the background takes them, with tables that are carried on, and now everything.
type compacting struct {
	*Store
	calls int
}

func (c *compacting) Compact(ctx context.Context) error {
	c.calls++
	if c.calls%3 == 0 {
		return c.Store.Compact(ctx)
	}
	for _, tn := range *c.tenants.Load() {
		if _, err := c.compactLevel0(ctx, tn, false); err != nil {
			return err
		}
		if _, err := c.mergeOne(ctx, tn, false); err != nil {
			return err
		}
	}
	return nil
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(tb testing.TB, c storetest.Config) store.Store { return suiteStore(tb, c, nil) })
}

// TestASealedStore is the same suite, with everything encrypted.
func TestASealedStore(t *testing.T) {
	keys := seal.Holding(seal.NewMaster())
	storetest.Run(t, func(tb testing.TB, c storetest.Config) store.Store { return suiteStore(tb, c, keys) })
}

func suiteStore(tb testing.TB, c storetest.Config, keys *seal.Credentials) store.Store {
	tb.Helper()
	s, err := Open(context.Background(), Options{
		Dir: c.Dir, MaxSeries: c.MaxSeries, ManualCompaction: true, CarryRows: 5, MergeFanIn: 2, Sealing: keys,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return &compacting{Store: s, calls: 2}
}
