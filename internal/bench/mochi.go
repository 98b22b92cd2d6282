package bench

import (
	"context"
	"io"
	"log/slog"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// RunMochi serves MQTT with mochi alone until ctx ends.
func RunMochi(ctx context.Context, listen string) error {
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(new(allowAll), nil); err != nil {
		return err
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: listen})); err != nil {
		return err
	}
	if err := s.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// allowAll lets everybody in, as mochi's own allow-all hook does.
type allowAll struct{ mochi.HookBase }

// ID implements mochi.Hook.
func (*allowAll) ID() string { return "allow-all" }

// Provides implements mochi.Hook.
func (*allowAll) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

// OnConnectAuthenticate implements mochi.Hook.
func (*allowAll) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnACLCheck implements mochi.Hook.
func (*allowAll) OnACLCheck(*mochi.Client, string, bool) bool { return true }
