package node

import (
	"io"
	"log/slog"

	"github.com/weir-telemetry/weir/internal/node/config"
)

// NewLogger writes log lines as the configuration says. Parts of the node add
// the attribute part, so that every line names who speaks.
func NewLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config allows only levels that slog knows
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func part(l *slog.Logger, name string) *slog.Logger { return l.With("part", name) }
