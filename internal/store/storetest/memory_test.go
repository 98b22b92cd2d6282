package storetest

import (
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
)

func TestMemory(t *testing.T) {
	stores := map[string]*Memory{}
	Run(t, func(_ testing.TB, c Config) store.Store {
		m := stores[c.Dir]
		if m == nil {
			m = NewMemory()
			stores[c.Dir] = m
		}
		m.MaxSeries = c.MaxSeries
		m.Reopen()
		return m
	})
}
