package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/store/embedded"
)

// CheckUpgrade says what an upgrade of the data directory would do, and changes
// nothing.
func CheckUpgrade(c *config.Config, log *slog.Logger) (*embedded.UpgradePlan, error) {
	return embedded.CheckUpgrade(storeOptions(c, log, time.Now, true))
}

// Upgrade brings the data directory to this program's format. No node may run on it.
func Upgrade(ctx context.Context, c *config.Config, log *slog.Logger) (*embedded.UpgradePlan, error) {
	return embedded.Upgrade(ctx, storeOptions(c, log, time.Now, false))
}
