package embedded

import (
	"context"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(tb testing.TB, c storetest.Config) store.Store {
		tb.Helper()
		s, err := Open(context.Background(), Options{Dir: c.Dir, MaxSeries: c.MaxSeries, ManualCompaction: true})
		if err != nil {
			tb.Fatal(err)
		}
		return s
	})
}
