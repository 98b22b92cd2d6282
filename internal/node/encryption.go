package node

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Credentials reads the master key from where the configuration says; nil where
// encryption is off.
func Credentials(ctx context.Context, c *config.Config) (*seal.Credentials, error) {
	if !c.Encryption.Enabled {
		return nil, nil
	}
	e := &c.Encryption
	return seal.Source{File: e.KeyFile, Env: e.KeyEnv, Command: e.KeyCommand}.Load(ctx)
}

// brokerDir is where the embedded broker keeps its journal.
const brokerDir = "broker"

// forget clears away what the node itself keeps of a tenant whose keys were
// destroyed: the clients of the broker are the default tenant's.
func forget(c *config.Config, tenant telemetry.Tenant) error {
	if tenant != telemetry.DefaultTenant {
		return nil
	}
	dir := filepath.Join(c.DataDir, brokerDir)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := durable.SyncDir(c.DataDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Log lines of a node with encryption leave out what it would not write in clear
// to its own files, because they often end up on the same disk.
var undisclosed = map[string]bool{"topic": true, "filter": true, "payload": true, "value": true, "tags": true, "series": true, "document": true}

const hiddenText = "[hidden: encryption is on]"

// discreet returns a logger that leaves them out.
func discreet(l *slog.Logger) *slog.Logger { return slog.New(discreetHandler{l.Handler()}) }

type discreetHandler struct{ slog.Handler }

func hide(a slog.Attr) slog.Attr {
	if undisclosed[a.Key] {
		return slog.String(a.Key, hiddenText)
	}
	return a
}

// Handle implements slog.Handler.
func (h discreetHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(hide(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

// WithAttrs implements slog.Handler.
func (h discreetHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = hide(a)
	}
	return discreetHandler{h.Handler.WithAttrs(out)}
}

// WithGroup implements slog.Handler.
func (h discreetHandler) WithGroup(name string) slog.Handler {
	return discreetHandler{h.Handler.WithGroup(name)}
}
