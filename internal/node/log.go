package node

import (
	"io"
	"log/slog"
	"strings"

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
	o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if text := a.Value.String(); a.Value.Kind() != slog.KindGroup && strings.Contains(text, "\n") {
			a.Value = slog.StringValue(oneLine(text))
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// oneLine joins the lines of a text, which a log line would show with its line
// ends escaped.
func oneLine(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		switch {
		case b.Len() == 0:
		case strings.HasSuffix(b.String(), ":"):
			b.WriteByte(' ')
		default:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func part(l *slog.Logger, name string) *slog.Logger { return l.With("part", name) }
