package command

import (
	"fmt"
	"io"
	"log/slog"

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

func (e *Env) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(e.Out, format, args...)
	return err
}
