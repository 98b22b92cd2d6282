package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/store/embedded"
)

// CheckUpgrade says what an upgrade of the data directory would do, and changes
// nothing. It needs no key.
func CheckUpgrade(c *config.Config, log *slog.Logger) (*embedded.UpgradePlan, error) {
	return embedded.CheckUpgrade(embedded.Options{Dir: c.DataDir, Logger: log})
}

// Upgrade brings the data directory to this program's format. No node may run on it.
func Upgrade(ctx context.Context, c *config.Config, log *slog.Logger) (*embedded.UpgradePlan, error) {
	o, err := storeOptions(ctx, c, log, time.Now, false)
	if err != nil {
		return nil, err
	}
	return embedded.Upgrade(ctx, o)
}
