package command

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/config"
)

// Env is what a command works with.
type Env struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Config  *config.Loaded
	Logger  *slog.Logger
	Version string
}

// quiet is a logger for a node that lives only as long as a command: its start and
// stop are of no interest, its trouble is.
func (e *Env) quiet() *slog.Logger {
	return node.NewLogger(config.Log{Level: "warn", Format: "text"}, e.Err)
}

func (e *Env) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(e.Out, format, args...)
	return err
}
