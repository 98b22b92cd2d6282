package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"
	"github.com/mochi-mqtt/server/v2/packets"
)

// newServer returns a mochi server that has no listeners: connections are
// given to it by run.
func (b *Broker) newServer() (*mqtt.Server, error) {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClients = int64(b.cfg.MaxClients)
	caps.MaximumMessageExpiryInterval = 0 // else retained messages end after a day
	caps.MaximumClientWritesPending = 64  // only $SYS goes through it; it is allocated at once for each client
	caps.MaximumSessionExpiryInterval = uint32(min(b.cfg.MaxSessionExpiry.Seconds(), math.MaxUint32))
	caps.ReceiveMaximum = uint16(b.cfg.MaxInflight)
	caps.TopicAliasMaximum = topicAliases
	server := mqtt.New(&mqtt.Options{
		Capabilities:             caps,
		ClientNetReadBufferSize:  64, // packets lie in our buffer already
		ClientNetWriteBufferSize: 1,
		Logger:                   slog.New(errorsOnly{b.log.Handler()}),
		SysTopicResendInterval:   10, // each reads the memory statistics, which stops the world
	})
	if err := server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b.server = server
	if err := server.Serve(); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	return server, nil
}

// hook is where mochi asks and tells.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "weir" }

func (h *hook) Provides(what byte) bool {
	switch what {
	case mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketEncode, mqtt.OnDisconnect,
		mqtt.OnClientExpired, mqtt.OnUnsubscribed, mqtt.StoredClients, mqtt.StoredSubscriptions:
		return true
	}
	return false
}

// OnConnectAuthenticate lets everybody in who comes this far: the wrapper judges
// the CONNECT before mochi sees it.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck is asked for $SYS topics only.
func (h *hook) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// OnPacketEncode sees the CONNACK.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if c, ok := cl.Net.Conn.(*conn); ok && pk.FixedHeader.Type == packets.Connack {
		c.connack(cl, &pk)
	}
	return pk
}

// OnDisconnect says whether the session ends with the connection.
func (h *hook) OnDisconnect(cl *mqtt.Client, _ error, expire bool) {
	if c, ok := cl.Net.Conn.(*conn); ok {
		c.expired = expire
	}
}

// OnClientExpired comes when a session outlived its expiry interval. mochi leaves
// the subscriptions behind.
func (h *hook) OnClientExpired(cl *mqtt.Client) {
	h.b.server.UnsubscribeClient(cl)
	h.b.mu.Lock()
	s, back := h.b.sessions[cl.ID], h.b.live[cl.ID] != nil
	h.b.mu.Unlock()
	if s != nil && !back { // a client that comes back this moment has its say about the session
		h.b.endSession(s)
	}
}

func (h *hook) OnUnsubscribed(*mqtt.Client, packets.Packet) { h.b.fan.changed() }

func (h *hook) StoredClients() ([]storage.Client, error) {
	h.b.mu.Lock()
	defer h.b.mu.Unlock()
	var all []storage.Client
	for _, s := range h.b.sessions {
		all = append(all, storage.Client{
			ID:              s.id,
			ProtocolVersion: s.version,
			Properties: storage.ClientProperties{
				SessionExpiryInterval:     s.expiry,
				SessionExpiryIntervalFlag: s.version == 5,
			},
		})
	}
	return all, nil
}

func (h *hook) StoredSubscriptions() ([]storage.Subscription, error) {
	h.b.mu.Lock()
	defer h.b.mu.Unlock()
	var all []storage.Subscription
	for _, s := range h.b.sessions {
		for _, sub := range s.restored {
			all = append(all, storage.Subscription{
				Client:            s.id,
				Filter:            sub.Filter,
				Identifier:        sub.Identifier,
				Qos:               sub.Qos,
				NoLocal:           sub.NoLocal,
				RetainAsPublished: sub.RetainAsPublished,
				RetainHandling:    sub.RetainHandling,
			})
		}
		s.restored = nil
	}
	return all, nil
}

// errorsOnly passes mochi's errors on. Its warnings print whole packets, and
// what they say is counted here.
type errorsOnly struct{ slog.Handler }

func (h errorsOnly) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (h errorsOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return errorsOnly{h.Handler.WithAttrs(attrs)}
}

func (h errorsOnly) WithGroup(name string) slog.Handler { return errorsOnly{h.Handler.WithGroup(name)} }
